"""Levels of the pyramid: edges where systems disagree, and the order of the result."""

import numpy as np
import pytest

from minimask.autograd import Tensor
from minimask.kernels.roi_align import roi_align
from minimask.models.roi_pooling import RoIPooler, as_rois, pyramid_levels
from minimask.tools.testing import gradcheck


def square(side):
    return np.array([[0, 0, side, side]], np.float32)


@pytest.mark.parametrize(
    ("rule", "just_below_224", "just_below_112"),
    [("torchvision", 4, 2), ("detectron2", 3, 2), ("mmdet", 3, 2), ("matterport", 4, 3)],
)
def test_just_below_a_power_of_two(rule, just_below_224, just_below_112):
    assert pyramid_levels(square(223.9999), rule)[0] == just_below_224
    assert pyramid_levels(square(111.9999), rule)[0] == just_below_112


@pytest.mark.parametrize("rule", ["paper", "torchvision", "detectron2", "mmdet", "matterport"])
def test_levels_of_ordinary_sizes(rule):
    sides = [20, 56, 112, 224, 448, 2000]
    levels = [pyramid_levels(square(s), rule)[0] for s in sides]
    assert levels == [2, 2, 3, 4, 5, 5]


def test_matterport_rounds_instead_of_flooring():
    assert pyramid_levels(square(170.0), "matterport")[0] == 4
    assert pyramid_levels(square(170.0), "torchvision")[0] == 3


def test_degenerate_boxes_have_a_level():
    boxes = np.array([[5, 5, 5, 9], [9, 9, 1, 1], [np.nan] * 4], np.float32)
    np.testing.assert_array_equal(pyramid_levels(boxes), [2, 2, 2])


def test_as_rois_counts_images():
    rois = as_rois([square(3), np.zeros((0, 4), np.float32), square(5)])
    np.testing.assert_array_equal(rois, [[0, 0, 0, 3, 3], [2, 0, 0, 5, 5]])
    assert as_rois([]).shape == (0, 5)


def test_each_region_is_cut_from_its_own_level_and_stays_in_place():
    rng = np.random.default_rng(0)
    pyramid = [
        rng.standard_normal((2, 3, 512 >> i, 512 >> i)).astype(np.float32) for i in range(2, 6)
    ]
    boxes = np.array([[0, 0, 500, 490], [9, 9, 30, 40], [0, 5, 250, 260], [3, 3, 60, 50]], "f4")
    rois = as_rois([boxes[:3], boxes[3:]])
    pooled = RoIPooler()([Tensor(p) for p in pyramid], rois, 7, 512).data
    for roi, result in zip(rois, pooled, strict=True):
        level = pyramid_levels(roi[None, 1:])[0] - 2
        alone = roi_align(
            pyramid[level],
            roi[None],
            7,
            spatial_scale=0.25 / 2**level,
            sampling_ratio=2,
            aligned=False,
        )
        np.testing.assert_allclose(result, alone[0], rtol=1e-5, atol=1e-5)
    assert len(set(pyramid_levels(boxes))) == 3


def test_gradient_reaches_every_level():
    rng = np.random.default_rng(0)
    pyramid = [rng.standard_normal((1, 2, 512 >> i, 512 >> i)) for i in range(4, 6)]
    rois = np.array([[0, 3, 3, 400, 390], [0, 9, 9, 30, 40], [0, 0, 5, 250, 260.0]])
    gradcheck(lambda *levels: RoIPooler()(levels, rois, 2, 512), *pyramid)


def test_no_regions():
    pooled = RoIPooler()(
        [Tensor(np.zeros((1, 3, 8, 8), np.float32))], np.zeros((0, 5), "f4"), 7, 32
    )
    assert pooled.shape == (0, 3, 7, 7)
