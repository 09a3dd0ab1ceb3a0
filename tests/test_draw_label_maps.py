"""Label maps and regions as pictures."""

from __future__ import annotations

import numpy as np
import pytest

from minimask import draw
from minimask.data.sample import Target
from minimask.draw.colors import PALETTE
from minimask.models import LabelMap

IMAGE = np.full((20, 30, 3), 90, np.uint8)


def numbers() -> np.ndarray:
    found = np.zeros((20, 30), int)
    found[2:12, 2:12] = 1
    found[2:12, 15:25] = 2
    return found


def label_map(labels: np.ndarray, classes=("a", "b")) -> LabelMap:
    one = (labels == np.arange(len(classes) + 1)[:, None, None]).astype(np.float32)
    return LabelMap(labels, one, classes)


def test_each_region_has_its_color_and_the_ground_stays():
    picture = draw.regions(IMAGE, numbers(), alpha=1.0, size=20)
    assert picture.shape == IMAGE.shape
    assert tuple(picture[7, 7]) == PALETTE[0] and tuple(picture[7, 20]) == PALETTE[1]
    assert tuple(picture[16, 16]) == (90, 90, 90)
    assert (picture[1, 5] < 90).all()  # a dark line outside the border


def test_small_images_are_enlarged_without_mixing_regions():
    picture = draw.regions(IMAGE, numbers(), alpha=1.0, size=90)
    assert picture.shape == (60, 90, 3)
    assert tuple(picture[21, 21]) == PALETTE[0]


def test_no_regions_leave_the_image():
    np.testing.assert_array_equal(draw.regions(IMAGE, np.zeros((20, 30), int), size=20), IMAGE)


def test_regions_of_another_image_are_refused():
    with pytest.raises(ValueError, match=r"expected the image's size \(20, 30\)"):
        draw.regions(IMAGE, np.zeros((4, 4), int))


def test_classes_have_the_colors_that_objects_have_and_their_names():
    labels = numbers()
    bare = draw.regions(IMAGE, labels, size=400)
    named = draw.label_overlay(IMAGE, label_map(labels), size=400)
    assert named.shape == bare.shape == (280, 420, 3)
    assert (named != bare).any()  # the names
    one = draw.label_overlay(IMAGE, label_map((labels > 0).astype(int), ("a",)), size=400)
    np.testing.assert_array_equal(one, draw.regions(IMAGE, (labels > 0).astype(int), size=400))


def test_a_comparison_has_the_annotated_classes_too():
    labels = numbers()
    target = Target(
        np.array([[2, 2, 12, 12], [15, 2, 25, 12]], "f4"),
        np.array([1, 0]),  # of ("b", "a")
        np.stack([labels == 1, labels == 2]),
    )
    right = draw.compare(IMAGE, target, label_map(labels), classes=("b", "a"), size=60)
    wrong = draw.compare(IMAGE, target, label_map(labels), classes=("a", "b"), size=60)
    third = right.shape[1] // 3
    panels = [right[30:, i * third : (i + 1) * third] for i in range(3)]
    assert panels[1].shape == panels[2].shape
    assert (right != wrong).any()
