"""No images, no boxes, no pixels: every operation gives an empty result and zero gradients.

An image without proposals, or a batch without images, must pass through the network like any
other.  Where nothing has no result (the largest of no values), a sentence says so.
"""

from __future__ import annotations

import pathlib
import re
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from minimask import functional as F
from minimask.autograd import Tensor, ops

NO_ROIS = np.zeros((0, 5), np.float32)
ONE_ROI = np.array([[0, 0, 0, 3, 3]], np.float32)
NO_LEVELS = np.zeros(0, np.int64)
ONE, TWO = np.ones(3, np.float32), np.full(3, 2, np.float32)  # statistics of three channels


class Case(NamedTuple):
    fn: Callable
    shapes: tuple[tuple[int, ...], ...]  # of the inputs, all of which require gradients
    result: tuple[int, ...]


def conv(**options) -> Callable:
    return lambda x, w, *bias: F.conv2d(x, w, *bias, **options)


def both(fn: Callable, **options) -> list[Case]:
    """An elementwise operation of two inputs: of nothing, and of nothing with one number."""
    return [
        Case(lambda a, b: fn(a, b, **options), ((0, 3), (0, 3)), (0, 3)),
        Case(lambda a, b: fn(a, b, **options), ((0, 3), (1,)), (0, 3)),
    ]


