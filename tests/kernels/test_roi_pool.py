from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, isfinite

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimask.kernels.dispatch import using
from minimask.kernels.host_shim import build, emulator
from minimask.kernels.roi_pool import VARIANTS, roi_pool, roi_pool_backward
from minimask.kernels.roi_pool.cuda import launch, launch_backward

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
every_variant = pytest.mark.parametrize("variant", CPU)
needs_the_shim = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))
NAN, INF = np.nan, np.inf
RAMP = np.arange(16.0).reshape(1, 1, 4, 4)  # 0 1 2 3 / 4 5 6 7 / 8 9 10 11 / 12 13 14 15


def assert_close(actual, desired, rtol=1e-12, atol=0.0):
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol, strict=True)


def assert_pooled(features, roi, size, expected, cells, variant, **options):
    """One RoI on one channel: values and argmax."""
    rois = np.array([[0, *roi]], "f8")
    out, argmax = roi_pool(features, rois, size, variant=variant, **options)
    assert_close(out, np.array([[expected]], "f8"))
    np.testing.assert_array_equal(argmax, np.array([[cells]], "i4"), strict=True)


# ------------------------------------------------------------------ numbers worked out by hand


@every_variant
def test_bins_that_divide_the_roi(variant):
    # corners 0 and 3: four cells a side, two a bin; the last cell of each bin is its largest
    assert_pooled(RAMP, [0, 0, 3, 3], 2, [[5, 7], [13, 15]], [[5, 7], [13, 15]], variant)


@every_variant
def test_bins_that_share_cells(variant):
    # cells 1 to 3, three a side.  Bin 0: floor(0) to ceil(3/2) = 0 to 2, bin 1: floor(3/2) = 1 to
    # 3: the middle cell is in both.  Rows 1 2 | 2 3, columns likewise
    expected = [[10, 11], [14, 15]]
    assert_pooled(RAMP, [1, 1, 3, 3], 2, expected, expected, variant)
    # one cell, 2 x 2 bins: all four hold it
    assert_pooled(RAMP, [2, 1, 2, 1], 2, [[6, 6], [6, 6]], [[6, 6], [6, 6]], variant)


@every_variant
def test_corners_are_rounded_half_up_after_scaling(variant):
    # 1.49 -> 1, 2.5 -> 3; times 1/4: 5.99/4 = 1.4975 -> 1, 10/4 = 2.5 -> 3
    assert_pooled(RAMP, [1.49, 1.49, 2.5, 2.5], 1, [[15]], [[15]], variant)
    assert_pooled(RAMP, [5.99, 5.99, 9.9, 9.9], 1, [[10]], [[10]], variant, spatial_scale=0.25)
    assert_pooled(RAMP, [5.99, 5.99, 10, 10], 1, [[15]], [[15]], variant, spatial_scale=0.25)
    # -0.5 + 0.5 = 0 -> 0, so this box begins on the map; -0.6 rounds to -1
    assert_pooled(-1 - RAMP, [-0.5, -0.5, 1, 1], (1, 2), [[-1, -2]], [[0, 1]], variant)
    # columns -1 0 1: bin 0 holds -1 and 0, of which 0 is on the map; bin 1 holds 0 and 1
    assert_pooled(-1 - RAMP, [-0.6, -0.5, 1, 1], (1, 2), [[-1, -1]], [[0, 0]], variant)


@every_variant
def test_what_lies_outside(variant):
    none = [[0, 0], [0, 0]]
    empty = [[-1, -1], [-1, -1]]
    for roi in ([4, 0, 7, 3], [-9, -9, -1, -1], [0, 50, 3, 60], [1e30, 0, 1e30, 3]):
        assert_pooled(RAMP - 99, roi, 2, none, empty, variant)
    # columns 2 to 5, two a bin: the right bins are off the map.  Rows 0 and 1
    assert_pooled(RAMP, [2, 0, 5, 1], 2, [[3, 0], [7, 0]], [[3, -1], [7, -1]], variant)
    # a box around everything: 2001 cells a side, the map in the middle one of three bins
    expected = [[0, 0, 0], [0, 15, 0], [0, 0, 0]]
    cells = [[-1, -1, -1], [-1, 15, -1], [-1, -1, -1]]
    assert_pooled(RAMP, [-1000, -1000, 1000, 1000], 3, expected, cells, variant)


