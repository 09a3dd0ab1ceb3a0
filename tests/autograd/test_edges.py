"""Optional inputs, NaN, float16, and the functions of plain arrays: where quiet mistakes hide."""

from __future__ import annotations

import numpy as np
import pytest

from minimask import functional as F
from minimask.autograd import AnomalyError, Function, Tensor, detect_anomaly, ops
from minimask.autograd.arrays import as_contiguous, sigmoid, softmax

NAN = float("nan")
IMAGES = np.arange(2 * 4 * 6 * 6, dtype=np.float32).reshape(2, 4, 6, 6) / 100
ROIS = np.array([[1, 0.5, 0, 4, 3]], np.float32)


def leaf(values, dtype=np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def gradients(fn, *values) -> list[list[float]]:
    inputs = [leaf(v) for v in values]
    out = fn(*inputs)
    out.backward(np.ones(out.shape))
    return [x.grad.ravel().tolist() for x in inputs]


# Optional inputs


class Scaled(Function):
    """x times an optional factor, plus an optional shift."""

    @staticmethod
    def forward(ctx, x, factor=None, shift=None, *, twice=None):
        ctx.save(x, factor)
        out = x if factor is None else x * factor
        return out + 0 if shift is None else out + shift

    @staticmethod
    def backward(ctx, grad):
        x, factor = ctx.saved
        needs_x, needs_factor, needs_shift = ctx.needs_grad
        return (
            (grad if factor is None else grad * factor) if needs_x else None,
            grad * x if needs_factor else None,
            grad if needs_shift else None,
        )


def test_optional_inputs_may_be_none_or_left_out() -> None:
    x, shift = leaf([2.0, 3.0]), leaf([5.0, 7.0])
    for call in (
        lambda: Scaled.apply(x),
        lambda: Scaled.apply(x, None, None),
        lambda: Scaled.apply(x, None, shift),
        lambda: Scaled.apply(x, 4.0),
    ):
        x.grad = None
        with detect_anomaly():
            call().backward(np.ones(2))
    assert x.grad.tolist() == [4, 4]
    assert shift.grad.tolist() == [1, 1]
    assert Scaled.describe([x.data, None, shift.data], {}) == (
        "Scaled(x(2,):float64, shift(2,):float64)"
    )


def test_none_is_refused_where_forward_has_no_default_of_none() -> None:
    with pytest.raises(TypeError, match=r"Scaled: .*`x`.*; only factor and shift may be None"):
        Scaled.apply(None)
    with pytest.raises(TypeError, match="Add: an input is None: `b`, where a Tensor"):
        ops.add(leaf(1.0), None)
    with pytest.raises(TypeError, match=r"Concatenate: an input is None: `arrays\[1\]`"):
        ops.concatenate([leaf([1.0]), None])
    with pytest.raises(TypeError, match=r"Conv2d: .*`weight`.*; only bias and residual may"):
        F.conv2d(IMAGES, None)


# NaN


def test_a_nan_is_the_largest_and_gets_the_gradient() -> None:
    assert gradients(ops.max, [1, NAN, 3, NAN]) == [[0, 0.5, 0, 0.5]]
    assert gradients(lambda x: ops.max(x, axis=1), [[1, NAN], [4, 2]]) == [[0, 1, 1, 0]]
    assert gradients(ops.min, [1, NAN, 3]) == [[0, 1, 0]]
    for fn in (ops.maximum, ops.minimum):
        assert gradients(fn, [NAN, 1, NAN, 2], [1, NAN, NAN, 2]) == [
            [1, 0, 0.5, 0.5],
            [0, 1, 0.5, 0.5],
        ]
    cells = [[[[1, NAN], [NAN, 5]]]]
    assert gradients(lambda x: F.max_pool2d(x, 2), cells) == [[0, 1, 0, 0]]
    box = np.array([[0, 0, 0, 1, 1.0]])
    assert gradients(lambda x: F.roi_pool(x, box, 1), cells) == [[0, 1, 0, 0]]


def test_a_nan_is_above_no_threshold_and_gets_no_gradient() -> None:
    assert gradients(F.relu, [NAN, 1, -1]) == [[0, 1, 0]]
    assert gradients(F.relu, [NAN, 1, 1], [1, NAN, 1]) == [[0, 0, 1]] * 2
    assert gradients(lambda x: ops.clip(x, 0, 1), [NAN, 0.5, 2]) == [[0, 1, 0]]
    assert gradients(ops.clip, [NAN, 0.5]) == [[0, 1]]


def test_the_absolute_value_of_nan_has_a_nan_gradient() -> None:
    (slope,) = gradients(ops.abs, [NAN, -1, 0])
    assert np.isnan(slope[0])
    assert slope[1:] == [-1, 0]


@pytest.mark.parametrize(
    ("name", "fn"),
    [
        ("Max", ops.max),
        ("Maximum", lambda x: ops.maximum(x, 0.0)),
        ("ReLU", F.relu),
        ("Clip", lambda x: ops.clip(x, 0, 1)),
        ("Abs", ops.abs),
        ("MaxPool2d", lambda x: F.max_pool2d(x, 2)),
        ("RoIPool", lambda x: F.roi_pool(x, np.array([[0, 0, 0, 1, 1.0]]), 1)),
    ],
)
def test_anomaly_mode_names_them_for_a_nan(name, fn) -> None:
    x = leaf([[[[1, NAN], [2, 5]]]])
    with detect_anomaly(), pytest.raises(AnomalyError, match="has 1 NaN of 4 values") as info:
        fn(x)
    assert (info.value.op, info.value.phase) == (name, "forward")


# float16


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: F.roi_align(x, ROIS, 2),
        lambda x: F.roi_align(x, ROIS, 2, sampling_ratio=2),
        lambda x: F.roi_pool(x, ROIS, 2),
        lambda x: F.roi_warp(x, ROIS, 2),
        lambda x: F.roi_align_levels([x, x], ROIS, np.ones(1, int), 2, spatial_scales=(1, 1)),
    ],
)
def test_float16_features_give_float16_and_a_float16_gradient(fn) -> None:
    features = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float16)
    half, single = leaf(features, np.float16), leaf(features, np.float32)
    results = [fn(half), fn(single)]
    for out in results:
        out.backward(np.ones(out.shape))
    for got, want in [(results[0].data, results[1].data), (half.grad, single.grad)]:
        assert got.dtype == np.float16
        np.testing.assert_array_equal(got, want.astype(np.float16))  # computed in float32


