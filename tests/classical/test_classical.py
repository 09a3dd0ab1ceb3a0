"""Methods before networks: known answers, and the libraries that have the same."""

from __future__ import annotations

import builtins
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minimask import classical
from minimask.classical import Options
from minimask.classical.thresholds import between_class_variance

ndimage = pytest.importorskip("scipy.ndimage")


def two_groups(seed: int = 0, size: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(size) < 0.3, rng.normal(170, 20, size), rng.normal(60, 15, size))


def disk(size: int = 64, radius: float = 16, x: float = 32, y: float = 32) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] + 0.5
    return np.hypot(columns - x, rows - y) <= radius


def picture(mask: np.ndarray, inside: int, outside: int, noise: float = 0.0) -> np.ndarray:
    gray = np.where(mask, inside, outside) + noise * np.random.default_rng(0).standard_normal(
        mask.shape
    )
    return np.clip(gray, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def least_variance_inside(values: np.ndarray) -> float:
    """The definition, tried at every whole number."""
    tried = {}
    for t in range(int(values.min()), int(values.max())):
        groups = values[values <= t], values[values > t]
        tried[t] = sum(len(g) * g.var() for g in groups)
    return min(tried.values())


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, st.integers(2, 80)))
def test_otsu_is_the_threshold_of_least_variance_inside(values):
    threshold = classical.otsu(values)
    if values.min() == values.max():
        assert not (values > threshold).any()
        return
    groups = values[values < threshold].astype(float), values[values > threshold].astype(float)
    assert all(map(len, groups))
    inside = sum(len(g) * g.var() for g in groups)
    assert inside == pytest.approx(least_variance_inside(values.astype(float)), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_otsu_is_scikit_images(seed):
    filters = pytest.importorskip("skimage.filters")
    values = np.clip(two_groups(seed), 0, 255).astype(np.uint8)
    assert int(classical.otsu(values)) == filters.threshold_otsu(values)
    floats = two_groups(seed)
    bin_width = np.ptp(floats) / 256
    assert classical.otsu(floats) == pytest.approx(filters.threshold_otsu(floats), abs=bin_width)


def test_variance_inside_and_between_are_the_whole():
    values = np.random.default_rng(0).integers(0, 20, 500)
    counts, centers = np.bincount(values, minlength=20), np.arange(20)
    between = between_class_variance(counts, centers)
    for t in range(19):
        groups = values[values <= t], values[values > t]
        inside = sum(len(g) * g.var() for g in groups if len(g)) / len(values)
        assert inside + between[t] == pytest.approx(values.var())


def test_otsu_of_nothing_is_refused():
    with pytest.raises(ValueError, match="expected at least one"):
        classical.otsu(np.zeros(0, np.uint8))


def test_the_valley_lies_between_the_peaks():
    border, brighter = classical.valley(two_groups())
    assert 80 < border < 140 and brighter
    border, brighter = classical.valley(255 - two_groups())
    assert 115 < border < 175 and not brighter


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_k_means_never_rises_and_ends_with_centers_that_are_means(seed, groups):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(60, 2)) + 4 * rng.integers(0, 3, (60, 1))
    group, inertia = classical.k_means(points, groups, rng, rounds=100)
    assert all(b <= a + 1e-9 for a, b in pairwise(inertia))
    centers = np.array([points[group == g].mean(axis=0) for g in np.unique(group)])
    own = ((points - centers[np.searchsorted(np.unique(group), group)]) ** 2).sum(axis=1)
    assert own.sum() == pytest.approx(inertia[-1])
    nearest = ((points[:, None] - centers) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(own, nearest, atol=1e-9)


def test_k_means_of_equal_points_does_not_divide_by_zero():
    group, inertia = classical.k_means(np.ones((5, 2)), 3, np.random.default_rng(0))
    assert inertia[-1] == 0 and len(group) == 5


def test_k_means_refuses_no_groups():
    with pytest.raises(ValueError, match="0 groups of 3 points"):
        classical.k_means(np.ones((3, 2)), 0, np.random.default_rng(0))


def test_position_parts_what_color_cannot():
    image = np.full((40, 80, 3), 100, np.uint8)
    by_place = classical.color_and_position(image, 2, np.random.default_rng(0), position=1.0)
    assert (by_place == by_place[:1]).all()  # left and right: the image is wider than high
    assert sorted(np.bincount(by_place.ravel()).tolist()) == pytest.approx([1600, 1600], abs=80)


def test_sobel_of_a_ramp_is_its_slope_times_the_window():
    down, right = classical.sobel(np.mgrid[:6, :7][1] * 3.0)
    np.testing.assert_allclose(right[1:-1, 1:-1], 3 * 2 * 4)
    np.testing.assert_allclose(down, 0, atol=1e-12)


def test_sobel_is_scipys():
    gray = np.random.default_rng(0).normal(size=(12, 15))
    down, right = classical.sobel(gray)
    for found, axis in ((down, 0), (right, 1)):
        np.testing.assert_allclose(
            found[1:-1, 1:-1], ndimage.sobel(gray, axis=axis)[1:-1, 1:-1], atol=1e-9
        )


@settings(max_examples=25, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_enclosed_and_components_are_scipys(mask):
    np.testing.assert_array_equal(classical.enclosed(mask), ndimage.binary_fill_holes(mask))
    labels, count = ndimage.label(mask)
    parts = classical.components(mask)
    assert len(parts) == count
    assert {p.tobytes() for p in parts} == {(labels == i + 1).tobytes() for i in range(count)}


def test_regions_are_numbered_class_by_class_and_specks_are_left_out():
    classes = np.zeros((6, 8), int)
    classes[:2, :2] = 1
    classes[0, 4] = 1  # a speck
    classes[3:, 3:] = 2
    classes[2:4, :2] = 2  # below class 1, another class
    numbers = classical.number_regions(classes, smallest=2)
    assert numbers.max() == 3 and numbers[0, 4] == 0
    assert {tuple(np.unique(classes[numbers == i])) for i in (1, 2, 3)} == {(1,), (2,)}
    assert classical.number_regions(classes).max() == 4
    assert classical.number_regions(np.zeros((3, 3), int)).max() == 0


@pytest.mark.parametrize("bright", [True, False])
@pytest.mark.parametrize("method", ["threshold", "otsu", "histogram", "kmeans", "edges", "canny"])
def test_every_method_finds_a_plain_disk_whatever_its_brightness(method, bright):
    if method == "canny":
        pytest.importorskip("skimage")
    mask = disk()
    image = picture(mask, *((200, 60) if bright else (60, 200)), noise=4)
    found = classical.segment(image, method, Options(groups=2, position=0.05))
    assert found.count == 1
    assert iou(found.classes > 0, mask) > 0.93
    assert iou(found.regions == 1, mask) > 0.93
    assert found.method == method and found.seconds > 0


@pytest.mark.parametrize("method", list(classical.METHODS))
def test_of_two_touching_disks_every_method_makes_one_region(method):
    if method == "canny":
        pytest.importorskip("skimage")
    mask = disk(radius=12, x=20) | disk(radius=12, x=44)
    found = classical.segment(picture(mask, 200, 60, 4), method, Options(groups=2, position=0.05))
    assert found.count == 1


@pytest.mark.parametrize("method", list(classical.METHODS))
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 1, 3), (2, 40, 3), (30, 30)])
def test_plain_and_tiny_images_have_no_regions(method, shape):
    if method == "canny":
        pytest.importorskip("skimage")
    found = classical.segment(np.full(shape, 77, np.uint8), method, Options(position=0.0))
    assert found.classes.shape == found.regions.shape == shape[:2]
    assert found.count == 0


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="expected one of threshold, otsu"):
        classical.segment(np.zeros((4, 4, 3), np.uint8), "magic")


@pytest.mark.parametrize(
    ("library", "method", "name"),
    [("skimage", "canny", "scikit-image"), ("scipy", "otsu", "SciPy")],
)
def test_without_the_extra_a_sentence_says_how_to_install_it(library, method, name, monkeypatch):
    real = builtins.__import__

    def without(module, *args, **options):
        if module.partition(".")[0] == library:
            raise ImportError(f"No module named {module!r}")
        return real(module, *args, **options)

    for module in [m for m in sys.modules if m.partition(".")[0] == library]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=rf"needs {name}, .*pip install 'minimask\[classical\]'"):
        classical.segment(picture(disk(), 200, 60), method)
