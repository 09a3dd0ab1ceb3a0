"""The losses of detectors, stable for logits of any size.

R rows (boxes, anchors)   K classes
"""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

from typing import Any

from minimask.autograd import Context, Function, Tensor
from minimask.autograd.arrays import Array, array_module, largest, sign
from minimask.autograd.ops import mean, sum
from minimask.kernels.dispatch import checks_values


class CrossEntropy(Function):
    """Minus the mean log probability of the right class."""

    @staticmethod
    def forward(ctx: Context, logits: Array, labels: Array) -> Array:
        xp = array_module(logits, labels)
        rows = xp.arange(len(logits))
        shifted = logits - largest(logits, axis=1)
        exponentials = xp.exp(shifted)
        totals = exponentials.sum(axis=1, keepdims=True)
        ctx.save(exponentials, totals, rows, labels)
        losses = xp.log(totals[:, 0]) - shifted[rows, labels]
        return losses.sum() / logits.dtype.type(max(len(logits), 1))

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dlogits = (softmax - one hot) / R
        exponentials, totals, rows, labels = ctx.saved
        out = exponentials / totals
        out[rows, labels] -= 1
        out *= grad / grad.dtype.type(max(len(rows), 1))
        return out, None


class BinaryCrossEntropyWithLogits(Function):
    """-t log s(x) - (1 - t) log(1 - s(x)), s the sigmoid, for every element."""

    @staticmethod
    def forward(ctx: Context, logits: Array, targets: Array) -> Array:
        # the same as above without overflow: max(x, 0) - x t + log(1 + e^-|x|)
        xp = array_module(logits, targets)
        z = xp.exp(-xp.abs(logits))
        ctx.save(logits, targets, z)
        out = xp.log1p(z)
        out += xp.maximum(logits, 0)
        out -= logits * targets
        return out

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dx = s(x) - t
        logits, targets, z = ctx.saved
        # s(x) is 1 / (1 + z) for x >= 0 and z / (1 + z) for x < 0
        probabilities = array_module(z).where(logits >= 0, 1, z) / (1 + z)
        return grad * (probabilities - targets), None


class SigmoidFocalLoss(Function):
    """a_t (1 - p_t)^gamma times the cross-entropy of yes or no, for every element.

    p_t is the probability of the right answer, a_t is alpha for yes and 1 - alpha for no.
    """

    @staticmethod
    def forward(ctx: Context, logits: Array, yes: Array, *, alpha: float, gamma: float) -> Array:
        # with s = x for yes and -x for no: p_t = sigmoid(s), and log p_t = min(s, 0) - log1p(z)
        xp = array_module(logits, yes)
        signed = xp.where(yes, logits, -logits)
        z = xp.exp(-xp.abs(logits))
        wrong = xp.where(signed >= 0, z, 1) / (1 + z)  # 1 - p_t, without cancellation
        entropy = xp.log1p(z)
        entropy -= xp.minimum(signed, 0)
        factor = wrong**gamma
        if alpha >= 0:
            factor *= xp.where(yes, logits.dtype.type(alpha), logits.dtype.type(1 - alpha))
        ctx.save(yes, wrong, entropy, factor, gamma)
        return factor * entropy

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # ds = -factor ((1 - p_t) + gamma p_t entropy)
        yes, wrong, entropy, factor, gamma = ctx.saved
        xp = array_module(wrong)
        slope = factor * (wrong + gamma * (1 - wrong) * entropy)
        return grad * xp.where(yes, -slope, slope), None


