"""Pasting: hand-sized cases, fidelity on perfect masks, and cuts at the border."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.models.paste import paste_crop, paste_mask

WAYS = ("torchvision", "detectron2", "matterport")


def ellipse(x, y, box):
    """Inside the ellipse that fills the box?"""
    cx, cy, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
    return ((x - cx) / (w / 2)) ** 2 + ((y - cy) / (h / 2)) ** 2 <= 1


def perfect(box, cells=28, fine=8):
    """The mask a perfect head would predict: the covered share of every cell."""
    steps = (np.arange(cells * fine) + 0.5) / (cells * fine)
    x = box[0] + steps * (box[2] - box[0])
    y = box[1] + steps * (box[3] - box[1])
    inside = ellipse(x[None], y[:, None], box).astype(np.float32)
    return inside.reshape(cells, fine, cells, fine).mean(axis=(1, 3))


def mean_iou(way, low, high, count=40):
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(count):
        w, h = rng.uniform(low, high, 2)
        x, y = rng.uniform(2, 10, 2)
        box = np.array([x, y, x + w, y + h], np.float32)
        size = int(high) + 16
        pixels = np.arange(size) + 0.5
        truth = ellipse(pixels[None], pixels[:, None], box)
        drawn = paste_mask(perfect(box), box, size, size, way) >= 0.5
        scores.append((truth & drawn).sum() / (truth | drawn).sum())
    return np.mean(scores)


@pytest.mark.parametrize(
    ("way", "small", "large"),  # sides of 8 to 16 and of 32 to 96 pixels
    [("torchvision", 0.864, 0.967), ("detectron2", 0.994, 0.994), ("matterport", 0.938, 0.982)],
)
def test_fidelity_is_that_of_the_systems(way, small, large):
    """Mean overlap with the truth, as measured once with the systems' own code."""
    assert mean_iou(way, 8, 16) == pytest.approx(small, abs=0.02)
    assert mean_iou(way, 32, 96) == pytest.approx(large, abs=0.01)


def test_detectron2_at_its_own_resolution_is_the_mask_itself():
    probs = np.random.default_rng(0).random((4, 4)).astype(np.float32)
    image = paste_mask(probs, np.array([3, 2, 7, 6], np.float32), 10, 12, "detectron2")
    np.testing.assert_allclose(image[2:6, 3:7], probs, atol=1e-6)
    assert image.sum() == pytest.approx(probs.sum(), rel=1e-5)


def test_torchvision_by_hand():
    # 2 x 2 ones and a border make 4 x 4; the box (2, 2, 4, 4) doubles to (1, 1, 5, 5): 5 pixels
    image = paste_mask(np.ones((2, 2), np.float32), np.array([2, 2, 4, 4], np.float32), 8, 8)
    # pixel k of 5 sits at (k + 0.5) * 4 / 5 - 0.5 = -0.1, 0.7, 1.5, 2.3, 3.1 of 0, 1, 1, 0
    line = np.array([0, 0, 0.7, 1, 0.7, 0, 0, 0], np.float32)
    np.testing.assert_allclose(image, np.outer(line, line), atol=1e-6)


@given(
    st.sampled_from(WAYS),
    st.tuples(*[st.floats(-60, 60)] * 2, *[st.floats(0.01, 80)] * 2),
    st.integers(0, 1000),
)
def test_the_border_only_cuts(way, place, seed):
    """In a smaller image the mask is the same, cut off."""
    x, y, w, h = place
    probs = np.random.default_rng(seed).random((5, 5)).astype(np.float32)
    box = np.array([x, y, x + w, y + h])
    margin = 100  # whole pixels, so that rounding does not change
    whole = paste_mask(probs, box + margin, 240, 240, way)
    part = paste_mask(probs, box, 20, 30, way)
    if way == "torchvision" and box.min() - 1.4 * max(w, h) < 0:
        return  # rounding toward zero is different left of and above the image
    np.testing.assert_allclose(part, whole[margin : margin + 20, margin : margin + 30], atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "box", [[50, 50, 60, 60], [-30, -30, -20, -20], [3, 3, 3, 3], [8, 8, 2, 2], [np.nan] * 4]
)
def test_boxes_outside_or_without_area(way, box):
    crop, (x, y) = paste_crop(np.ones((3, 3), np.float32), np.array(box, np.float32), 10, 12, way)
    assert crop.dtype == np.float32
    assert (0 <= x and x + crop.shape[1] <= 12) or crop.size == 0
    assert (0 <= y and y + crop.shape[0] <= 10) or crop.size == 0
    assert paste_mask(np.ones((3, 3)), np.array(box), 10, 12, way).shape == (10, 12)


def test_unknown_way():
    with pytest.raises(ValueError, match="paste: expected one of"):
        paste_crop(np.ones((3, 3)), np.zeros(4), 4, 4, "paint")
