"""Every differentiable operation of the package against a central difference, in one table.

A new Function without a line here fails `test_every_function_is_in_the_table`.  That the check
can fail at all is shown with gradients that are wrong on purpose.
"""

from __future__ import annotations

import importlib
import pathlib
import pkgutil
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import minimask.autograd.ops
import minimask.functional
from minimask import functional as F
from minimask.autograd import Function, Tensor, ops, topological_order
from minimask.autograd.arrays import unbroadcast
from minimask.tools.testing import gradcheck


class Case(NamedTuple):
    function: str  # the Function's name
    what: str
    fn: Callable
    shapes: tuple[tuple[int, ...], ...]
    kind: str = "any"  # "any" numbers, "positive" ones, or "distinct": no two nearly equal


ROIS = np.array(
    [
        [0, 1.3, 0.6, 6.2, 5.9],
        [1, -2.1, 3.3, 4.4, 9.7],  # partly outside
        [1, 0.2, 0.4, 0.9, 0.8],  # smaller than a pixel
        [0, 20.0, 20.0, 25.0, 25.0],  # outside
    ]
)
MASK = np.array([[True, False, True], [False, True, False]])
LABELS = np.array([2, 0, 1, 2])
TARGETS = np.array([[0.0, 1.0, 0.3], [1.0, 0.0, 0.9]])
MEAN, VAR = np.array([0.3, -0.2, 0.1]), np.array([0.5, 1.5, 0.9])

YES = np.array([[1, 0, 0], [0, 1, 0]])
PAIRS = np.array(
    [
        [[0, 0, 9, 9], [4, 4, 8, 8], [0, 0, 5, 5], [0, 0, 5, 5]],
        [[4, 5, 15, 13], [0, 0, 12, 12], [10, 2, 16, 7], [11, 12, 18, 19]],
    ],
    np.float32,
)