class GeneralizedIoU(Function):
    """1 - IoU + the share of the smallest box around both that neither covers, for every pair."""

    @staticmethod
    def forward(ctx: Context, pred: Array, target: Array, *, eps: float) -> Array:
        xp = array_module(pred, target)
        size, target_size = pred[:, 2:] - pred[:, :2], target[:, 2:] - target[:, :2]
        low, high = xp.maximum(pred[:, :2], target[:, :2]), xp.minimum(pred[:, 2:], target[:, 2:])
        both = high - low
        both = both * (both > 0).all(axis=1)[:, None]  # those that only touch share nothing
        around = xp.maximum(pred[:, 2:], target[:, 2:]) - xp.minimum(pred[:, :2], target[:, :2])
        shared, hull = both.prod(axis=1), around.prod(axis=1)
        union = size.prod(axis=1) + target_size.prod(axis=1) - shared
        ctx.save(pred, target, size, both, around, shared, union, hull, eps)
        return 1 - shared / (union + eps) + (hull - union) / (hull + eps)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        # of each area first; then an area's slope along a side is the length of the other one
        pred, target, size, both, around, shared, union, hull, eps = ctx.saved
        xp = array_module(pred)
        of_shared, of_union = -1 / (union + eps), shared / (union + eps) ** 2 - 1 / (hull + eps)
        of_hull = (union + eps) / (hull + eps) ** 2
        of_shared -= of_union  # the union is both areas without what they share
        own = of_union[:, None] * size[:, ::-1]
        common = of_shared[:, None] * both[:, ::-1]
        outer = of_hull[:, None] * around[:, ::-1]
        low = -own - _share(pred[:, :2], target[:, :2]) * common
        low -= _share(target[:, :2], pred[:, :2]) * outer
        high = own + _share(target[:, 2:], pred[:, 2:]) * common
        high += _share(pred[:, 2:], target[:, 2:]) * outer
        return grad[:, None] * xp.concatenate([low, high], axis=1), None


def _share(larger: Array, smaller: Array) -> Array:
    """How much of a maximum's gradient the first gets: 1 where it is larger, half in a tie."""
    return (larger > smaller) + (larger == smaller) * larger.dtype.type(0.5)


class SmoothL1(Function):
    """d^2 / (2 beta) for |d| < beta, else |d| - beta / 2, with d = pred - target."""

    @staticmethod
    def forward(ctx: Context, pred: Array, target: Array, *, beta: float) -> Array:
        xp = array_module(pred, target)
        difference = pred - target
        ctx.save(difference, beta)
        distance = xp.abs(difference)
        if beta == 0:
            return distance
        return xp.where(distance < beta, distance * distance * (0.5 / beta), distance - 0.5 * beta)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dpred = d / beta, limited to -1..1
        difference, beta = ctx.saved
        xp = array_module(difference)
        if beta == 0:
            return grad * sign(difference), None
        return grad * xp.clip(difference / beta, -1, 1), None


def _constant(op: str, name: str, target: Any, like: Any) -> Array:
    """A target as an array of the prediction's shape and dtype."""
    if isinstance(target, Tensor):
        if target.requires_grad:
            raise TypeError(f"{op} has no gradient for `{name}`: pass {name}.detach()")
        target = target.data
    if tuple(target.shape) != tuple(like.shape):
        raise ValueError(
            f"{op}: `{name}` must have the prediction's shape {tuple(like.shape)}, got "
            f"{tuple(target.shape)}"
        )
    return target.astype(like.dtype, copy=False)


def _reduce(op: str, losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    if reduction not in ("mean", "sum"):
        raise ValueError(f'{op}: reduction must be "mean", "sum" or "none", got {reduction!r}')
    return mean(losses) if reduction == "mean" else sum(losses)


def cross_entropy(logits: Any, labels: Any) -> Tensor:
    """Minus the mean log probability that `logits` give to `labels`.

    Args:
        logits: (R, K), any numbers; probabilities are their softmax.
        labels: (R,) integers 0..K-1.

    Returns:
        A scalar; ln K for equal logits, 0 (with gradient 0) for R = 0.

    Raises:
        ValueError: the shapes do not fit, or a label is not in 0..K-1.
    """
    labels = labels.data if isinstance(labels, Tensor) else labels
    if len(logits.shape) != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            "cross_entropy: expected `logits` (R, K) and `labels` (R,), got "
            f"{tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: `labels` must be integers, got {labels.dtype}")
    wrong = (labels < 0) | (labels >= logits.shape[1]) if checks_values(labels) else None
    if wrong is not None and wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"cross_entropy: labels must be in 0..{logits.shape[1] - 1}, got {int(labels[row])} "
            f"in row {row}"
        )
    return CrossEntropy.apply(logits, labels)


