from __future__ import annotations

import importlib
from math import ceil, floor, isfinite

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.kernels.dispatch import implements, using
from minimask.kernels.host_shim import build, emulator
from minimask.kernels.roi_align import (
    VARIANTS,
    roi_align,
    roi_align_backward,
    roi_align_levels,
    roi_align_levels_backward,
)
from minimask.kernels.roi_align.cpu import lanes

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
every_variant = pytest.mark.parametrize("variant", CPU)
needs_the_shim = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))
NAN, INF = np.nan, np.inf
EVERY = CPU


def assert_close(actual, desired, rtol=1e-11, atol=1e-11):
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol, strict=True)


def assert_crop(features, roi, size, expected, variant, **options):
    """One RoI on one channel."""
    features = np.asarray(features, "f8")[None, None]
    out = roi_align(features, np.array([[0, *roi]], "f8"), size, variant=variant, **options)
    assert_close(out, np.array([[expected]], "f8"))


# ------------------------------------------------------------------ numbers worked out by hand

# F[y, x] = x + 10 y: interpolation is exact, so a sample's value tells where it was taken
PLANE = np.arange(8.0) + 10 * np.arange(8.0)[:, None]


@every_variant
def test_one_sample_a_bin(variant):
    options = {"sampling_ratio": 1, "variant": variant}
    # a 4 x 4 box at (2, 1), bins of 2 x 2, centers at x 3, 5 and y 2, 4; cell i sits at i + 0.5
    # when aligned: x 2.5, 4.5 and y 1.5, 3.5.  x + 10 y = 17.5, 19.5 | 37.5, 39.5
    assert_crop(PLANE, [2, 1, 6, 5], 2, [[17.5, 19.5], [37.5, 39.5]], **options)
    # not aligned, half a cell farther on each axis: 5.5 more
    assert_crop(PLANE, [2, 1, 6, 5], 2, [[23, 25], [43, 45]], aligned=False, **options)
    # boxes of twice the size, two rows of one bin each: x 4 - 0.5, y 2 - 0.5 and 4 - 0.5
    assert_crop(PLANE, [4, 2, 12, 10], (2, 1), [[18.5], [38.5]], spatial_scale=0.5, **options)


@every_variant
def test_more_samples_average_what_is_not_linear(variant):
    # F = x^2 at the cells, straight between them.  A box of 4 x 1 cells at x = 2, one bin,
    # aligned: it spans 1.5 to 5.5
    square = np.tile(np.arange(8.0) ** 2, (2, 1))
    roi = [2, 0, 6, 1]
    # ratio 1: at 3.5, halfway between 9 and 16
    assert_crop(square, roi, 1, [[12.5]], variant, sampling_ratio=1)
    # ratio 2: at 2.5 and 4.5: (4 + 9) / 2 and (16 + 25) / 2, mean (6.5 + 20.5) / 2
    assert_crop(square, roi, 1, [[13.5]], variant, sampling_ratio=2)
    # 0: four cells, four samples at 2, 3, 4, 5: (4 + 9 + 16 + 25) / 4; one cell high, one sample
    assert_crop(square, roi, 1, [[13.5]], variant)
    # 4.2 cells: five samples, 1.5 + 4.2 (i + 0.5) / 5 = 1.92, 2.76, 3.6, 4.44, 5.28, which read
    # 3.76, 7.8, 13.2, 19.96, 28.08
    assert_crop(square, [2, 0, 6.2, 1], 1, [[72.8 / 5]], variant)
    # the largest sample instead
    assert_crop(square, [2, 0, 6.2, 1], 1, [[28.08]], variant, reduce="max")
    assert_crop(square, roi, (1, 2), [[9, 25]], variant, reduce="max")


@every_variant
def test_samples_beyond_the_border(variant):
    row = np.array([[4.0, 8.0]])
    options = {"aligned": False, "variant": variant, "sampling_ratio": 1}
    # four bins of one cell from x = -1.75: samples at -1.25, -0.25, 0.75, 1.75.  The first is more
    # than a cell out: 0.  Then the nearest cell, 4 + 0.75 * 4, the nearest cell
    assert_crop(row, [-1.75, 0, 2.25, 1], (1, 4), [[0, 4, 7, 8]], **options)
    # from -1.5: at -1, which counts, 0, 1 and 2, which counts
    assert_crop(row, [-1.5, 0, 2.5, 1], (1, 4), [[4, 4, 8, 8]], **options)
    # up to W = 2, one cell past the last center 1: samples at 1.5, 2 (counts), 2.5 (does not)
    assert_crop(row, [1.25, 0, 2.75, 1], (1, 3), [[8, 8, 0]], **options)
    # two samples a bin, at -1.25 and -0.25: the one outside counts as 0 in mean and maximum
    roi = [-1.75, 0, 0.25, 1]
    options["sampling_ratio"] = 2
    assert_crop(row, roi, 1, [[2]], **options)
    assert_crop(-row, roi, 1, [[-2]], **options)
    assert_crop(-row, roi, 1, [[0]], reduce="max", **options)
    # rows are no different
    assert_crop(row.T, [0, -1.75, 1, 0.25], 1, [[2]], **options)
    for outside in ([-9, 0, -5, 1], [5, 0, 9, 1], [0, 5, 1, 9], [0, -9, 1, -5]):
        assert_crop(row, outside, 2, np.zeros((2, 2)), **options)