CASES = [
    Case("Add", "same shape", ops.add, ((2, 3), (2, 3))),
    Case("Add", "vector to matrix", ops.add, ((2, 3), (3,))),
    Case("Add", "both stretched", ops.add, ((2, 1, 3), (4, 1))),
    Case("Add", "scalar", lambda x: 2.5 + x, ((2, 3),)),
    Case("Add", "one input twice", lambda x: x + x, ((2, 3),)),
    Case("Add", "nothing", ops.add, ((0, 3), (1, 3))),
    Case("Sub", "column", ops.sub, ((2, 3), (2, 1))),
    Case("Sub", "from a scalar", lambda x: 1 - x, ((2, 3),)),
    Case("Mul", "vector", ops.mul, ((3,), (2, 3))),
    Case("Mul", "with itself", lambda x: x * x, ((2, 3),)),
    Case("Div", "rows", ops.div, ((2, 3), (1, 3)), "positive"),
    Case("Div", "scalar by", lambda x: 3 / x, ((2, 3),), "positive"),
    Case("Neg", "", ops.neg, ((2, 3),)),
    Case("Power", "fraction", lambda x: x**2.5, ((2, 3),), "positive"),
    Case("Power", "square of signed numbers", lambda x: x**2, ((2, 3),)),
    Case("Power", "zero", lambda x: x**0 * x, ((2, 3),)),
    Case("Maximum", "", ops.maximum, ((2, 3), (3,)), "distinct"),
    Case("Maximum", "minimum", ops.minimum, ((2, 3), (3,)), "distinct"),
    Case("Where", "", lambda a, b: ops.where(MASK, a, b), ((2, 3), (3,))),
    Case("Exp", "", ops.exp, ((2, 3),)),
    Case("Log", "", ops.log, ((2, 3),), "positive"),
    Case("Sqrt", "", ops.sqrt, ((2, 3),), "positive"),
    Case("Abs", "", ops.abs, ((2, 3),)),
    Case("Tanh", "", ops.tanh, ((2, 3),)),
    Case("Sigmoid", "", ops.sigmoid, ((2, 3),)),
    Case("Sigmoid", "large", lambda x: ops.sigmoid(8 * x), ((2, 3),)),
    Case("SiLU", "", F.silu, ((2, 3),)),
    Case("SiLU", "large", lambda x: F.silu(20 * x), ((2, 3),)),
    Case("HardSwish", "all three parts", lambda x: F.hard_swish(4 * x), ((5, 8),), "distinct"),
    Case("HardSigmoid", "all three parts", lambda x: F.hard_sigmoid(4 * x), ((5, 8),), "distinct"),
    Case("Clip", "both sides", lambda x: ops.clip(x, -0.6, 0.7), ((4, 5),), "distinct"),
    Case("Clip", "below", lambda x: ops.clip(x, low=0.05), ((4, 5),), "distinct"),
    Case("AsType", "", lambda x: ops.astype(x, np.float64), ((2, 3),)),
    Case("Sum", "all", ops.sum, ((2, 3),)),
    Case("Sum", "axis", lambda x: ops.sum(x, axis=1), ((2, 3, 4),)),
    Case("Sum", "axes kept", lambda x: ops.sum(x, axis=(0, -1), keepdims=True), ((2, 3, 4),)),
    Case("Mean", "all", ops.mean, ((2, 3),)),
    Case("Mean", "axes", lambda x: ops.mean(x, axis=(0, 2)), ((2, 3, 4),)),
    Case("Mean", "nothing", ops.mean, ((0, 3),)),
    Case("Max", "all", ops.max, ((2, 3),), "distinct"),
    Case("Max", "axis", lambda x: ops.max(x, axis=1), ((2, 3, 4),), "distinct"),
    Case("Max", "axis kept", lambda x: ops.max(x, 0, keepdims=True), ((2, 3),), "distinct"),
    Case("Max", "minimum", lambda x: ops.min(x, axis=-1), ((2, 3),), "distinct"),
    Case("Softmax", "", ops.softmax, ((2, 3),)),
    Case("Softmax", "first axis", lambda x: ops.softmax(x, axis=0), ((2, 3),)),
    Case("LogSoftmax", "", ops.log_softmax, ((2, 3),)),
    Case("LogSoftmax", "middle axis", lambda x: ops.log_softmax(x, axis=1), ((2, 3, 2),)),
    Case("MatMul", "matrices", ops.matmul, ((2, 3), (3, 4))),
    Case("MatMul", "batches", ops.matmul, ((5, 1, 2, 3), (4, 3, 2))),
    Case("Reshape", "", lambda x: ops.reshape(x, 3, -1), ((2, 3, 4),)),
    Case("Reshape", "flatten", lambda x: ops.flatten(x, 1), ((2, 3, 4),)),
    Case("Transpose", "reversed", ops.transpose, ((2, 3, 4),)),
    Case("Transpose", "cycle", lambda x: ops.transpose(x, (1, 2, 0)), ((2, 3, 4),)),
    Case("Transpose", "negative", lambda x: ops.transpose(x, 0, -1, 1), ((2, 3, 4),)),
    Case("BroadcastTo", "", lambda x: ops.broadcast_to(x, (2, 4, 3)), ((4, 1),)),
    Case("Concatenate", "", lambda a, b: ops.concatenate([a, b], axis=1), ((2, 3), (2, 1))),
    Case("Concatenate", "empty part", lambda a, b: ops.concatenate([a, b]), ((0, 3), (2, 3))),
    Case("Concatenate", "one twice", lambda a: ops.concatenate([a, a], axis=-1), ((2, 3),)),
    Case("Stack", "", lambda a, b: ops.stack([a, b], axis=1), ((2, 3), (2, 3))),
    Case("Stack", "last", lambda a, b: ops.stack([a, b, a], axis=-1), ((2, 3), (2, 3))),
    Case("Pad", "", lambda x: ops.pad(x, ((1, 0), (2, 3))), ((2, 3),)),
    Case("GetItem", "slices", lambda x: x[1:, ::-2, None], ((3, 4),)),
    Case("GetItem", "number", lambda x: x[-1], ((3, 4),)),
    Case("GetItem", "mask", lambda x: x[MASK], ((2, 3),)),
    Case("GetItem", "mask beside a slice", lambda x: x[:, MASK[0]], ((2, 3),)),
    Case("GetItem", "rows, none twice", lambda x: x[np.array([2, 0])], ((3, 4),)),
    Case("GetItem", "rows, some twice", lambda x: x[np.array([2, 0, -1, 2])], ((3, 4),)),
    Case("GetItem", "list", lambda x: x[[1, 1]], ((3, 4),)),
    Case("GetItem", "cells", lambda x: x[np.array([0, 1, 1, 0]), LABELS], ((2, 3),)),
    Case("GetItem", "table of rows", lambda x: x[np.array([[0, 1], [1, 1]])], ((3, 2, 2),)),
    Case("GetItem", "slice and array", lambda x: x[:, np.array([1, 1, 0])], ((2, 3),)),
    Case("GetItem", "number and array", lambda x: x[1, np.array([1, 1, 0])], ((2, 3),)),
    Case("GetItem", "no rows", lambda x: x[np.zeros(0, int)], ((3, 4),)),
    Case("GetItem", "take", lambda x: ops.take(x, np.array([[1, 0], [1, 2]]), axis=-1), ((2, 3),)),
    Case("Linear", "bias", F.linear, ((4, 3), (2, 3), (2,))),
    Case("Linear", "no bias, two leading axes", F.linear, ((4, 2, 3), (2, 3))),
    Case("Linear", "no rows", F.linear, ((0, 3), (2, 3), (2,))),
    Case("Conv2d", "bias", F.conv2d, ((2, 3, 5, 6), (4, 3, 3, 3), (4,))),
    Case("Conv2d", "1 x 1", F.conv2d, ((2, 3, 4, 5), (2, 3, 1, 1))),
    Case(
        "Conv2d",
        "stride and padding",
        lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1),
        ((2, 3, 6, 7), (4, 3, 3, 3), (4,)),
    ),
    Case(
        "Conv2d",
        "groups, dilation, oblong",
        lambda x, w: F.conv2d(x, w, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        ((2, 4, 6, 7), (6, 2, 3, 2)),
    ),
    Case(
        "Conv2d",
        "residual, relu",
        lambda x, w, b, r: F.conv2d(x, w, b, padding=1, residual=r, relu=True),
        ((2, 3, 4, 5), (4, 3, 3, 3), (4,), (2, 4, 4, 5)),
    ),
    Case(
        "Conv2d",
        "residual without bias",
        lambda x, w, r: F.conv2d(x, w, stride=2, residual=r),
        ((1, 2, 5, 6), (3, 2, 2, 2), (1, 3, 2, 3)),
    ),
    Case("ReLU", "kernel", F.relu, ((4, 5),)),
    Case("ReLU", "residual", F.relu, ((4, 5), (4, 5))),
    Case("Conv2d", "no images", F.conv2d, ((0, 3, 5, 5), (4, 3, 3, 3), (4,))),
    Case(
        "ConvTranspose2d",
        "as the mask head",
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2),
        ((2, 3, 4, 5), (3, 4, 2, 2), (4,)),
    ),
    Case(
        "ConvTranspose2d",
        "overlapping, padding",
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
        ((2, 3, 4, 5), (3, 2, 3, 3)),
    ),
    Case(
        "MaxPool2d",
        "as the stem",
        lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
        ((2, 2, 7, 6),),
        "distinct",
    ),
    Case("MaxPool2d", "tiles", lambda x: F.max_pool2d(x, 2), ((1, 2, 4, 4),), "distinct"),
    Case("Resize", "nearest", lambda x: F.resize(x, (7, 5)), ((2, 2, 3, 4),)),
    Case("Resize", "bilinear", lambda x: F.resize(x, (7, 5), "bilinear"), ((2, 2, 3, 4),)),
    Case("Resize", "smaller", lambda x: F.resize(x, (2, 3), "bilinear"), ((1, 2, 5, 7),)),
    Case(
        "BatchNorm",
        "residual, relu",
        lambda x, w, b, r: F.batch_norm(
            x, w, b, MEAN.astype(x.dtype), VAR.astype(x.dtype), residual=r, relu=True
        ),
        ((2, 3, 4, 5), (3,), (3,), (2, 3, 4, 5)),
    ),
    Case(
        "BatchNormTrain",
        "residual, relu",
        lambda x, w, b, r: F.batch_norm_train(x, w, b, residual=r, relu=True)[0],
        ((2, 3, 4, 5), (3,), (3,), (2, 3, 4, 5)),
    ),
    Case(
        "ConvTranspose2d",
        "relu",
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, relu=True),
        ((2, 3, 3, 4), (3, 4, 2, 2), (4,)),
    ),
    Case(
        "BatchNorm",
        "",
        lambda x, w, b: F.batch_norm(x, w, b, MEAN.astype(x.dtype), VAR.astype(x.dtype)),
        ((2, 3, 4, 5), (3,), (3,)),
    ),
    Case(
        "BatchNormTrain",
        "",
        lambda x, w, b: F.batch_norm_train(x, w, b, eps=1e-3)[0],
        ((2, 3, 4, 5), (3,), (3,)),
    ),
    Case(
        "GroupNorm",
        "",
        lambda x, w, b: F.group_norm(x, 2, w, b, eps=1e-3),
        ((2, 6, 4, 5), (6,), (6,)),
    ),
    Case("RoIAlign", "", lambda x: F.roi_align(x, ROIS, 3), ((2, 2, 8, 7),)),
    Case(
        "RoIAlign",
        "oblong, scaled, not aligned",
        lambda x: F.roi_align(x, ROIS, (2, 3), spatial_scale=0.7, sampling_ratio=2, aligned=False),
        ((2, 2, 8, 7),),
    ),
    Case(
        "RoIAlignLevels",
        "two levels",
        lambda x, y: F.roi_align_levels(
            [x, y], ROIS, np.arange(len(ROIS)) % 2, 2, spatial_scales=(1.0, 0.5), sampling_ratio=2
        ),
        ((2, 2, 8, 7), (2, 2, 5, 4)),
    ),
    Case("RoIAlign", "no boxes", lambda x: F.roi_align(x, ROIS[:0], 3), ((2, 2, 8, 7),)),
    Case(
        "RoIAlign",
        "of rounded regions",
        lambda x: F.roi_warp(x, ROIS, 3, spatial_scale=0.7),
        ((2, 2, 8, 7),),
    ),
    Case("RoIPool", "", lambda x: F.roi_pool(x, ROIS, 3), ((2, 2, 8, 7),), "distinct"),
    Case("CrossEntropy", "", lambda x: F.cross_entropy(x, LABELS), ((4, 3),)),
    Case("CrossEntropy", "large", lambda x: F.cross_entropy(20 * x, LABELS), ((4, 3),)),
    Case("CrossEntropy", "no rows", lambda x: F.cross_entropy(x, LABELS[:0]), ((0, 3),)),
    Case(
        "BinaryCrossEntropyWithLogits",
        "mean",
        lambda x: F.binary_cross_entropy_with_logits(x, TARGETS),
        ((2, 3),),
    ),
    Case(
        "BinaryCrossEntropyWithLogits",
        "each",
        lambda x: F.binary_cross_entropy_with_logits(5 * x, TARGETS, reduction="none"),
        ((2, 3),),
    ),
    Case("SmoothL1", "sum", lambda x: F.smooth_l1(x, TARGETS, beta=0.4), ((2, 3),)),
    Case("SmoothL1", "L1", lambda x: F.smooth_l1(x, TARGETS, beta=0), ((2, 3),)),
    Case("SmoothL1", "mean", lambda x: F.smooth_l1(x, TARGETS, reduction="mean"), ((2, 3),)),
    Case("SigmoidFocalLoss", "sum", lambda x: F.sigmoid_focal_loss(4 * x, YES), ((2, 3),)),
    Case(
        "SigmoidFocalLoss",
        "other numbers",
        lambda x: F.sigmoid_focal_loss(x, YES, alpha=-1, gamma=0.5, reduction="none"),
        ((2, 3),),
    ),
    Case("SigmoidFocalLoss", "gamma 0", lambda x: F.sigmoid_focal_loss(x, YES, gamma=0), ((2, 3),)),
    Case(
        "GeneralizedIoU",
        "overlapping, inside, beside, diagonal",
        lambda x: F.generalized_iou_loss(PAIRS[0] + 0.3 * x, PAIRS[1], reduction="none"),
        ((4, 4),),
    ),
    Case(
        "GeneralizedIoU",
        "mean",
        lambda x: F.generalized_iou_loss(PAIRS[0] + x, PAIRS[1], reduction="mean"),
        ((4, 4),),
    ),
]


