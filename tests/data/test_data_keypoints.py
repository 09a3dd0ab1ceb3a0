"""Keypoints through every change of an image, and the skeletons that say what they are."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minimask.data import keypoints as ops
from minimask.data.copy_paste import CopyPaste, Piece, paste
from minimask.data.geometric import Affine, LargeScaleJitter, Rotate, warp
from minimask.data.sample import Sample, Target, boxes_of_masks, check_target
from minimask.data.skeleton import COCO_PERSON, Skeleton, flip_of_names
from minimask.data.transforms import Flip, RandomCrop, Transpose, VerticalFlip, resize
from minimask.models.transform import ImageTransform, resize_target

SKELETON = Skeleton.named(("head", "left_hand", "right_hand"), ((0, 1), (0, 2)))
RNG = np.random.default_rng


def marked(places: np.ndarray, height: int = 40, width: int = 50, v: int = 2) -> Sample:
    """One object that covers nearly the image, whose keypoints are bright pixels of their own."""
    image = np.zeros((height, width, 3), np.uint8)
    for channel, (x, y) in enumerate(places):
        image[int(y), int(x), channel] = 255
    masks = np.zeros((1, height, width), bool)
    masks[0, 1:-1, 1:-1] = True
    points = np.concatenate([places, np.full((len(places), 1), v)], axis=1)[None]
    return Sample(
        image,
        boxes_of_masks(masks),
        np.zeros(1, np.int64),
        masks,
        keypoints=points.astype(np.float32),
        skeleton=SKELETON,
    )


PLACES = np.array([(10.5, 7.5), (30.5, 20.5), (5.5, 33.5)])


def brightest(image: np.ndarray) -> np.ndarray:
    """(3, 2) the center of the brightest pixel of each channel."""
    flat = image.reshape(-1, 3).argmax(axis=0)
    return np.stack([flat % image.shape[1], flat // image.shape[1]], axis=1) + 0.5


@pytest.mark.parametrize("change", [Flip(1), VerticalFlip(1), Transpose(1)])
def test_mirrors_move_keypoints_with_the_pixels_and_swap_left_and_right(change):
    sample = marked(PLACES)
    seen = change(sample, RNG(0))
    # channel 1 marked the left hand: in the mirror it is the right one
    np.testing.assert_allclose(seen.keypoints[0, [0, 2, 1], :2], brightest(seen.image))
    twice = change(seen, RNG(0))
    np.testing.assert_array_equal(twice.keypoints, sample.keypoints)
    np.testing.assert_array_equal(twice.image, sample.image)


def test_unlabeled_keypoints_are_moved_by_nothing():
    sample = marked(PLACES)
    sample.keypoints[0, 1] = 0
    for change in (Flip(1), VerticalFlip(1), Transpose(1), Rotate(30), LargeScaleJitter(1, 1)):
        changed = change(sample, RNG(3))
        there = changed.keypoints[0]
        assert (there[there[:, 2] == 0] == 0).all()
        assert (there[:, 2] == 0).sum() >= 1


def test_a_flip_without_names_is_one_sentence():
    sample = dataclasses.replace(marked(PLACES), skeleton=None)
    with pytest.raises(ValueError, match="which are left and right"):
        Flip(1)(sample, RNG(0))


def test_crops_move_keypoints_and_forget_those_outside():
    for seed in range(20):
        sample = marked(PLACES)
        cut = RandomCrop(20, 25)(sample, RNG(seed))
        found = cut.keypoints[0]
        bright = cut.image.reshape(-1, 3).max(axis=0) == 255
        np.testing.assert_array_equal(found[:, 2] > 0, bright)
        np.testing.assert_allclose(found[bright, :2], brightest(cut.image)[bright])
        assert (found[~bright] == 0).all()


@settings(deadline=None, max_examples=40)
@given(
    places=arrays.arrays(np.float64, (3, 2), elements=st.floats(8, 32, allow_nan=False, width=32)),
    degrees=st.floats(-180, 180),
    factor=st.floats(0.6, 1.6),
)
def test_affine_moves_keypoints_as_it_moves_masks(places, degrees, factor):
    height, width = 40, 40
    sample = marked(places, height, width)
    masks = np.zeros((3, height, width), bool)
    for mask, (x, y) in zip(masks, places, strict=True):
        mask[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = True
    points = np.zeros((3, 3, 3), np.float32)
    centers = np.floor(places) + 0.5
    points[range(3), range(3)] = np.concatenate([centers, np.full((3, 1), 2)], axis=1)
    sample = Sample(
        sample.image,
        boxes_of_masks(masks),
        np.zeros(3, np.int64),
        masks,
        keypoints=points,
        skeleton=SKELETON,
    )
    turn = Affine.rotation(degrees, height, width)
    move = Affine.scaling(factor, factor, 60, 60).after(turn)
    moved = warp(sample, move, 200, 200)
    for i, mask in enumerate(np.asarray(moved.masks[:])):
        rows, columns = np.nonzero(mask)
        x, y, v = moved.keypoints[i, i]
        assert v == 2
        assert abs(columns.mean() + 0.5 - x) < 0.75
        assert abs(rows.mean() + 0.5 - y) < 0.75


def test_what_a_turn_moves_out_is_not_labeled():
    places = np.array([(25.0, 20.0), (49.5, 1.0), (49.5, 39.0)])
    turned = warp(marked(places), Affine.rotation(45, 40, 50), 40, 50)
    np.testing.assert_array_equal(turned.keypoints[0, :, 2], [2, 0, 0])
    np.testing.assert_allclose(turned.keypoints[0, 0], (25, 20, 2), atol=1e-5)
    assert (turned.keypoints[0, 1:] == 0).all()


def test_resizing_scales_keypoints():
    larger = resize(marked(PLACES), 80, 150)
    np.testing.assert_allclose(larger.keypoints[0, :, :2], PLACES * (3, 2))


def test_keep_and_target_take_keypoints_along():
    sample = marked(PLACES)
    assert sample.keep(np.array([False])).keypoints.shape == (0, 3, 3)
    np.testing.assert_array_equal(sample.target.keypoints, sample.keypoints)
    plain = dataclasses.replace(sample, keypoints=None)
    assert plain.keep([0]).keypoints is None
    assert plain.target.keypoints is None


def test_pasted_objects_bring_their_keypoints_and_hide_others():
    below = marked(PLACES)
    mask = np.ones((6, 6), bool)
    pixels = np.full((6, 6, 3), 200, np.uint8)
    new = np.array([(12.0, 8.0, 2), (0, 0, 0), (13.0, 9.0, 1)], np.float32)
    pasted = paste(below, [Piece(pixels, mask, 0, 5, 8, new)], 0.05)
    np.testing.assert_array_equal(pasted.keypoints[0, :, 2], [1, 2, 2])  # (10.5, 7.5) is under it
    np.testing.assert_array_equal(pasted.keypoints[0, :, :2], PLACES.astype(np.float32))
    np.testing.assert_array_equal(pasted.keypoints[1], new)


def test_copy_paste_moves_keypoints_like_pixels():
    class One:
        classes, category_ids = ("it",), (1,)

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return marked(PLACES)

    empty = marked(PLACES).keep(np.array([False]))
    empty = dataclasses.replace(empty, image=np.zeros_like(empty.image))
    for seed in range(10):
        result = CopyPaste(One(), smallest=0.5, largest=0.9)(empty, RNG(seed))
        assert len(result) == 1
        x0, y0, x1, y1 = result.boxes[0]
        fractions = (result.keypoints[0, :, :2] - (x0, y0)) / (x1 - x0, y1 - y0)
        np.testing.assert_allclose(fractions, (PLACES - 1) / (48, 38), atol=1e-4)


def test_targets_follow_the_image_into_the_network_and_back():
    sample = marked(PLACES)
    transform = ImageTransform((40, 50), (80, 100), (3, 7))
    target = resize_target(sample.target, transform, (96, 128))
    np.testing.assert_allclose(target.keypoints[0, :, :2], PLACES * 2 + (7, 3))
    np.testing.assert_array_equal(target.keypoints[..., 2], sample.keypoints[..., 2])
    back = transform.keypoints_to_image(target.keypoints)
    np.testing.assert_allclose(back, sample.keypoints, atol=1e-5)
    assert back.dtype == np.float32


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (np.zeros((1, 3, 2)), r"expected shape \(1, P, 3\)"),
        (np.zeros((2, 3, 3)), r"expected shape \(1, P, 3\)"),
        (np.full((1, 3, 3), np.nan), "visibility 0"),
        (np.full((1, 3, 3), 3.0), "visibility 0"),
    ],
)
def test_targets_with_keypoints_that_are_none_are_refused(points, says):
    sample = marked(PLACES)
    target = Target(sample.boxes, sample.labels, None, points)
    with pytest.raises(ValueError, match=says):
        check_target(target, sample.image, 1, "targets[0]")


def test_a_sample_has_as_many_keypoints_as_names():
    with pytest.raises(ValueError, match="4 keypoints for each object, but the skeleton names 3"):
        dataclasses.replace(marked(PLACES), keypoints=np.zeros((1, 4, 3), np.float32))


def test_coco_counts_from_the_center_of_the_first_pixel():
    flat = [0, 0, 2, 12.25, 7, 1, 9, 9, 0]
    points = ops.from_coco_keypoints(flat, 3)
    np.testing.assert_array_equal(points, [(0.5, 0.5, 2), (12.75, 7.5, 1), (0, 0, 0)])
    assert ops.to_coco_keypoints(points) == [0, 0, 2, 12.25, 7, 1, 0, 0, 0]
    scores = np.array([(0.5, 0.5, 0.0), (3.5, 0.5, -1)])
    assert ops.to_coco_keypoints(scores, scores=True) == [0, 0, 0, 3, 0, -1]


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        (("left_eye", "right_eye", "nose"), (1, 0, 2)),
        (("l_eye", "nose", "r_eye"), (2, 1, 0)),
        (("eye-left", "eye-right"), (1, 0)),
        (("eyeLeft", "eyeRight"), (1, 0)),
        (("L Knee", "R Knee"), (1, 0)),
        (("top-left", "top-right", "bottom-right", "bottom-left"), (1, 0, 3, 2)),
        (("left_eye", "nose"), (0, 1)),
        (("bright", "dark", "upper", "lower"), (0, 1, 2, 3)),
    ],
)
def test_partners_by_names(names, flip):
    assert flip_of_names(names) == flip


def test_coco_person():
    assert len(COCO_PERSON) == 17
    assert len(COCO_PERSON.limbs) == 19
    for name, other in zip(COCO_PERSON.names, COCO_PERSON.flip, strict=True):
        side, _, joint = name.partition("_")
        mirrored = {"left": f"right_{joint}", "right": f"left_{joint}", "nose": "nose"}[side]
        assert COCO_PERSON.names[other] == mirrored
    assert Skeleton.from_dict(COCO_PERSON.as_dict()) == COCO_PERSON


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"names": ()}, "different names"),
        ({"names": ("a", "a")}, "different names"),
        ({"names": ("a", "b"), "limbs": ((0, 2),)}, "limbs: expected pairs of 0 .. 1"),
        ({"names": ("a", "b"), "flip": (1, 1)}, "flip: expected"),
        ({"names": ("a", "b", "c"), "flip": (1, 2, 0)}, "flip: expected"),
        ({"names": ("a", "b"), "sigmas": (0.1,)}, "sigmas: expected 2"),
        ({"names": ("a",), "sigmas": (0.0,)}, "sigmas: expected 1"),
    ],
)
def test_skeletons_whose_parts_do_not_fit(arguments, says):
    with pytest.raises(ValueError, match=says):
        Skeleton.named(**arguments)


def test_skeletons_say_how_they_differ():
    assert SKELETON.problem(SKELETON) is None
    assert "3 keypoints" in SKELETON.problem(COCO_PERSON)
    other = Skeleton.named(("head", "left_foot", "right_foot"))
    assert SKELETON.problem(other) == "'left_hand' as keypoint 2 of 3, the data 'left_foot'"