@every_variant
def test_inverted_boxes_are_one_cell_and_not_finite_ones_none(variant):
    assert_pooled(RAMP, [2, 1, 0, 0], 1, [[6]], [[6]], variant)
    assert_pooled(RAMP, [2, 2, 2, 0], (2, 1), [[10], [10]], [[10], [10]], variant)
    for k in range(4):
        for value in (NAN, INF, -INF):
            roi = np.array([0, 0, 3, 3.0])
            roi[k] = value
            assert_pooled(RAMP, roi, 1, [[0]], [[-1]], variant)


@every_variant
def test_ties_and_nan(variant):
    features = np.array([[[[1.0, 3, 3], [3, 2, NAN], [NAN, 3, 3]]]])
    assert_pooled(features, [0, 0, 1, 1], 1, [[3]], [[1]], variant)  # 3 at cells 1 and 3
    assert_pooled(features, [0, 0, 2, 2], 1, [[NAN]], [[5]], variant)  # NaN at cells 5 and 6
    low = np.full((1, 1, 2, 2), -INF)
    assert_pooled(low, [0, 0, 1, 1], 1, [[-INF]], [[0]], variant)


@every_variant
def test_gradient_by_hand(variant):
    rois = np.array([[0, 2, 1, 2, 1], [0, 0, 0, 3, 3], [0, 9, 9, 9, 9]], "f8")
    _, argmax = roi_pool(RAMP, rois, 2, variant=variant)
    grad = np.array([1.0, 2, 3, 4, 10, 20, 30, 40, 5, 5, 5, 5]).reshape(3, 1, 2, 2)
    expected = np.zeros((1, 1, 4, 4))
    expected[0, 0, 1, 2] = 1 + 2 + 3 + 4  # the one cell that won all bins of the first RoI
    expected[0, 0, 1, 1], expected[0, 0, 1, 3] = 10, 20
    expected[0, 0, 3, 1], expected[0, 0, 3, 3] = 30, 40
    assert_close(roi_pool_backward(grad, rois, argmax, RAMP.shape, variant=variant), expected)


# -------------------------------------------------------- shapes and boxes that tests draw from


@st.composite
def cases(draw, kinds=("whole", "any", "odd")):
    """Features (float64), rois (float32), size, scale: shapes from nothing and 1 pixel up."""
    images, channels = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    count = draw(st.integers(0, 5))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    features = rng.integers(-9, 10, (images, channels, height, width)).astype("f8")  # ties
    whole = st.integers(-4, 14).map(float)
    value = {
        "whole": whole,
        "any": st.floats(-12, 24, width=32),
        "odd": st.one_of(whole, st.sampled_from([NAN, INF, -INF, 3e38, -1e9])),
    }[draw(st.sampled_from(kinds))]
    rows = [
        [draw(st.integers(0, images - 1))] + [draw(value) for _ in range(4)] for _ in range(count)
    ]
    rois = np.array(rows, "f4").reshape(count, 5)
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    return features, rois, size, draw(st.sampled_from([1.0, 0.5, 0.25]))


# --------------------------------------------------------------- an independent implementation


def cell_by_cell(features, rois, size, scale):
    """For each cell of the map ask, in fractions, whether it lies in the bin."""
    channels, height, width = features.shape[1:]
    out = np.zeros((len(rois), channels, *size))
    for r, roi in enumerate(rois):
        if not all(isfinite(v) for v in roi):
            continue
        x0, y0, x1, y1 = (
            floor(Fraction(float(v)) * Fraction(scale) + Fraction(1, 2)) for v in roi[1:]
        )

        def holds(cell, start, last, p, bins):
            share = Fraction(max(last - start + 1, 1), bins)
            return floor(p * share) <= cell - start < ceil((p + 1) * share)

        for p, q in np.ndindex(*size):
            rows = [y for y in range(height) if holds(y, y0, y1, p, size[0])]
            columns = [x for x in range(width) if holds(x, x0, x1, q, size[1])]
            if rows and columns:
                out[r, :, p, q] = features[int(roi[0])][:, rows][:, :, columns].max((1, 2))
    return out


@given(cases(("whole", "any")), st.sampled_from(CPU))
def test_asking_each_cell_gives_the_same(case, variant):
    features, rois, size, scale = case
    out, argmax = roi_pool(features, rois.astype("f8"), size, spatial_scale=scale, variant=variant)
    assert_close(out, cell_by_cell(features, rois, size, scale))
    for r, c, p, q in zip(*np.nonzero(argmax >= 0), strict=True):
        assert features[int(rois[r, 0]), c].flat[argmax[r, c, p, q]] == out[r, c, p, q]
    assert (out[argmax < 0] == 0).all()