@every_variant
def test_boxes_without_area(variant):
    point = [3, 2, 3, 2]
    # not aligned: widened to one cell, one sample at its middle (3.5, 2.5)
    assert_crop(PLANE, point, 1, [[28.5]], variant, aligned=False)
    # inverted: likewise, from the first corner
    assert_crop(PLANE, [3, 2, 0, 1], 1, [[28.5]], variant, aligned=False, sampling_ratio=2)
    # aligned, one sample for every cell begun: no cell, no sample
    for roi in (point, [3, 2, 0, 1], [3, 2, 0, 6], [3, 2, 6, 2]):
        assert_crop(PLANE, roi, 1, [[0]], variant)
        assert_crop(PLANE - 99, roi, 1, [[0]], variant, reduce="max")
    # aligned, a fixed number: all samples at the point (2.5, 1.5)
    assert_crop(PLANE, point, 2, np.full((2, 2), 17.5), variant, sampling_ratio=2)
    # inverted in x: the bins run from 6 to 2, a mirrored crop
    expected = [[19.5, 17.5], [39.5, 37.5]]
    assert_crop(PLANE, [6, 1, 2, 5], 2, expected, variant, sampling_ratio=2)


@every_variant
@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_a_box_that_is_not_finite_reads_nothing(variant, reduce, aligned, ratio):
    options = {"reduce": reduce, "aligned": aligned, "sampling_ratio": ratio, "variant": variant}
    for k in range(4):
        for value in (NAN, INF, -INF):
            roi = np.array([1, 1, 5, 5.0])
            roi[k] = value
            assert_crop(PLANE - 99, roi, 2, np.zeros((2, 2)), **options)


def test_a_huge_box_costs_no_more_than_the_map():
    """One sample a cell would be 10^9 a side; those that miss the map are not visited."""
    ones = np.ones((1, 1, 4, 4), "f4")
    rois = np.array([[0, -1e9, -1e9, 1e9, 1e9], [0, 0, 0, 1e30, 1e30]], "f4")
    for reduce in ("mean", "max"):
        out = roi_align(ones, rois, 7, reduce=reduce)
        assert np.isfinite(out).all() and out[0].max() <= 1
        assert (out[0, 0, 3, 3] > 0) and (out[0, 0, 0] == 0).all()
    assert np.isfinite(roi_align_backward(np.ones((2, 1, 7, 7), "f4"), rois, ones.shape)).all()


@every_variant
def test_the_number_of_samples_is_counted_in_the_type_of_the_box(variant):
    # in float32 14.1 - 0.1 is 14, two samples a bin; the same numbers in float64 are 14.0000004
    # apart, three
    x = np.arange(20.0, dtype="f4") ** 2 * np.ones((1, 1, 2, 1), "f4")
    roi = np.array([[0, 0.1, 0, 14.1, 1]], "f4")
    options = {"aligned": False, "variant": variant}
    two = roi_align(x, roi, (1, 7), sampling_ratio=2, **options)
    three = roi_align(x, roi.astype("f8"), (1, 7), sampling_ratio=3, **options)
    assert np.abs(two - three).max() > 0.01
    assert_close(roi_align(x, roi, (1, 7), **options), two, rtol=1e-5)
    assert_close(roi_align(x, roi.astype("f8"), (1, 7), **options), three, rtol=1e-5)


@every_variant
def test_a_nan_feature_reaches_the_bins_that_read_it(variant):
    features = np.ones((1, 1, 8, 8))
    features[0, 0, 1, 1] = NAN
    rois = np.array([[0, 0, 0, 8, 8], [0, 4, 4, 8, 8]], "f8")
    for reduce in ("mean", "max"):
        out = roi_align(features, rois, 2, reduce=reduce, variant=variant)
        assert np.isnan(out[0, 0, 0, 0])
        assert not np.isnan(out[1]).any()
        if variant != "separable":
            assert np.isnan(out[0]).sum() == 1


@every_variant
def test_gradient_by_hand(variant):
    # one bin, one sample at (x, y) = (1.25, 0.5) when not aligned: its four cells get
    # (1 - 0.25) (1 - 0.5) = 0.375, 0.25 * 0.5 = 0.125 and the same below
    rois = np.array([[1, 0.75, 0, 1.75, 1], [0, 9, 9, 10, 10]], "f8")
    grad = np.array([8.0, 5]).reshape(2, 1, 1, 1)
    expected = np.zeros((2, 1, 3, 4))
    expected[1, 0, :2, 1:3] = [[3, 1], [3, 1]]
    options = {"sampling_ratio": 1, "aligned": False, "variant": variant}
    assert_close(roi_align_backward(grad, rois, (2, 1, 3, 4), **options), expected)


# -------------------------------------------------------- shapes and boxes that tests draw from