def draw(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    """Numbers away from the kinks at 0, and for "distinct" away from one another."""
    if kind == "positive":
        return rng.uniform(0.5, 1.5, shape)
    size = int(np.prod(shape))
    if kind == "distinct":
        return (rng.permutation(size) - size / 2 + rng.uniform(0.1, 0.4)).reshape(shape) / size * 2
    return rng.uniform(0.1, 1.2, shape) * rng.choice((-1.0, 1.0), shape)


def functions() -> dict[str, type[Function]]:
    """Every Function of the package, by name."""
    for package in (minimask.autograd.ops, minimask.functional):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    found, stack = {}, [Function]
    while stack:
        for subclass in stack.pop().__subclasses__():
            stack.append(subclass)
            if subclass.__module__.startswith("minimask."):
                found[subclass.__name__] = subclass
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.function}: {c.what}")
def test_gradient(case: Case) -> None:
    rng = np.random.default_rng(3)
    arrays = [draw(shape, case.kind, rng) for shape in case.shapes]
    gradcheck(case.fn, *arrays)
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    used = {t._ctx.fn.__name__ for t in topological_order(case.fn(*leaves)) if t._ctx}
    assert case.function in used, f"this case never runs {case.function}, only {used}"


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.function != "AsType"],  # its case converts to float64
    ids=lambda c: f"{c.function}: {c.what}",
)
def test_float32_gradients_are_the_float64_ones_rounded(case: Case) -> None:
    rng = np.random.default_rng(4)
    arrays = [draw(shape, case.kind, rng).astype(np.float32) for shape in case.shapes]
    gradients = []
    for dtype in (np.float32, np.float64):
        leaves = [Tensor(a.astype(dtype), requires_grad=True) for a in arrays]
        out = case.fn(*leaves)
        assert out.dtype == dtype
        out.backward(np.ones(out.shape))
        gradients.append([leaf.grad for leaf in leaves])
    for single, double in zip(*gradients, strict=True):
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=2e-5)