@every_variant
def test_torchvision_gives_the_same(variant):
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 3, 30, 40)).astype("f4")
    corner = rng.uniform(-20, 130, (60, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(-5, 90, (60, 2))], 1)
    rois = np.concatenate([rng.integers(0, 2, (60, 1)), boxes], 1).astype("f4")
    # sides below 57 cells: from there on its float32 division adds a cell to some bins of 7
    x = torch.from_numpy(features).requires_grad_()
    y = ops.roi_pool(x, torch.from_numpy(rois), 7, 0.25)
    out, argmax = roi_pool(features, rois, 7, spatial_scale=0.25, variant=variant)
    assert_close(out, y.detach().numpy(), rtol=0)
    grad = rng.standard_normal(y.shape).astype("f4")
    y.backward(torch.from_numpy(grad))
    back = roi_pool_backward(grad, rois, argmax, features.shape, variant=variant)
    assert_close(back, x.grad.numpy(), rtol=1e-5, atol=1e-5)


# -------------------------------------------------------------------------------- invariances


@given(cases(("whole",)), st.sampled_from(CPU))
def test_a_mirrored_image_gives_the_mirrored_crop(case, variant):
    features, rois, size, _ = case
    rois[:, 3:] = np.maximum(rois[:, 3:], rois[:, 1:3])  # an inverted box has no mirror image
    mirrored = rois.copy()
    mirrored[:, [1, 3]] = features.shape[3] - 1 - rois[:, [3, 1]]
    out, _ = roi_pool(features, rois, size, variant=variant)
    got, _ = roi_pool(features[..., ::-1], mirrored, size, variant=variant)
    assert_close(got, out[..., ::-1])


@every_variant
def test_shifted_by_whole_cells(variant):
    features = np.random.default_rng(1).standard_normal((1, 2, 8, 9))
    rois = np.array([[0, 1.3, 0.2, 6.7, 5.1], [0, -3, -2, 4, 9]], "f8")
    out, argmax = roi_pool(features, rois, 3, variant=variant)
    wide = np.full((1, 2, 8, 14), -99.0)
    wide[..., 5:] = features
    moved, where = roi_pool(wide, rois + np.array([0, 5, 0, 5, 0]), 3, variant=variant)
    outside = argmax < 0
    assert not outside[0].any() and outside[1].any()
    assert_close(moved[~outside], out[~outside])
    row, column = np.divmod(argmax[~outside], 9)
    np.testing.assert_array_equal(where[~outside], row * 14 + column + 5)


@given(cases(), st.sampled_from(CPU))
def test_rois_do_not_know_of_each_other(case, variant):
    features, rois, size, scale = case
    out, argmax = roi_pool(features, rois, size, spatial_scale=scale, variant=variant)
    for part in (slice(None, 2), slice(2, None), slice(None, None, -1)):
        got = roi_pool(features, rois[part], size, spatial_scale=scale, variant=variant)
        assert_close(got[0], out[part])
        np.testing.assert_array_equal(got[1], argmax[part])


# -------------------------------------------------------------------- variants and the gradient


@given(cases(), st.sampled_from(["C", "F", "reversed"]))
def test_variants_agree_with_the_reference_in_float64(case, layout):
    features, rois, size, scale = case
    if layout == "F":
        features, rois = np.asfortranarray(features), np.asfortranarray(rois)
    elif layout == "reversed":
        features, rois = features[:, ::-1, ::-1, ::-1], rois[::-1]
    options = {"spatial_scale": scale}
    out, argmax = roi_pool(features, rois, size, variant="reference", **options)
    for dtype in ("f4", "f8"):
        got = roi_pool(features.astype(dtype, order="K"), rois, size, **options)
        assert_close(got[0], out.astype(dtype), rtol=0)
        np.testing.assert_array_equal(got[1], argmax, strict=True)
        grad = np.random.default_rng(0).standard_normal(out.shape).astype(dtype)
        back = roi_pool_backward(grad, rois, argmax, features.shape)
        expected = roi_pool_backward(
            grad.astype("f8"), rois, argmax, features.shape, variant="reference"
        )
        assert_close(back, expected.astype(dtype), rtol=0, atol=1e-5 if dtype == "f4" else 1e-13)