@st.composite
def cases(draw, kinds=("grid", "any", "odd")):
    """Features (float64), rois (float32), size, options: shapes from nothing and 1 pixel up."""
    images, channels = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    count = draw(st.integers(0, 4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    features = rng.standard_normal((images, channels, height, width))
    grid = st.integers(-16, 40).map(lambda quarter: quarter / 4)
    value = {
        "grid": grid,
        "any": st.floats(-12, 24, width=32),
        "odd": st.one_of(grid, st.sampled_from([NAN, INF, -INF])),
    }[draw(st.sampled_from(kinds))]
    rows = [
        [draw(st.integers(0, images - 1))] + [draw(value) for _ in range(4)] for _ in range(count)
    ]
    rois = np.array(rows, "f4").reshape(count, 5)
    size = draw(st.tuples(st.sampled_from([1, 2, 4, 7]), st.sampled_from([1, 2, 3, 4])))
    options = {
        "spatial_scale": draw(st.sampled_from([1.0, 0.5])),
        "sampling_ratio": draw(st.sampled_from([0, 1, 2, 3])),
        "aligned": draw(st.booleans()),
    }
    return features, rois, size, options


# --------------------------------------------------------------- an independent implementation


def sample(plane, y, x):
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    value = 0.0
    for row in {floor(y), ceil(y)}:
        for column in {floor(x), ceil(x)}:
            value += (1 - abs(y - row)) * (1 - abs(x - column)) * plane[row, column]
    return value


def one_by_one(features, rois, size, *, spatial_scale, sampling_ratio, aligned, reduce):
    out = np.zeros((len(rois), features.shape[1], *size))
    for r, c, p, q in np.ndindex(out.shape):
        x0, y0, x1, y1 = (float(v) * spatial_scale - 0.5 * aligned for v in rois[r, 1:])
        if not all(isfinite(v) for v in (x0, y0, x1, y1)):
            continue
        h, w = (y1 - y0, x1 - x0) if aligned else (max(y1 - y0, 1), max(x1 - x0, 1))
        ny, nx = sampling_ratio or ceil(h / size[0]), sampling_ratio or ceil(w / size[1])
        values = [
            sample(
                features[int(rois[r, 0]), c],
                y0 + (p + (i + 0.5) / ny) * (h / size[0]),
                x0 + (q + (j + 0.5) / nx) * (w / size[1]),
            )
            for i in range(ny)
            for j in range(nx)
        ]
        if values:
            out[r, c, p, q] = np.mean(values) if reduce == "mean" else max(values)
    return out


@given(cases(), st.sampled_from(EVERY), st.sampled_from(["mean", "max"]))
def test_each_sample_on_its_own_gives_the_same(case, variant, reduce):
    features, rois, size, options = case
    options["reduce"] = reduce
    rois = rois.astype("f8")  # the loop counts samples in Python's floats
    got = roi_align(features, rois, size, variant=variant, **options)
    assert_close(got, one_by_one(features, rois, size, **options))


@every_variant
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
def test_torchvision_gives_the_same(variant, aligned, ratio):
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(ratio)
    features = rng.standard_normal((2, 3, 20, 25)).astype("f4")
    corner = rng.uniform(-20, 90, (40, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(-5, 60, (40, 2))], 1)
    rois = np.concatenate([rng.integers(0, 2, (40, 1)), boxes], 1).astype("f4")
    x = torch.from_numpy(features).requires_grad_()
    y = ops.roi_align(x, torch.from_numpy(rois), (7, 5), 0.25, ratio, aligned)
    options = {"spatial_scale": 0.25, "sampling_ratio": ratio, "aligned": aligned}
    out = roi_align(features, rois, (7, 5), variant=variant, **options)
    assert_close(out, y.detach().numpy(), rtol=1e-4, atol=1e-5)
    grad = rng.standard_normal(y.shape).astype("f4")
    y.backward(torch.from_numpy(grad))
    back = roi_align_backward(grad, rois, features.shape, variant=variant, **options)
    assert_close(back, x.grad.numpy(), rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------- invariances


@given(cases(("grid",)), st.sampled_from(EVERY), st.sampled_from(["mean", "max"]))
def test_a_mirrored_image_gives_the_mirrored_crop(case, variant, reduce):
    """Aligned, the map covers 0 to W, and x becomes W - x."""
    features, rois, _, options = case
    options |= {"aligned": True, "reduce": reduce, "variant": variant, "spatial_scale": 1.0}
    options["sampling_ratio"] = 2  # positions are binary fractions: nothing rounds at the border
    mirrored = rois.copy()
    mirrored[:, [1, 3]] = features.shape[3] - rois[:, [3, 1]]
    out = roi_align(features, rois, (2, 4), **options)
    got = roi_align(features[..., ::-1], mirrored, (2, 4), **options)
    assert_close(got, out[..., ::-1])
    turned = rois[:, [0, 2, 1, 4, 3]]
    got = roi_align(features.swapaxes(2, 3), turned, (4, 2), **options)
    assert_close(got, out.swapaxes(2, 3))


@every_variant
@pytest.mark.parametrize("aligned", [True, False])
def test_shifted_by_whole_cells(variant, aligned):
    rng = np.random.default_rng(1)
    features = rng.standard_normal((1, 2, 9, 12))
    rois = np.array([[0, 3, 2, 5.5, 7.25], [0, 2.25, 3, 7, 6]])
    options = {"aligned": aligned, "variant": variant}
    shifted = np.roll(features, (1, 3), (2, 3))
    got = roi_align(shifted, rois + np.array([0, 3, 1, 3, 1]), 3, **options)
    assert_close(got, roi_align(features, rois, 3, **options))


@every_variant
def test_a_finer_grid_of_bins_averages_to_the_coarse_one(variant):
    """Splitting each bin in 2 x 2 takes the same samples when each half takes half of them."""
    features = np.random.default_rng(2).standard_normal((1, 3, 10, 10))
    rois = np.array([[0, -1, 0.5, 8.2, 12], [0, 2, 2, 3, 3]])
    coarse = roi_align(features, rois, 3, sampling_ratio=4, variant=variant)
    fine = roi_align(features, rois, 6, sampling_ratio=2, variant=variant)
    assert_close(fine.reshape(2, 3, 3, 2, 3, 2).mean((3, 5)), coarse)


@given(cases(), st.sampled_from(EVERY))
def test_rois_images_and_channels_do_not_know_of_each_other(case, variant):
    features, rois, size, options = case
    out = roi_align(features, rois, size, variant=variant, **options)
    for part in (slice(None, 2), slice(2, None), slice(None, None, -1)):
        got = roi_align(features, rois[part], size, variant=variant, **options)
        assert_close(got, out[part], rtol=0, atol=0)
    got = roi_align(features[:, ::-1], rois, size, variant=variant, **options)
    assert_close(got, out[:, ::-1])
    last_first = rois.copy()
    last_first[:, 0] = len(features) - 1 - rois[:, 0]
    got = roi_align(features[::-1], last_first, size, variant=variant, **options)
    assert_close(got, out)


@given(cases(), st.sampled_from(EVERY))
def test_the_gradient_is_the_adjoint(case, variant):
    features, rois, size, options = case
    out = roi_align(features, rois, size, variant=variant, **options)
    grad = np.random.default_rng(3).standard_normal(out.shape)
    back = roi_align_backward(grad, rois, features.shape, variant=variant, **options)
    assert back.shape == features.shape
    np.testing.assert_allclose((grad * out).sum(), (back * features).sum(), rtol=1e-10, atol=1e-10)


# -------------------------------------------------------------------------- variants and input


@given(cases(), st.sampled_from(["C", "F", "reversed"]), st.sampled_from(["mean", "max"]))
def test_variants_agree_with_the_reference_in_float64(case, layout, reduce):
    features, rois, size, options = case
    if layout == "F":
        features, rois = np.asfortranarray(features), np.asfortranarray(rois)
    elif layout == "reversed":
        features, rois = features[:, ::-1, ::-1, ::-1], rois[::-1]
    out = roi_align(features, rois, size, reduce=reduce, variant="reference", **options)
    grad = np.random.default_rng(4).standard_normal(out.shape)
    back = roi_align_backward(grad, rois, features.shape, variant="reference", **options)
    for variant in EVERY:
        for dtype, atol in (("f4", 3e-6), ("f8", 1e-12)):
            x, y = features.astype(dtype, order="K"), grad.astype(dtype)
            got = roi_align(x, rois, size, reduce=reduce, variant=variant, **options)
            assert_close(got, out.astype(dtype), rtol=0, atol=atol)
            got = roi_align_backward(y, rois, features.shape, variant=variant, **options)
            assert_close(got, back.astype(dtype), rtol=0, atol=10 * atol)


@pytest.mark.parametrize("ratio", [0, 2])
def test_variants_agree_on_a_pyramid_level_of_usual_size(ratio):
    rng = np.random.default_rng(5)
    features = rng.standard_normal((2, 3, 50, 76))
    center, side = rng.uniform(0, 76, (60, 2)), np.exp(rng.uniform(0, 4.3, (60, 2)))
    boxes = np.concatenate([center - side / 2, center + side / 2], 1)
    rois = np.concatenate([rng.integers(0, 2, (60, 1)), boxes], 1)
    options = {"sampling_ratio": ratio, "aligned": False}
    out = roi_align(features, rois, 14, variant="reference", **options)
    back = roi_align_backward(out, rois, features.shape, variant="reference", **options)
    for variant in EVERY[1:]:
        assert_close(roi_align(features, rois, 14, variant=variant, **options), out)
        got = roi_align_backward(out, rois, features.shape, variant=variant, **options)
        assert_close(got, back)


@every_variant
@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_masks_are_numbers(variant, dtype):
    mask = np.zeros((2, 1, 8, 8), dtype)
    mask[1, 0, 2:6, 3:7] = 1
    rois = np.array([[1, 3, 2, 7, 6], [1, 1, 2, 5, 6], [0, 0, 0, 8, 8]], "f4")
    out = roi_align(mask, rois, 2, variant=variant)
    # the mask's own box is full; a box two cells to the left has it in its right half: samples of
    # the right bins at 3 and 4, of the left ones at 1 and 2, so nothing is shared
    assert_close(out[:, 0], np.array([np.ones((2, 2)), [[0, 1], [0, 1]], np.zeros((2, 2))], "f4"))


@every_variant
def test_the_arrays_given_are_left_alone(variant):
    features, rois = PLANE[None, None].copy(), np.array([[0, 1, 1, 5, 5.0]])
    roi_align(features, rois, 2, variant=variant)
    roi_align(features, rois, 2, reduce="max", variant=variant)
    assert_close(features[0, 0], PLANE)
    assert_close(rois, np.array([[0, 1, 1, 5, 5.0]]))


def test_the_number_of_threads_does_not_change_a_bit():
    rng = np.random.default_rng(6)
    features = rng.standard_normal((2, 5, 20, 20)).astype("f4")
    corner = rng.uniform(0, 15, (50, 2))
    rois = np.concatenate([rng.integers(0, 2, (50, 1)), corner, corner + 6], 1).astype("f4")
    results = []
    threads = numba.get_num_threads()
    for count in (1, threads):
        numba.set_num_threads(count)
        out = roi_align(features, rois, 7)
        results.append((out, roi_align_backward(out, rois, features.shape)))
    for one, many in zip(*results, strict=True):
        assert_close(one, many, rtol=0, atol=0)


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("index", [2, -1, 0.5, NAN])
def test_an_image_index_that_names_no_image(index):
    rois = np.array([[0, 0, 0, 1, 1], [index, 0, 0, 1, 1]], "f4")
    message = rf"rois\[1\]: image index {index:g} is not one of the 2 images \(0 to 1\)"
    with pytest.raises(ValueError, match=message):
        roi_align(np.zeros((2, 1, 4, 4), "f4"), rois, 2)
    with pytest.raises(ValueError, match=message):
        roi_align_backward(np.zeros((2, 1, 2, 2), "f4"), rois, (2, 1, 4, 4))


def test_what_does_not_fit_is_named():
    rois, features = np.array([[0, 0, 0, 1, 1]], "f4"), np.zeros((2, 1, 4, 4), "f4")
    with pytest.raises(ValueError, match=r"rois: expected shape \(R, 5\).*got \(1, 4\); put the"):
        roi_align(features, rois[:, 1:], 2)
    with pytest.raises(ValueError, match=r"features: expected shape .*got \(1, 4, 4\).*masks\["):
        roi_align(features[0], rois, 2)
    with pytest.raises(TypeError, match="features: expected floating-point numbers or integers"):
        roi_align(features.astype(complex), rois, 2)
    with pytest.raises(TypeError, match="rois: expected an array, got list"):
        roi_align(features, [[0, 0, 0, 1, 1]], 2)
    for size in (0, (2, 0), (1, 2, 3), 1.5):
        with pytest.raises(ValueError, match="output_size: expected an integer >= 1 or a pair"):
            roi_align(features, rois, size)
    for scale in (0, -1, NAN, INF):
        with pytest.raises(ValueError, match="spatial_scale: expected a positive number"):
            roi_align(features, rois, 2, spatial_scale=scale)
    for ratio in (-1, 1.5):
        with pytest.raises(ValueError, match="sampling_ratio: expected the samples a bin"):
            roi_align(features, rois, 2, sampling_ratio=ratio)
    with pytest.raises(ValueError, match='reduce: expected "mean" or "max", got \'sum\''):
        roi_align(features, rois, 2, reduce="sum")
    with pytest.raises(ValueError, match=r"grad: expected shape \(1, 1, PH, PW\)"):
        roi_align_backward(np.zeros((1, 2, 7, 7)), rois, features.shape)
    with pytest.raises(ValueError, match=r"input_shape: expected \(N, C, H, W\)"):
        roi_align_backward(np.zeros((1, 1, 7, 7)), rois, (1, 1, 0, 4))


# ---------------------------------------------------------------- all levels of a pyramid at once


def pyramid(seed=0, images=2, channels=4, sides=((24, 40), (12, 20), (6, 10))):
    """Levels, RoIs, the level of each, gradients of 3 x 2 bins, scales."""
    rng = np.random.default_rng(seed)
    features = tuple(rng.standard_normal((images, channels, *side)).astype("f4") for side in sides)
    corner = rng.uniform(-4, 30, (30, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 20, (30, 2))], 1)
    rois = np.concatenate([rng.integers(0, images, (30, 1)), boxes], 1).astype("f4")
    levels = rng.integers(0, len(sides), 30)
    grad = rng.standard_normal((30, channels, 3, 2)).astype("f4")
    return features, rois, levels, grad, tuple(0.5**i for i in range(len(sides)))


@every_variant
def test_levels_are_so_many_calls(variant):
    features, rois, levels, grad, scales = pyramid()
    options = {"variant": variant, "sampling_ratio": 2, "aligned": False}
    out = roi_align_levels(features, rois, levels, (3, 2), spatial_scales=scales, **options)
    shapes = [level.shape for level in features]
    back = roi_align_levels_backward(grad, rois, levels, shapes, spatial_scales=scales, **options)
    for i, (level, scale) in enumerate(zip(features, scales, strict=True)):
        here = levels == i
        wanted = roi_align(level, rois[here], (3, 2), spatial_scale=scale, **options)
        assert_close(out[here], wanted, 0, 0)
        options_back = options | {"spatial_scale": scale}
        wanted = roi_align_backward(grad[here], rois[here], level.shape, **options_back)
        assert_close(back[i], wanted, 0, 0)


def test_levels_that_do_not_fit_are_named():
    features, rois, levels, grad, scales = pyramid()
    shapes = [level.shape for level in features]

    def fails(error, match, **changed):
        given = {"features": features, "rois": rois, "levels": levels, "output_size": 2}
        with pytest.raises(error, match=match):
            roi_align_levels(**{**given, "spatial_scales": scales, **changed})

    wrong = levels.copy()
    for index in (3, -1):
        wrong[7] = index
        fails(
            ValueError, rf"levels\[7\]: {index} is not one of the 3 levels \(0 to 2\)", levels=wrong
        )
    with pytest.raises(ValueError, match=r"levels\[7\]: -1 is not one of"):
        roi_align_levels_backward(grad, rois, wrong, shapes, spatial_scales=scales)
    fails(
        ValueError,
        r"levels: expected shape \(30,\), one for each RoI, got \(4,\)",
        levels=levels[:4],
    )
    fails(TypeError, "levels: expected an array of integers.*got float64", levels=levels / 1)
    fails(TypeError, r"levels: expected an array of integers.*got list", levels=list(levels))
    fails(
        ValueError, "features: .*as many spatial_scales, got 3 levels and 2", spatial_scales=(1, 2)
    )
    fails(ValueError, "features: .*got 0 levels", features=(), spatial_scales=())
    fails(ValueError, "with the same N and C", features=(*features[:2], features[2][:1]))
    mixed = (*features[:2], features[2].astype("f8"))
    fails(
        TypeError, "features: the levels are of different types: float32, float32", features=mixed
    )
    with pytest.raises(ValueError, match=r"input_shapes: expected levels.*same N and C"):
        shapes[1] = (2, 5, 12, 20)
        roi_align_levels_backward(grad, rois, levels, shapes, spatial_scales=scales)


# ----------------------------------------------------------------------- GPU kernels, emulated

# Every case of cases.py is checked by the kernel tests; here is what is special to RoIAlign.


def gradient_bits(variant, seed):
    features, rois, levels, grad, scales = pyramid()
    rois[:, 1:] = np.abs(rois[:, 1:]) / 3  # on top of each other: many additions to a cell
    shapes = [level.shape for level in features]
    options = {"spatial_scales": scales, "variant": variant}
    with using(emulate=True), emulator.running(seed=seed):
        if variant == "cuda_backward_1_atomic":
            return (roi_align_backward(grad, rois, shapes[0], variant=variant),)
        return roi_align_levels_backward(grad, rois, levels, shapes, **options)


@needs_the_shim
def test_the_gathered_gradient_is_the_same_for_every_order_of_threads():
    first = gradient_bits("cuda_backward_3_gather", 0)
    for seed in (1, 2, 3, 4, 5):
        for one, other in zip(first, gradient_bits("cuda_backward_3_gather", seed), strict=True):
            assert one.tobytes() == other.tobytes()


@needs_the_shim
def test_atomic_additions_show_the_order_of_threads():
    """What gathering is for; and the test above would see it."""
    runs = {gradient_bits("cuda_backward_1_atomic", seed)[0].tobytes() for seed in (0, 1, 2, 3)}
    assert len(runs) > 1


@needs_the_shim
@pytest.mark.parametrize("variant", ["cuda_2_channels_last", "cuda_3_separable"])
def test_channels_last_memory_is_read_as_it_is(variant):
    features, rois, *_ = pyramid(channels=8)
    last = np.ascontiguousarray(features[0].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    launched = []

    def note(launch):
        launched.append(launch.kernel)
        launch.run()

    with using(emulate=True), emulator.running(watcher=note):
        one = roi_align(features[0], rois, 3, variant=variant)
        other = roi_align(last, rois, 3, variant=variant)
    assert launched == ["roi_align_transpose", *["roi_align_forward_by_4"] * 2]
    assert_close(one, other, 0, 0)


@needs_the_shim
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("variant", ["cuda_1_naive", "cuda_2_channels_last", "cuda_3_separable"])
def test_a_nan_reaches_the_bins_it_reaches_in_the_reference(variant, reduce, channels):
    """Also where it is read with weight 0: boxes on the grid have samples at centers of cells."""
    features, rois, *_ = pyramid(channels=channels)
    rois[:15, 1:] = np.round(rois[:15, 1:])
    features[0][0, 1, 5:20:4, 3:30:5] = NAN
    options = {"reduce": reduce, "sampling_ratio": 0}
    wanted = roi_align(features[0], rois, 5, variant="reference", **options)
    with using(emulate=True):
        out = roi_align(features[0], rois, 5, variant=variant, **options)
    assert 0 < np.isnan(wanted[:, 1]).sum() < wanted[:, 1].size
    assert_close(out, wanted, 1e-5, 1e-5)


@needs_the_shim
@pytest.mark.parametrize("variant", ["cuda_backward_2_merged", "cuda_backward_3_gather"])
def test_a_nan_gradient_stays_in_its_cells(variant):
    grad, rois = np.ones((1, 2, 4, 4), "f4"), np.array([[0, 1, 2, 13.5, 17.3]], "f4")
    grad[0, 1, 2, 1] = NAN
    wanted = roi_align_backward(grad, rois, (1, 2, 20, 20), variant="cpu")
    with using(emulate=True):
        back = roi_align_backward(grad, rois, (1, 2, 20, 20), variant=variant)
    assert 0 < np.isnan(wanted).sum() < 50
    assert_close(back, wanted, 1e-5, 1e-5)


@needs_the_shim
@pytest.mark.parametrize("channels", [3, 16])
def test_float16_stays_float16(channels):
    features, rois, levels, _, scales = pyramid(channels=channels)
    halves = tuple(level.astype("f2") for level in features)
    wanted = roi_align_levels(halves, rois, levels, 7, spatial_scales=scales)  # in float32
    assert wanted.dtype == "f4"
    with using(emulate=True):
        out = roi_align_levels(halves, rois, levels, 7, spatial_scales=scales)
        one = roi_align(halves[0], rois, 7)
        most = roi_align(halves[0], rois, 7, reduce="max")
    assert out.dtype == one.dtype == most.dtype == np.float16
    half = 2.0**-11  # a rounding of float16
    assert_close(out.astype("f4"), wanted, rtol=1.01 * half, atol=1e-6)
    assert_close(one.astype("f4"), roi_align(halves[0], rois, 7), rtol=1.01 * half, atol=1e-6)
    assert_close(most.astype("f4"), roi_align(halves[0], rois, 7, reduce="max"), 1.01 * half, 1e-6)


@needs_the_shim
def test_every_float16_is_read_and_written_right():
    """All 65536 of them, as features that one sample reads as they are."""
    every = np.arange(65536, dtype="u2").view("f2").reshape(1, 1, 256, 256)
    given = np.where(np.isfinite(every), every, 0).astype("f2")
    roi = np.array([[0, 0, 0, 256, 256]], "f4")
    with using(emulate=True):
        out = roi_align(given, roi, 256, sampling_ratio=1)
        between = np.array([[0, 0.5, 0.5, 1.5, 1.5]], "f4")
        most = roi_align(np.full((1, 1, 2, 2), np.inf, "f2"), between, 1)
    np.testing.assert_array_equal(out, given, strict=True)
    assert most.dtype == np.float16 and most == INF


PARTS = ("forward", "backward", "forward_pyramid", "backward_pyramid")


@needs_the_shim
@pytest.mark.parametrize("variant", [n for n, v in VARIANTS.items() if n.startswith("cuda")])
def test_an_index_nobody_checked_has_no_samples(variant, monkeypatch):
    """Inside `unchecked()`, on a GPU, any number may come; no array is left by it."""
    features, rois, levels, grad, scales = pyramid()
    monkeypatch.setattr("minimask.kernels.checks.checks_values", lambda array: False)
    levels_module = importlib.import_module("minimask.kernels.roi_align.levels")
    monkeypatch.setattr(levels_module, "checks_values", lambda array: False)
    wrong = [-1, 2, 1e9, -1e30, NAN, INF]
    rois[:6, 0], levels[6:9] = wrong, [-1, 3, 2**40]
    good = np.ones(30, bool)
    good[:9] = False
    has = [implements("minimask.kernels.roi_align", VARIANTS[variant], f) for f in PARTS]
    with using(emulate=True):
        if has[0]:
            out = roi_align(features[0], rois, 2, variant=variant)
            assert not out[:6].any() and out[9:].any()
        if has[1]:
            back = roi_align_backward(grad, rois, features[0].shape, variant=variant)
            kept = roi_align_backward(grad[6:], rois[6:], features[0].shape, variant=variant)
            assert_close(back, kept, 1e-5, 1e-5)
        options = {"spatial_scales": scales, "variant": variant}
        if has[2]:
            out = roi_align_levels(features, rois, levels, 2, **options)
            assert not out[~good].any() and out[good].any()
        if has[3]:
            shapes = [level.shape for level in features]
            back = roi_align_levels_backward(grad, rois, levels, shapes, **options)
            kept = roi_align_levels_backward(
                grad[good], rois[good], levels[good], shapes, **options
            )
            for one, other in zip(back, kept, strict=True):
                assert_close(one, other, 0, 0)


@needs_the_shim
def test_what_a_gpu_does_not_take_is_named():
    features, rois, levels, grad, scales = pyramid()
    with using(emulate=True):
        with pytest.raises(
            TypeError, match="rois: the GPU kernels compute in float32, got float64"
        ):
            roi_align(features[0], rois.astype("f8"), 2)
        with pytest.raises(TypeError, match="features: the GPU kernels compute in float32"):
            roi_align(features[0].astype("f8"), rois, 2)
        nine, many = features[:1] * 9, {"spatial_scales": scales[:1] * 9}
        with pytest.raises(ValueError, match="at most 8 levels, got 9"):
            roi_align_levels(nine, rois, levels, 2, **many)
        with pytest.raises(ValueError, match="at most 8 levels, got 9"):
            roi_align_levels_backward(grad, rois, levels, [level.shape for level in nine], **many)
        with pytest.raises(ValueError, match="has no forward_pyramid"):
            roi_align_levels(
                features, rois, levels, 2, spatial_scales=scales, variant="cuda_1_naive"
            )
        # a block's memory does not hold a row of so many bins: another rung makes them
        rois, size, shape = rois[:2], (1, 5000), features[0].shape
        wide = roi_align(features[0], rois, size)
        assert_close(wide, roi_align(features[0], rois, size, variant="cuda_1_naive"), 0, 1e-5)
        back = roi_align_backward(wide, rois, shape)
        with pytest.raises(ValueError, match=r"do not fit in a block's shared"):
            roi_align_levels(features, rois, levels[:2], size, spatial_scales=scales)
        with pytest.raises(ValueError, match=r"rows of 5000 bins do not fit"):
            shapes = [level.shape for level in features]
            roi_align_levels_backward(wide, rois, levels[:2], shapes, spatial_scales=scales)
    wanted = roi_align_backward(wide.astype("f8"), rois, shape)
    assert_close(back, wanted.astype("f4"), 0, 1e-5 * np.abs(wanted).max())


# ------------------------------------------------------------------ channels in lanes

LANE_CASES = [  # channels, map, output size: whole and part vectors, fewer cells or bins than lanes
    (16, (9, 11), (7, 7)),
    (19, (9, 11), (7, 7)),
    (33, (3, 4), (2, 3)),
    (40, (12, 5), (1, 1)),
    (17, (2, 3), (14, 14)),
]


def _regions(seed, count, images, height, width):
    """RoIs inside, partly and wholly outside, without area, and inverted; none in image 0."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-4, max(height, width), (count, 2))
    extent = rng.uniform(0, 9, (count, 2))
    extent[0], extent[1], extent[2] = 0, -2, 60
    image = rng.integers(min(1, images - 1), images, (count, 1))
    return np.concatenate([image, corner, corner + extent], axis=1).astype(np.float32)


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", LANE_CASES)
def test_channels_in_lanes_are_the_reference(case, dtype, ratio, turned, monkeypatch):
    monkeypatch.setattr(lanes, "_repays", lambda *_: turned)
    channels, (height, width), size = case
    shape = (3, channels, height, width)
    rois, rng = _regions(channels, 12, 3, height, width), np.random.default_rng(1)
    features, options = rng.standard_normal(shape).astype(dtype), {"sampling_ratio": ratio}
    wanted = roi_align(features.astype("f8"), rois, size, variant="reference", **options)
    y = roi_align(features, rois, size, variant="cpu_lanes", **options)
    assert y.dtype == features.dtype
    bound = 2e-6 if dtype == "f4" else 1e-12
    np.testing.assert_allclose(y, wanted, rtol=0, atol=bound * np.abs(features).max())
    grad = rng.standard_normal(y.shape).astype(dtype)
    wanted = roi_align_backward(grad.astype("f8"), rois, shape, variant="reference", **options)
    dx = roi_align_backward(grad, rois, shape, variant="cpu_lanes", **options)
    assert dx.dtype == grad.dtype
    np.testing.assert_allclose(dx, wanted, rtol=0, atol=20 * bound * np.abs(wanted).max())
    assert not dx[0].any()  # no RoI lies in image 0, and its gradient is 0, not what was there


def test_channels_in_lanes_keep_nan_where_it_is():
    features = np.ones((1, 16, 8, 8), np.float32)
    features[0, 3, 2, 2] = np.nan
    rois = np.array([[0, 0, 0, 8, 8], [0, 4, 4, 8, 8]] * 20, np.float32)
    y = roi_align(features, rois, 4, sampling_ratio=1, variant="cpu_lanes")
    seen = np.isnan(y)
    assert seen[0, 3].any()
    assert not seen[1::2].any() and not seen[:, [0, 1, 2, 4, 15]].any()


def test_few_regions_do_not_turn_a_large_map(monkeypatch):
    called = []
    monkeypatch.setattr(lanes, "_pool", lambda *_: called.append("turned"))
    features = np.ones((1, 16, 100, 100), np.float32)
    roi = np.array([[0, 1, 1, 5, 5]], np.float32)
    assert_close(roi_align(features, roi, 2, variant="cpu_lanes"), np.ones((1, 16, 2, 2), "f4"))
    assert not called
    roi_align(features, np.repeat(roi, 2000, axis=0), 2, variant="cpu_lanes")
    assert called