def binary_cross_entropy_with_logits(
    logits: Any, targets: Any, *, reduction: str = "mean"
) -> Tensor:
    """Minus the log probability of yes/no targets, where sigmoid(logits) is that of yes.

    Args:
        logits: any shape, any numbers.
        targets: the same shape, values 0..1.
        reduction: "mean" (0 for no elements), "sum", or "none" for one loss per element.
    """
    op = "binary_cross_entropy_with_logits"
    targets = _constant(op, "targets", targets, logits)
    return _reduce(op, BinaryCrossEntropyWithLogits.apply(logits, targets), reduction)


def smooth_l1(pred: Any, target: Any, *, beta: float = 1.0, reduction: str = "sum") -> Tensor:
    """Distance |pred - target|, rounded off to a parabola below `beta` (Fast R-CNN, eq. 3).

    Args:
        pred: any shape.
        target: the same shape.
        beta: where the parabola ends, at least 0; 0 gives the plain distance (L1).
        reduction: "sum", "mean" (0 for no elements), or "none" for one loss per element.
    """
    if beta < 0:
        raise ValueError(f"smooth_l1: `beta` must be at least 0, got {beta}")
    target = _constant("smooth_l1", "target", target, pred)
    return _reduce("smooth_l1", SmoothL1.apply(pred, target, beta=float(beta)), reduction)


def sigmoid_focal_loss(
    logits: Any, targets: Any, *, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "sum"
) -> Tensor:
    """Cross-entropy of yes/no targets that fades where the answer is right (RetinaNet, eq. 5).

    Among a hundred thousand anchors nearly all are background, and nearly all of those easy: their
    small losses would add up to more than the objects'.

    Args:
        logits: any shape, any numbers; sigmoid(logits) is the probability of yes.
        targets: the same shape, 0 or 1 (or bool).
        alpha: weight of yes; of no it is 1 - alpha. Negative: both count 1.
        gamma: how fast the loss fades; 0 is cross-entropy.
        reduction: "sum", "mean" (0 for no elements), or "none" for one loss per element.

    Raises:
        ValueError: the shapes do not fit, alpha is above 1, or gamma below 0.
    """
    op = "sigmoid_focal_loss"
    if alpha > 1 or gamma < 0:
        raise ValueError(
            f"{op}: `alpha` must be at most 1 and `gamma` at least 0, got {alpha} and {gamma}"
        )
    yes = _constant(op, "targets", targets, logits) > 0.5
    losses = SigmoidFocalLoss.apply(logits, yes, alpha=float(alpha), gamma=float(gamma))
    return _reduce(op, losses, reduction)


def generalized_iou_loss(
    pred: Any, target: Any, *, eps: float = 1e-7, reduction: str = "sum"
) -> Tensor:
    """1 - the generalized IoU of pairs of boxes (Rezatofighi et al. 2019): 0 where they are equal.

    Unlike 1 - IoU it tells boxes that do not overlap in which direction the other one is.

    Args:
        pred: (R, 4) x0 y0 x1 y1, of positive size.
        target: (R, 4) likewise.
        eps: added to the areas that are divided by.
        reduction: "sum", "mean" (0 for no boxes), or "none" for one loss per pair.
    """
    op = "generalized_iou_loss"
    if len(pred.shape) != 2 or pred.shape[1] != 4:
        raise ValueError(f"{op}: expected `pred` (R, 4), got {tuple(pred.shape)}")
    target = _constant(op, "target", target, pred)
    return _reduce(op, GeneralizedIoU.apply(pred, target, eps=float(eps)), reduction)
