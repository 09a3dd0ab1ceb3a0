"""Skeletons are drawn where the keypoints lie, and only those that are there."""

import dataclasses

import numpy as np
import pytest

from minimask import draw
from minimask.data.sample import Target
from minimask.data.skeleton import COCO_PERSON, Skeleton
from minimask.draw.colors import fraction
from minimask.draw.skeletons import LEFT, MIDDLE, RIGHT, point_colors
from minimask.models.detections import Detections

GREY = 100
PAIR = Skeleton.named(("left", "right", "middle"), ((0, 1), (1, 2)))
PLACES = np.array([(30.0, 20.0), (90.0, 20.0), (60.0, 70.0)])
PLAIN = {"labels": False, "boxes": False, "size": 0}


def blank() -> np.ndarray:
    return np.full((100, 120, 3), GREY, np.uint8)


def found(scores=(0.9, 0.9, 0.9), skeleton=PAIR) -> Detections:
    points = np.concatenate([PLACES, np.array(scores)[:, None]], axis=1)
    return Detections(
        boxes=np.array([[20, 10, 100, 80]], np.float32),
        labels=np.zeros(1, np.int64),
        scores=np.array([0.9], np.float32),
        mask_probs=None,
        image_size=(100, 120),
        classes=("it",),
        keypoints=points[None].astype(np.float32),
        skeleton=skeleton,
    )


def truth(v=(2, 2, 2)) -> Target:
    points = np.concatenate([PLACES, np.array(v)[:, None]], axis=1)
    box = np.array([[20, 10, 100, 80]], np.float32)
    return Target(box, np.zeros(1, np.int64), None, points[None].astype(np.float32))


def near(picture: np.ndarray, x: float, y: float, color) -> bool:
    """Whether a pixel there has the color; thin lines are mixed with what is around them."""
    around = picture[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].reshape(-1, 3)
    return bool((np.abs(around.astype(int) - color).max(axis=1) < 70).any())


def touched(picture: np.ndarray, x: float, y: float) -> bool:
    around = picture[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
    return bool((around != GREY).any())


@pytest.mark.parametrize("whose", ["found", "annotated"])
def test_points_and_limbs_lie_where_they_should(whose):
    if whose == "found":
        picture = draw.overlay(blank(), found(), **PLAIN)
    else:
        picture = draw.draw_target(blank(), truth(), ("it",), skeleton=PAIR, **PLAIN)
    for (x, y), color in zip(PLACES, (LEFT, RIGHT, MIDDLE), strict=True):
        assert near(picture, x, y, color)
    assert near(picture, 60, 20, MIDDLE)  # across, left to right
    assert near(picture, 75, 45, RIGHT)  # from the right to the middle
    assert not touched(picture, 45, 45)  # left and middle are not joined
    assert not touched(picture, 10, 90)


def test_keypoints_of_low_score_are_left_out_with_their_limbs():
    picture = draw.overlay(blank(), found((0.9, 0.02, 0.9)), **PLAIN)
    assert touched(picture, *PLACES[0]) and touched(picture, *PLACES[2])
    assert not touched(picture, *PLACES[1]) and not touched(picture, 60, 20)
    everything = draw.overlay(blank(), found((0.9, 0.02, 0.9)), min_keypoint_score=0.01, **PLAIN)
    assert touched(everything, *PLACES[1]) and touched(everything, 60, 20)
    nothing = draw.overlay(blank(), found(), min_keypoint_score=0.95, **PLAIN)
    np.testing.assert_array_equal(nothing, blank())


def test_unlabeled_points_are_not_drawn_and_hidden_ones_are_rings():
    picture = draw.draw_target(blank(), truth((2, 1, 0)), ("it",), skeleton=PAIR, **PLAIN)
    assert near(picture, *PLACES[0], LEFT)
    x, y = PLACES[1].astype(int)
    assert touched(picture, x, y) and np.abs(picture[y, x].astype(int) - RIGHT).max() > 100
    assert not touched(picture, *PLACES[2])


def test_without_a_skeleton_there_are_points_alone():
    picture = draw.overlay(blank(), found(skeleton=None), **PLAIN)
    assert all(touched(picture, x, y) for x, y in PLACES)
    assert not touched(picture, 60, 20)


def test_enlarged_pictures_enlarge_keypoints_too():
    picture = draw.overlay(blank(), found(), labels=False, boxes=False, size=480)
    assert picture.shape[:2] == (400, 480)
    for (x, y), color in zip(PLACES, (LEFT, RIGHT, MIDDLE), strict=True):
        assert near(picture, 4 * x, 4 * y, color)


def test_sides_of_coco_have_their_colors():
    colors = point_colors(COCO_PERSON, 17)
    assert colors[0] == fraction(MIDDLE)
    assert colors[5] == fraction(LEFT) and colors[6] == fraction(RIGHT)
    no_sides = Skeleton.named(("a", "b", "c"))
    assert len(set(point_colors(no_sides, 3))) == 3


def test_comparison_draws_both():
    sheet = draw.compare(blank(), truth(), found(), classes=("it",), size=0)
    assert sheet.shape[1] > 3 * 120
    assert dataclasses.replace(found(), keypoints=None).keep([0]).keypoints is None