@st.composite
def many_channels(draw):
    """Enough channels for the compiled loops that hold one in each lane; ties, NaN, -0."""
    shape = (
        draw(st.integers(1, 3)),
        draw(st.integers(4, 40)),
        draw(st.integers(1, 12)),
        draw(st.sampled_from([1, 3, 7, 15, 16, 17, 33, 40])),
    )
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    features = rng.integers(-2, 3, shape).astype(draw(st.sampled_from(["f4", "f8"])))
    features[rng.random(shape) < draw(st.sampled_from([0, 0.02, 0.5]))] = NAN
    features[rng.random(shape) < 0.2] = -0.0
    features[rng.random(shape) < draw(st.sampled_from([0, 0.5]))] = -INF
    count = draw(st.sampled_from([1, 2, 40]))
    corner = rng.uniform(-0.3, 1, (count, 2)) * (shape[3], shape[2])
    side = rng.uniform(-0.1, 1.3, (count, 2)) * (shape[3], shape[2])
    image = rng.integers(0, shape[0], (count, 1))
    rois = np.concatenate([image, corner, corner + side], 1).astype("f4")
    rois[rng.random(rois.shape) * [INF, 1, 1, 1, 1] < 0.01] = NAN
    return features, rois, draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))


def assert_same_bits(actual, desired):
    """NaN is NaN, whatever its bits; 0 is not -0."""
    np.testing.assert_array_equal(actual, desired, strict=True)
    number = ~np.isnan(actual)
    np.testing.assert_array_equal(np.signbit(actual[number]), np.signbit(desired[number]))


@given(many_channels())
def test_many_channels_are_the_reference_bit_for_bit(case):
    features, rois, size = case
    out, argmax = roi_pool(features, rois, size, variant="reference")
    got, places = roi_pool(features, rois, size, variant="cpu")
    assert_same_bits(got, out)
    np.testing.assert_array_equal(places, argmax, strict=True)


@given(cases(), st.sampled_from(CPU))
def test_the_gradient_is_the_adjoint(case, variant):
    """Near x the output is linear in it: out = J x, the rows of J picking one cell each."""
    features, rois, size, scale = case
    out, argmax = roi_pool(features, rois, size, spatial_scale=scale, variant=variant)
    grad = np.random.default_rng(2).standard_normal(out.shape)
    back = roi_pool_backward(grad, rois, argmax, features.shape, variant=variant)
    assert back.shape == features.shape
    np.testing.assert_allclose((grad * out).sum(), (back * features).sum(), rtol=1e-10, atol=1e-10)


@every_variant
@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_masks_are_numbers(variant, dtype):
    mask = np.zeros((1, 1, 4, 4), dtype)
    mask[..., 1, 2] = 1
    out, argmax = roi_pool(mask, np.array([[0, 0, 0, 3, 3]], "f4"), 2, variant=variant)
    assert_close(out, np.array([[[[0, 1], [0, 0]]]], "f4"))
    assert argmax[0, 0, 0, 1] == 6


@pytest.mark.parametrize("channels", [5, 70])
def test_the_number_of_threads_does_not_change_a_bit(channels):
    rng = np.random.default_rng(3)
    features = rng.standard_normal((2, channels, 20, 20)).astype("f4")
    corner = rng.uniform(0, 15, (50, 2))
    rois = np.concatenate([rng.integers(0, 2, (50, 1)), corner, corner + 6], 1).astype("f4")
    results = []
    threads = numba.get_num_threads()
    for count in (1, threads):
        numba.set_num_threads(count)
        out, argmax = roi_pool(features, rois, 7)
        back = roi_pool_backward(out, rois, argmax, features.shape)
        results.append((out, argmax, back))
    for one, many in zip(*results, strict=True):
        assert_close(one, many, rtol=0)


@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("side", [4, 60])
def test_windows_of_one_roi_or_of_many(count, side):
    """Few small RoIs are turned one by one, many or large ones together; borders included."""
    rng = np.random.default_rng(count)
    features = rng.integers(-50, 50, (2, 33, 50, 70)).astype("f4")
    corner = rng.uniform(-8, 66, (count, 2))
    image = rng.integers(0, 2, (count, 1))
    rois = np.concatenate([image, corner, corner + side], 1).astype("f4")
    for got, expected in zip(
        roi_pool(features, rois, (7, 5)),
        roi_pool(features, rois, (7, 5), variant="reference"),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected, strict=True)