CASES = [
    *[
        Case(fn, (shape,), shape)
        for shape in ((0,), (0, 3), (3, 0), (0, 0))
        for fn in (
            *(ops.abs, ops.neg, ops.exp, ops.log, ops.sqrt, ops.tanh, ops.sigmoid, F.relu),
            *(lambda x: ops.clip(x, 0, 1), lambda x: ops.power(x, 2)),
            *(lambda x: ops.astype(x, np.float32), lambda x: ops.getitem(x, slice(None))),
            *(ops.softmax, ops.log_softmax, F.silu, F.hard_sigmoid, F.hard_swish),
            *(lambda x: ops.softmax(x, axis=0), lambda x: ops.log_softmax(x, axis=0)),
        )
    ],
    *both(ops.add),
    *both(ops.sub),
    *both(ops.mul),
    *both(ops.div),
    *both(ops.maximum),
    *both(ops.minimum),
    Case(lambda a, b: ops.where(np.ones((0, 3), bool), a, b), ((0, 3), (3,)), (0, 3)),
    Case(F.relu, ((0, 3), (0, 3)), (0, 3)),
    # reductions: sums and means of nothing are 0
    Case(ops.sum, ((0, 3),), ()),
    Case(lambda x: ops.sum(x, axis=0), ((0, 3),), (3,)),
    Case(lambda x: ops.sum(x, axis=1, keepdims=True), ((0, 3),), (0, 1)),
    Case(ops.mean, ((0, 3),), ()),
    Case(lambda x: ops.mean(x, axis=0), ((0, 3),), (3,)),
    Case(lambda x: ops.mean(x, axis=1), ((0, 3),), (0,)),
    Case(lambda x: ops.max(x, axis=1), ((0, 3),), (0,)),
    Case(lambda x: ops.min(x, axis=1, keepdims=True), ((0, 3),), (0, 1)),
    # shapes
    Case(lambda x: ops.reshape(x, 0, -1), ((0, 4, 2),), (0, 8)),
    Case(lambda x: ops.reshape(x, -1, 4), ((0, 8),), (0, 4)),
    Case(lambda x: ops.flatten(x, 1), ((0, 4, 2),), (0, 8)),
    Case(ops.transpose, ((0, 3),), (3, 0)),
    Case(lambda x: ops.broadcast_to(x, (0, 3)), ((1, 3),), (0, 3)),
    Case(lambda x: ops.pad(x, ((0, 0), (1, 1))), ((0, 3),), (0, 5)),
    Case(lambda x: ops.pad(x, ((1, 1), (0, 0))), ((0, 3),), (2, 3)),
    Case(lambda a, b: ops.concatenate([a, b]), ((0, 3), (0, 3)), (0, 3)),
    Case(lambda a, b: ops.stack([a, b]), ((0, 3), (0, 3)), (2, 0, 3)),
    Case(lambda x: ops.take(x, [], axis=1), ((0, 3),), (0, 0)),
    Case(lambda x: x[np.zeros(0, np.int64)], ((4, 3),), (0, 3)),
    Case(lambda x: x[np.zeros((0, 3), bool)], ((0, 3),), (0,)),
    Case(ops.matmul, ((0, 3), (3, 4)), (0, 4)),
    Case(ops.matmul, ((2, 0), (0, 4)), (2, 4)),
    Case(ops.matmul, ((0, 2, 3), (3, 4)), (0, 2, 4)),
    # layers
    Case(F.linear, ((0, 3), (4, 3), (4,)), (0, 4)),
    Case(F.linear, ((2, 0, 3), (4, 3), (4,)), (2, 0, 4)),
    Case(F.linear, ((2, 3), (0, 3), (0,)), (2, 0)),
    Case(F.linear, ((2, 0), (4, 0)), (2, 4)),
    Case(conv(padding=1, relu=True), ((0, 3, 5, 5), (4, 3, 3, 3), (4,)), (0, 4, 5, 5)),
    Case(conv(stride=2, groups=3), ((0, 3, 5, 5), (6, 1, 3, 3), (6,)), (0, 6, 2, 2)),
    Case(conv(), ((0, 3, 5, 5), (4, 3, 1, 1)), (0, 4, 5, 5)),
    Case(conv(), ((2, 3, 5, 5), (0, 3, 3, 3), (0,)), (2, 0, 3, 3)),
    Case(
        lambda x, w, r: F.conv2d(x, w, residual=r, relu=True),
        ((0, 3, 5, 5), (4, 3, 1, 1), (0, 4, 5, 5)),
        (0, 4, 5, 5),
    ),
    *[
        Case(lambda x, w, b, o=options: F.conv_transpose2d(x, w, b, **o), shapes, result)
        for relu in (False, True)
        for options, shapes, result in [
            ({"stride": 2, "relu": relu}, ((0, 3, 5, 4), (3, 4, 2, 2), (4,)), (0, 4, 10, 8)),
            # the padding cuts off all there is: 0 + 2 - 2 rows, (3 - 1) + 2 - 2 columns
            ({"padding": 1, "relu": relu}, ((2, 3, 1, 3), (3, 4, 2, 2), (4,)), (2, 4, 0, 2)),
            ({"padding": 1, "relu": relu}, ((0, 3, 1, 1), (3, 4, 2, 2), (4,)), (0, 4, 0, 0)),
        ]
    ],
    Case(lambda x: F.max_pool2d(x, 2), ((0, 3, 4, 4),), (0, 3, 2, 2)),
    Case(lambda x: F.resize(x, (7, 5)), ((0, 2, 3, 4),), (0, 2, 7, 5)),
    Case(lambda x: F.resize(x, (7, 5), "bilinear"), ((0, 2, 3, 4),), (0, 2, 7, 5)),
    Case(lambda x: F.resize(x, (7, 5)), ((2, 0, 3, 4),), (2, 0, 7, 5)),
    Case(
        lambda x, w, b, r: F.batch_norm(x, w, b, ONE, TWO, residual=r, relu=True),
        ((0, 3, 5, 4), (3,), (3,), (0, 3, 5, 4)),
        (0, 3, 5, 4),
    ),
    Case(
        lambda x, w, b: F.batch_norm(x, w, b, ONE, TWO),
        ((2, 3, 0, 4), (3,), (3,)),
        (2, 3, 0, 4),
    ),
    Case(lambda x, w, b: F.group_norm(x, 3, w, b), ((0, 6, 5, 4), (6,), (6,)), (0, 6, 5, 4)),
    Case(lambda x, w, b: F.group_norm(x, 3, w, b), ((2, 6, 0, 4), (6,), (6,)), (2, 6, 0, 4)),
    Case(lambda x, w, b: F.group_norm(x, 3, w, b), ((2, 0, 5, 4), (0,), (0,)), (2, 0, 5, 4)),
    # regions of interest
    *[
        Case(lambda x, fn=fn: fn(x, NO_ROIS, 3), (shape,), (0, 2, 3, 3))
        for fn in (F.roi_align, F.roi_pool, F.roi_warp)
        for shape in ((1, 2, 5, 5), (0, 2, 5, 5))
    ],
    *[
        Case(lambda x, fn=fn: fn(x, ONE_ROI, 3), ((1, 0, 5, 5),), (1, 0, 3, 3))
        for fn in (F.roi_align, F.roi_pool, F.roi_warp)
    ],
    Case(
        lambda x: F.roi_align(x, NO_ROIS, 3, sampling_ratio=2, reduce="max"),
        ((1, 2, 5, 5),),
        (0, 2, 3, 3),
    ),
    *[
        Case(
            lambda x, y: F.roi_align_levels([x, y], NO_ROIS, NO_LEVELS, 3, spatial_scales=(1, 0.5)),
            ((n, 2, 5, 5), (n, 2, 3, 3)),
            (0, 2, 3, 3),
        )
        for n in (0, 1)
    ],
    # losses: 0, but for those of each element
    Case(lambda x: F.cross_entropy(x, NO_LEVELS), ((0, 4),), ()),
    Case(lambda x: F.cross_entropy(x, NO_LEVELS), ((0, 0),), ()),
    *[
        Case(lambda x, fn=fn, r=r: fn(x, NO_ROIS, reduction=r), ((0, 5),), result)
        for fn in (F.binary_cross_entropy_with_logits, F.smooth_l1, F.sigmoid_focal_loss)
        for r, result in (("mean", ()), ("sum", ()), ("none", (0, 5)))
    ],
    *[
        Case(
            lambda x, r=r: F.generalized_iou_loss(x, NO_ROIS[:, 1:], reduction=r), ((0, 4),), result
        )
        for r, result in (("mean", ()), ("sum", ()), ("none", (0,)))
    ],
]


