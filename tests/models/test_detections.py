"""The public result object."""

import numpy as np
import pytest
from pycocotools import mask as rle

from minimask.models import Detections


@pytest.fixture
def two():
    probs = np.zeros((2, 4, 4), np.float32)
    probs[0] = 1
    probs[1, :2] = 1
    return Detections(
        boxes=np.array([[2, 3, 6, 7], [0, 0, 8, 4]], np.float32),
        labels=np.array([1, 0]),
        scores=np.array([0.9, 0.4], np.float32),
        mask_probs=probs,
        image_size=(10, 12),
        classes=("cat", "dog"),
        paste="detectron2",
    )


def test_masks_by_hand(two):
    masks = two.masks
    assert masks.shape == (2, 10, 12) and masks.dtype == bool
    expected = np.zeros((10, 12), bool)
    expected[3:7, 2:6] = True
    np.testing.assert_array_equal(masks[0], expected)
    expected[:] = False
    expected[0:2, 0:8] = True
    np.testing.assert_array_equal(masks[1], expected)


def test_all_ways_to_a_mask_agree(two):
    for i in range(2):
        crop, (x, y) = two.crop_mask(i)
        whole = np.zeros(two.image_size, bool)
        whole[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        np.testing.assert_array_equal(whole, two.masks[i])
        np.testing.assert_array_equal(two.mask(i), two.masks[i])
        np.testing.assert_array_equal(two.soft_masks[i] >= 0.5, two.masks[i])


def test_names_len_and_repr(two):
    assert two.names == ["dog", "cat"]
    assert len(two) == 2
    assert repr(two) == "Detections(2 in 12 x 10 pixels: dog 0.90, cat 0.40)"


@pytest.mark.parametrize("index", [np.array([True, False]), [0], 0, slice(0, 1), np.int64(0)])
def test_keep(two, index):
    one = two.keep(index)
    assert one.names == ["dog"]
    assert one.boxes.shape == (1, 4) and one.masks.shape == (1, 10, 12)
    assert one.image_size == two.image_size


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools and NumPy 2
def test_coco_results(two):
    results = two.to_coco(7, category_ids=[3, 18])
    assert [r["category_id"] for r in results] == [18, 3]
    assert results[0]["image_id"] == 7
    assert results[0]["bbox"] == [2, 3, 4, 4]
    assert results[0]["score"] == pytest.approx(0.9)
    for result, mask in zip(results, two.masks, strict=True):
        np.testing.assert_array_equal(rle.decode(result["segmentation"]), mask)
    assert [r["category_id"] for r in two.to_coco(7)] == [2, 1]
    with pytest.raises(ValueError, match="expected 2, one per class, got 1"):
        two.to_coco(7, category_ids=[3])


def test_nothing_found(two):
    none = two.keep([])
    assert len(none) == 0 and none.names == [] and none.to_coco(1) == []
    assert none.masks.shape == (0, 10, 12)
    assert repr(none) == "Detections(0 in 12 x 10 pixels: )"


def test_boxes_only_has_no_masks(two):
    import dataclasses

    boxes = dataclasses.replace(two, mask_probs=None)
    assert "segmentation" not in boxes.to_coco(1)[0]
    assert boxes.keep(0).mask_probs is None
    with pytest.raises(ValueError, match="no masks"):
        _ = boxes.masks