# ------------------------------------------------------------------- GPU kernels, in the host shim


@needs_the_shim
@settings(max_examples=30)
@given(cases(), st.integers(0, 5))
def test_on_a_gpu_it_is_the_cpu_bit_for_bit_in_any_order_of_threads(case, seed):
    features, rois, size, scale = case
    features = features.astype("f4")
    out, argmax = roi_pool(features, rois, size, spatial_scale=scale)
    grad = np.random.default_rng(0).standard_normal(out.shape).astype("f4")
    back = roi_pool_backward(grad, rois, argmax, features.shape)
    with using(emulate=True), emulator.running(seed=seed):
        gpu_out, gpu_argmax = roi_pool(features, rois, size, spatial_scale=scale)
        gpu_back = roi_pool_backward(grad, rois, argmax, features.shape)
    np.testing.assert_array_equal(gpu_out, out, strict=True)
    np.testing.assert_array_equal(gpu_argmax, argmax, strict=True)
    np.testing.assert_array_equal(gpu_back, back, strict=True)  # sums in the same order


@needs_the_shim
def test_on_a_gpu_what_nobody_has_checked_is_left_out():
    """Inside `unchecked()` an image index or an argmax may be anything."""
    features = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype("f4")
    rois = np.array([[i, 0, 0, 5, 4] for i in (1, -1, 2, NAN, 1e9, INF, 0)], "f4")
    good = [0, 6]
    expected, places = roi_pool(features, rois[good], 3)
    for forward in (launch.forward_naive, launch.forward_columns):
        out, argmax = forward(features, rois, size=(3, 3), scale=1.0)
        np.testing.assert_array_equal(out[good], expected)
        np.testing.assert_array_equal(argmax[good], places)
        assert not out[1:6].any() and (argmax[1:6] == -1).all()
    winners = np.full(out.shape, 4, "i4")
    winners[good] = places
    winners[0, :, 0] = [-2, 30, 2**31 - 1]
    places[0, :, 0] = -1
    grad = np.ones(out.shape, "f4")
    back = roi_pool_backward(grad[good], rois[good], places, features.shape)
    for backward in (launch_backward.backward_atomic, launch_backward.backward_gather):
        got = backward(grad, rois, winners, shape=features.shape)
        np.testing.assert_array_equal(got, back)


# -------------------------------------------------------------------------------------- errors


def test_what_does_not_fit_is_named():
    rois = np.array([[0, 0, 0, 1, 1], [1, 0, 0, 1, 1], [2, 0, 0, 1, 1]], "f4")
    features = np.zeros((2, 1, 4, 4), "f4")
    with pytest.raises(ValueError, match=r"rois\[2\]: image index 2 is not one of the 2 images"):
        roi_pool(features, rois, 2)
    with pytest.raises(ValueError, match=r"rois: expected shape \(R, 5\).*got \(3, 4\); put the"):
        roi_pool(features, rois[:, 1:], 2)
    with pytest.raises(ValueError, match=r"features: expected shape .*got \(1, 4, 4\).*masks\["):
        roi_pool(features[0], rois[:1], 2)
    with pytest.raises(ValueError, match="features: expected images of at least 1 x 1"):
        roi_pool(features[..., :0], rois[:2], 2)
    with pytest.raises(ValueError, match="output_size: expected an integer >= 1 or a pair"):
        roi_pool(features, rois[:2], 0)
    with pytest.raises(ValueError, match="spatial_scale: expected a positive number"):
        roi_pool(features, rois[:2], 2, spatial_scale=0)
    out, argmax = roi_pool(features, rois[:2], 2)
    with pytest.raises(ValueError, match=r"argmax: expected grad's shape"):
        roi_pool_backward(out, rois[:2], argmax[:1], features.shape)
    with pytest.raises(ValueError, match=r"argmax: expected -1 or a cell of the 2 x 2 plane"):
        roi_pool_backward(out, rois[:2], argmax + 5, (2, 1, 2, 2))
    with pytest.raises(ValueError, match=r"grad: expected shape \(3, 1, PH, PW\)"):
        roi_pool_backward(out, rois, argmax, features.shape)
    with pytest.raises(ValueError, match=r"input_shape: expected \(N, C, H, W\)"):
        roi_pool_backward(out, rois[:2], argmax, (4, 4))