@pytest.mark.parametrize("case", CASES)
def test_nothing_gives_nothing_and_zero_gradients(case: Case) -> None:
    inputs = [Tensor(np.ones(shape, np.float32), requires_grad=True) for shape in case.shapes]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = case.fn(*inputs)
        out.backward(np.ones(out.shape))
    assert (out.shape, out.dtype) == (case.result, np.float32)
    assert not out.data.any()
    for tensor, shape in zip(inputs, case.shapes, strict=True):
        assert (tensor.grad.shape, tensor.grad.dtype) == (shape, np.float32)
        assert not tensor.grad.any()


def test_every_operation_is_in_the_table_or_says_why_not() -> None:
    table = pathlib.Path(__file__).read_text().partition("@pytest.mark")[0]
    names = [f"ops.{n}" for n in ops.__all__] + [
        f"F.{n}" for n in F.__all__ if n not in ops.__all__
    ]
    missing = {n for n in names if not re.search(rf"\b{re.escape(n)}\b", table)}
    assert missing == {"F.batch_norm_train"}  # refuses: see below


def ones(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32), requires_grad=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.max(ones(0, 3)), r"max and min of no values .* shape \(0, 3\), axis None"),
        (lambda: ops.max(ones(0, 3), axis=0), "max and min of no values .* axis 0"),
        (lambda: ops.min(ones(3, 0), axis=-1), "max and min of no values .* axis -1"),
        (lambda: ops.max(ones(2, 0, 3), axis=(0, 1)), "max and min of no values"),
        (lambda: ops.reshape(ones(0, 8), -1, 0), r"the -1 in \(-1, 0\) could be any number"),
        (
            lambda: F.batch_norm_train(ones(0, 3, 5, 5), ones(3), ones(3)),
            "has 0 values per channel, at least 2 are needed",
        ),
        (lambda: F.cross_entropy(ones(2, 0), np.zeros(2, int)), "got 0 in row 0"),
        (lambda: F.conv2d(ones(2, 3, 0, 4), ones(4, 3, 1, 1)), "use a larger image"),
        (lambda: F.conv_transpose2d(ones(1, 3, 1, 1), ones(3, 4, 2, 2), padding=2), "pad less"),
        (lambda: F.max_pool2d(ones(2, 3, 0, 4), 2), "use a larger image"),
        (lambda: F.resize(ones(2, 3, 4, 4), (0, 4)), "a height and a width of at least 1"),
        (lambda: F.roi_align(ones(2, 3, 0, 4), NO_ROIS, 2), "images of at least 1 x 1"),
        (lambda: F.roi_pool(ones(0, 3, 4, 4), ONE_ROI, 2), "not one of the 0 images"),
    ],
)
def test_what_nothing_cannot_give_is_refused_in_a_sentence(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