def test_masks_give_float32() -> None:
    mask = np.ones((2, 1, 6, 6), bool)
    assert F.roi_align(mask, ROIS, 2).dtype == F.roi_pool(mask, ROIS, 2).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float16])
@pytest.mark.parametrize("fn", [F.roi_align, F.roi_pool, F.roi_warp])
def test_rois_of_any_type_are_scaled_as_numbers(fn, dtype) -> None:
    rois = np.array([[1, 3, 2, 17, 20]])  # a quarter of an integer is no integer
    got = fn(IMAGES, rois.astype(dtype), 2, spatial_scale=0.25)
    np.testing.assert_array_equal(got.data, fn(IMAGES, rois * 1.0, 2, spatial_scale=0.25).data)


# Arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_softmax_of_plain_arrays(dtype) -> None:
    x = np.array([[-1e4, -20, 0], [20, 1e4, 0]], dtype)
    y = sigmoid(x)
    assert y.dtype == dtype
    assert y[[0, 0, 1], [0, 2, 1]].tolist() == [0, 0.5, 1]
    np.testing.assert_allclose(y[:, :2].ravel()[1:3], 1 / (1 + np.exp([20, -20])), rtol=1e-6)
    np.testing.assert_array_equal(ops.sigmoid(x).data, y)
    rows = softmax(np.log(np.array([[1, 2, 5], [3, 3, 2]], dtype)) + dtype(80))
    np.testing.assert_allclose(rows, [[0.125, 0.25, 0.625], [0.375, 0.375, 0.25]], rtol=2e-5)
    np.testing.assert_array_equal(ops.softmax(x, axis=0).data, softmax(x, axis=0))
    assert softmax(np.zeros((0, 3), dtype)).shape == (0, 3)
    assert np.isnan(softmax(np.array([np.inf, 0], dtype))).all()


def test_as_contiguous_copies_only_where_it_must() -> None:
    array = np.arange(6).reshape(2, 3)
    assert as_contiguous(array) is array
    assert as_contiguous(array.T).flags.c_contiguous
    assert as_contiguous(array.T).tolist() == array.T.tolist()