def test_every_function_is_in_the_table() -> None:
    missing = functions().keys() - {case.function for case in CASES}
    assert not missing, f"without a gradient test: {sorted(missing)}"


def test_the_table_names_only_functions_of_the_package() -> None:
    assert {case.function for case in CASES} <= functions().keys()


def test_every_public_operation_is_called_in_the_table() -> None:
    table = pathlib.Path(__file__).read_text().partition("def draw")[0]
    by_operator = {"getitem", "power"}
    for name, names in (("ops", ops.__all__), ("F", set(F.__all__) - set(ops.__all__))):
        missing = [n for n in names if not re.search(rf"\b{name}\.{n}\b", table)]
        assert set(missing) <= by_operator, f"no gradient test calls {missing}"


# Wrong gradients: each differs from the right one in a way that happens.


class WrongSign(Function):
    @staticmethod
    def forward(ctx, a, b):
        return a - b

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


class ForgottenFactor(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        return grad * x


class SlightlyOff(Function):
    @staticmethod
    def forward(ctx, x):
        return 3 * x

    @staticmethod
    def backward(ctx, grad):
        return 3.00001 * grad


class OneElementWrong(Function):
    @staticmethod
    def forward(ctx, x):
        return 1 * x

    @staticmethod
    def backward(ctx, grad):
        out = grad.copy()
        out.flat[-1] = 0
        return out


class SwappedAxes(Function):
    @staticmethod
    def forward(ctx, x):
        return x.T.copy()

    @staticmethod
    def backward(ctx, grad):
        return grad  # square, so the shape does not give it away


class BroadcastMean(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save(b.shape)
        return a + b

    @staticmethod
    def backward(ctx, grad):
        (shape,) = ctx.saved
        return grad, unbroadcast(grad, shape) / len(grad)


class LostGradient(Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return grad * 0


@pytest.mark.parametrize(
    ("wrong", "shapes", "argument"),
    [
        (WrongSign, ((2, 3), (2, 3)), 1),
        (ForgottenFactor, ((2, 3),), 0),
        (SlightlyOff, ((2, 3),), 0),
        (OneElementWrong, ((10, 10),), 0),
        (SwappedAxes, ((3, 3),), 0),
        (BroadcastMean, ((4, 3), (3,)), 1),
        (LostGradient, ((2, 3),), 0),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrong_gradient_is_caught(wrong, shapes, argument) -> None:
    rng = np.random.default_rng(5)
    arrays = [draw(shape, "any", rng) for shape in shapes]
    with pytest.raises(AssertionError, match=rf"argument {argument} .*{wrong.__name__}"):
        gradcheck(wrong.apply, *arrays)


@pytest.mark.parametrize("case", [c for c in CASES if c.what in ("", "bias")])
def test_a_wrong_gradient_of_the_packages_own_functions_is_caught(case, monkeypatch) -> None:
    """Every backward is scaled by 1.001 in turn: the table notices each."""
    fn = functions()[case.function]
    right = fn.backward

    def scaled(ctx, grad):
        out = right(ctx, grad)
        out = out if isinstance(out, tuple) else (out,)
        return tuple(None if g is None else g * 1.001 for g in out)

    monkeypatch.setattr(fn, "backward", staticmethod(scaled))
    arrays = [draw(shape, case.kind, np.random.default_rng(3)) for shape in case.shapes]
    with pytest.raises(AssertionError, match="backward gives"):
        gradcheck(case.fn, *arrays)
