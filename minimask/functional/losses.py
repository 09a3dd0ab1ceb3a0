"""The losses of Mask R-CNN, stable for logits of any size.

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
