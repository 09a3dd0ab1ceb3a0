"""Jitter, rotation and copy-paste: image, masks, boxes, labels and crowds stay together."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimask.data.augmentations import AUGMENTATIONS, augmentation
from minimask.data.copy_paste import CopyPaste, Piece, paste
from minimask.data.geometric import Affine, LargeScaleJitter, Rotate, warp
from minimask.data.loader import Loader
from minimask.data.masks import ObjectMasks
from minimask.data.sample import Sample, boxes_of_masks
from minimask.data.shapes import Shapes
from minimask.data.transforms import Compose, Flip, bind

COLORS = 40  # labels whose color nothing else in an image has
FEWER = settings(max_examples=15)  # of many transforms
NEIGHBORS = [(y, x) for y in range(3) for x in range(3)]


def color(label: int) -> np.ndarray:
    """No three of these lie on a line, so that two of them mixed are not a third."""
    return np.array([60 + 37 * label % 190, 60 + 91 * label % 193, 60 + label**2 % 191], np.uint8)


def painted(seed: int, height: int = 60, width: int = 80, crops: bool = True) -> Sample:
    """Up to 6 rectangles and disks, 4 pixels apart, each painted in the color of its own label.

    Labels are different in all of an image, and those of the images 0 to 4 are all different.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    masks: list[np.ndarray] = []
    free = np.ones((height, width), bool)
    for _ in range(rng.integers(0, 9)):
        r = rng.uniform(5, 12)
        far = (abs(y - rng.uniform(0, height)), abs(x - rng.uniform(0, width)))
        shape = np.maximum(*far) < r if rng.random() < 0.5 else far[0] ** 2 + far[1] ** 2 < r * r
        if free[shape].all() and shape.sum() > 30:
            masks.append(shape)
            free &= ~grown(shape, 4)
    whole = np.array(masks, bool).reshape(-1, height, width)
    labels = rng.permutation(8)[: len(whole)] + 8 * (seed % 5)
    image = np.full((height, width, 3), 10, np.uint8)
    for mask, label in zip(whole, labels, strict=True):
        image[mask] = color(label)
    kept = ObjectMasks.from_masks(whole, height, width) if crops else whole
    return Sample(image, boxes_of_masks(whole), labels, kept, labels % 3 == 2, seed, f"{seed}.png")


def grown(mask: np.ndarray, pixels: int = 1) -> np.ndarray:
    """A mask and all pixels that are at most so far from it, diagonally too."""
    height, width = mask.shape
    for _ in range(pixels):
        padded = np.pad(mask, 1)
        mask = np.any([padded[y : y + height, x : x + width] for y, x in NEIGHBORS], axis=0)
    return mask


class Painted:
    """Images 0 to 4 of `painted`, of different sizes."""

    classes = tuple(map(str, range(COLORS)))
    category_ids = tuple(range(COLORS))

    def __init__(self, same_size: bool = False) -> None:
        self.same_size = same_size

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Sample:
        size = () if self.same_size else (60 + 7 * index, 80 - 9 * index)
        return painted(100 + index, *size)


TWICE = Compose(LargeScaleJitter(0.6, 1.5), Flip(), Rotate())
ALL = augmentation([name for name in AUGMENTATIONS if name != "photometric"])
MOVING = {
    "any angle": Rotate(180),
    "enlarged": LargeScaleJitter(1.5, 3.0),
    "shrunk": LargeScaleJitter(0.4, 0.9),
    "twice": TWICE,
}
PASTING = {
    "copypaste": CopyPaste(Painted()),
    "copypaste as it is": CopyPaste(Painted(same_size=True), 3, 1.0, 1.0),
}
NAMED = {f"--augment {name}": bind(augmentation([name]), Painted()) for name in AUGMENTATIONS}
EVERY = MOVING | PASTING | NAMED | {"all": bind(ALL, Painted())}


@pytest.mark.parametrize("name", EVERY)
@FEWER
@given(seed=st.integers(0, 2**20), turn=st.integers(0, 2**20), crops=st.booleans())
def test_everything_stays_together(name, seed, turn, crops):
    transform, sample = EVERY[name], painted(seed, crops=crops)
    before = sample.image.copy(), np.array(sample.masks), sample.boxes.copy(), sample.labels.copy()
    result = transform(sample, np.random.default_rng(turn))
    assert result.image.dtype == np.uint8 and result.image.shape[2] == 3
    if "transpose" not in name and name != "all":
        assert result.image.shape == sample.image.shape  # what all of these promise
    assert result.masks.shape == (len(result.labels), *result.image.shape[:2])
    np.testing.assert_array_equal(result.boxes, boxes_of_masks(np.asarray(result.masks)))
    assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()  # nothing without a pixel
    assert result.boxes.dtype == np.float32 and result.labels.dtype == np.int64
    assert len(result.crowd) == len(result.labels) and result.crowd.dtype == bool
    # crowds are those that were there, and none was pasted
    crowds = set(sample.labels[sample.crowd])
    assert set(result.labels[result.crowd]) <= crowds
    if "copypaste" not in name and name != "all":
        np.testing.assert_array_equal(result.crowd, result.labels % 3 == 2)
        assert set(result.labels) <= set(sample.labels)
    assert (result.image_id, result.file_name) == (seed, f"{seed}.png")
    after = sample.image, np.asarray(sample.masks), sample.boxes, sample.labels
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)  # the input is untouched
    again = transform(painted(seed, crops=not crops), np.random.default_rng(turn))
    np.testing.assert_array_equal(result.image, again.image)
    np.testing.assert_array_equal(np.asarray(result.masks), np.asarray(again.masks))


# of what the default jitter leaves, gaps and objects are thinner than a pixel
COLORED = [n for n in EVERY if n not in ("--augment photometric", "--augment jitter", "all")]


@pytest.mark.parametrize("name", COLORED)
@FEWER
@given(seed=st.integers(0, 2**20), turn=st.integers(0, 2**20))
def test_image_and_masks_move_together(name, seed, turn):
    """Each object is where its color is, but for two pixels around edges, which are mixed.

    Pillow rounds down where it interpolates, hence the 1.
    """
    result = EVERY[name](painted(seed), np.random.default_rng(turn))
    of_pixel = np.full(result.image.shape[:2], -1)
    for i, mask in enumerate(result.masks):  # not by label: the same may be pasted on itself
        of_pixel[mask] = i
    edges = np.ones(of_pixel.shape, bool)  # one may lie just beyond the border
    edges[1:-1, 1:-1] = False
    edges[1:] |= of_pixel[1:] != of_pixel[:-1]
    edges[:, 1:] |= of_pixel[:, 1:] != of_pixel[:, :-1]
    sure = ~grown(edges, 4 if name == "twice" else 3)
    label_of = np.append(result.labels, -1)[of_pixel]
    for label in set(result.labels.tolist()):
        so_painted = (abs(result.image.astype(int) - color(label)) <= 1).all(axis=2)
        assert so_painted[sure & (label_of == label)].all()
        where_not = sure & (label_of != label)
        if "copypaste" in name:  # what is left of a dropped object keeps its color
            where_not &= label_of >= 0
        assert not so_painted[where_not].any()


@pytest.mark.parametrize("name", ["--augment flip", "--augment vflip", "--augment transpose"])
@given(seed=st.integers(0, 2**20), turn=st.integers(0, 2**20))
def test_flips_move_every_pixel(name, seed, turn):
    result = EVERY[name](painted(seed), np.random.default_rng(turn))
    for mask, label in zip(result.masks, result.labels, strict=True):
        np.testing.assert_array_equal((result.image == color(label)).all(axis=2), mask)


# ---- one map


def test_a_quarter_turn_by_hand():
    sample = painted(3, 50, 50)
    assert len(sample) > 2
    for quarters in range(1, 4):
        turned = warp(sample, Affine.rotation(90 * quarters, 50, 50), 50, 50)
        wanted = np.rot90(sample.image, quarters).astype(int)
        np.testing.assert_allclose(turned.image, wanted, atol=1)  # Pillow rounds down
        wanted = np.rot90(np.asarray(sample.masks), quarters, axes=(1, 2))
        np.testing.assert_array_equal(np.asarray(turned.masks), wanted)


def test_scaling_by_hand():
    sample = painted(3)
    masks = np.asarray(sample.masks)
    same = warp(sample, Affine.scaling(1, 1), 60, 80)
    np.testing.assert_array_equal(same.image, sample.image)
    np.testing.assert_array_equal(np.asarray(same.masks), masks)
    double = warp(sample, Affine.scaling(2, 2), 120, 160)
    np.testing.assert_array_equal(
        np.asarray(double.masks), masks.repeat(2, axis=1).repeat(2, axis=2)
    )
    half = warp(sample, Affine.scaling(0.5, 0.5, 10, 20), 60, 80)
    wanted = np.zeros_like(masks)
    wanted[:, 20:50, 10:50] = masks[:, 1::2, 1::2]
    np.testing.assert_array_equal(np.asarray(half.masks), wanted)
    blocks = sample.image.reshape(30, 2, 40, 2, 3).mean(axis=(1, 3))
    inner = half.image[20:50, 10:50].astype(float)
    assert abs(inner - blocks).mean() < 6  # averaged, not every other pixel
    mean = sample.image[::4, ::4].reshape(-1, 3).mean(axis=0)
    assert abs(half.image[:20] - mean).max() <= 0.5


@given(st.floats(-180, 180), st.floats(0.3, 3), st.floats(0.3, 3), st.floats(-20, 20))
def test_points_go_where_the_pixels_go(degrees, x, y, right):
    """What keypoints will use: the middle of a mask is mapped onto the middle of the new one."""
    move = Affine.rotation(degrees, 200, 200).after(Affine.scaling(x, y, right, 30))
    mask = np.zeros((1, 100, 100), bool)
    mask[0, 40:60, 30:60] = True
    moved = np.asarray(move.masks(mask, 600, 600))[0]
    if moved[[0, -1]].any() or moved[:, [0, -1]].any() or not moved.any():
        return  # cut off at the border
    rows, columns = np.nonzero(moved)
    middle = columns.mean() + 0.5, rows.mean() + 0.5
    np.testing.assert_allclose(middle, move.points(np.array([45.0, 50.0])), atol=0.6)
    np.testing.assert_allclose(len(rows), 600 * x * y, rtol=0.2)
    there = move.points(np.array([[3.0, 4.0], [50, 60]]))
    np.testing.assert_allclose(move.inverse().points(there), [[3, 4], [50, 60]], atol=1e-6)


def test_angles_and_factors_are_drawn_from_all_of_the_range():
    sample, rng = painted(3), np.random.default_rng(0)
    tops = [LargeScaleJitter(0.5, 0.5)(sample, rng).boxes[:, 1].min() for _ in range(50)]
    lefts = [LargeScaleJitter(2, 2)(sample, rng).masks.any(axis=(0, 1)).argmax() for _ in range(50)]
    assert len(set(tops)) > 10 and len(set(lefts)) > 10
    turned = [Rotate(180)(sample, rng).boxes[0, 0] for _ in range(20)]
    assert len(set(turned)) > 10
    assert abs(Rotate(0)(sample, rng).image.astype(int) - sample.image).max() <= 1


def test_values_that_cannot_be():
    with pytest.raises(ValueError, match="smallest <= largest, got 2 and 1"):
        LargeScaleJitter(2, 1)
    with pytest.raises(ValueError, match="0 to 180 degrees, got 200"):
        Rotate(200)
    with pytest.raises(ValueError, match="most: expected at least 1"):
        CopyPaste(most=0)
    with pytest.raises(ValueError, match="smallest <= largest, got 0 and 1"):
        CopyPaste(smallest=0, largest=1)
    with pytest.raises(ValueError, match="visible: expected 0 to 1"):
        CopyPaste(visible=2)
    with pytest.raises(ValueError, match=r"expected one of flip, .*, got 'spin'"):
        augmentation(["flip", "spin"])
    assert augmentation([]) is None


# ---- copy-paste


def squares(*boxes, crowd=()) -> Sample:
    """An image of 20 x 20 with objects x0 y0 x1 y1, painted by their label 0, 1, ..."""
    masks = np.zeros((len(boxes), 20, 20), bool)
    image = np.zeros((20, 20, 3), np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        masks[i, y0:y1, x0:x1] = True
        image[masks[i]] = color(i)
    flags = np.isin(np.arange(len(boxes)), crowd)
    return Sample(image, boxes_of_masks(masks), np.arange(len(boxes)), masks, flags)


def piece(x0, y0, x1, y1, label) -> Piece:
    shape = (y1 - y0, x1 - x0)
    return Piece(np.full((*shape, 3), 99, np.uint8), np.ones(shape, bool), label, y0, x0)


def test_what_is_covered_is_cut():
    below = squares((0, 0, 10, 10), (12, 12, 20, 20))
    result = paste(below, [piece(5, 0, 15, 10, 7), piece(12, 0, 20, 5, 8)], 0.05)
    assert result.labels.tolist() == [0, 1, 7, 8]
    np.testing.assert_array_equal(
        result.boxes, [[0, 0, 5, 10], [12, 12, 20, 20], [5, 0, 15, 10], [12, 0, 20, 5]]
    )
    assert result.masks.areas().tolist() == [50, 64, 100 - 15, 40]
    assert result.masks.sum(axis=0).max() == 1  # nothing belongs to two
    np.testing.assert_array_equal((result.image == 99).all(axis=2), result.masks[2:].any(axis=0))


def test_what_is_covered_almost_whole_is_gone_and_crowds_stay():
    below = squares((0, 0, 10, 10), (0, 10, 10, 20), crowd=[1])
    over = [piece(0, 0, 10, 9, 5), piece(0, 10, 10, 19, 6), piece(12, 0, 20, 10, 7)]
    assert paste(below, over, 0.2).labels.tolist() == [1, 5, 6, 7]  # a tenth is left of each
    assert paste(below, over, 0.05).labels.tolist() == [0, 1, 5, 6, 7]
    result = paste(below, over, 0.2)
    assert result.crowd.tolist() == [True, False, False, False]
    assert result.masks.areas()[0] == 10
    whole = paste(below, [piece(0, 10, 10, 20, 6)], 0.2)
    assert whole.labels.tolist() == [0, 6] and not whole.crowd.any()
    # one pasted over the other
    assert paste(below, [piece(12, 0, 16, 4, 5), piece(12, 0, 20, 8, 6)], 0.05).labels.tolist() == [
        0,
        1,
        6,
    ]


def test_objects_are_pasted_and_crowds_never():
    source = squares((0, 0, 4, 4), (10, 10, 16, 16), (0, 10, 4, 20), crowd=[2])
    empty = squares()
    change = CopyPaste([source], smallest=1, largest=1)
    rng, seen, places = np.random.default_rng(0), set(), set()
    for _ in range(60):
        result = change(empty, rng)
        assert len(result) >= 1 and not result.crowd.any()
        seen.update(result.labels.tolist())
        places.update(map(tuple, result.boxes.tolist()))
        for mask, label in zip(result.masks, result.labels, strict=True):
            np.testing.assert_array_equal((result.image == color(label)).all(axis=2), mask)
    assert seen == {0, 1} and len(places) > 30
    crowds_only = squares((0, 0, 4, 4), crowd=[0])
    assert CopyPaste([crowds_only])(empty, rng) is empty
    most = max(len(CopyPaste([source], most=1)(empty, rng)) for _ in range(20))
    assert most == 1


def test_sizes_follow_the_images():
    """An object of a fifth of its image is a fifth of another one's, times the drawn factor."""
    source = squares((4, 4, 8, 8))
    image = np.zeros((100, 200, 3), np.uint8)
    large = Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros((0, 100, 200)))
    rng = np.random.default_rng(0)
    for factor, side in ((1, 20), (0.5, 10), (2, 40), (90, 100)):
        result = CopyPaste([source], 1, factor, factor)(large, rng)
        x0, y0, x1, y1 = result.boxes[0]
        assert (x1 - x0, y1 - y0) == (side, side)  # 90 times would not fit


def test_copy_paste_needs_a_data_set_and_a_loader_gives_it():
    with pytest.raises(ValueError, match="objects from where"):
        CopyPaste()(squares(), np.random.default_rng(0))
    own, data = Painted(), Painted()
    assert CopyPaste(own).bind(data).dataset is own
    (flip, inner), _ = (
        Compose(Compose(Flip(), CopyPaste()), Flip()).bind(data).transforms[0].transforms,
        0,
    )
    assert isinstance(flip, Flip) and inner.dataset is data
    with Loader(data, 2, Compose(CopyPaste()), total_steps=2) as loader:
        assert sum(len(sample) for batch in loader for sample in batch) > 0
    with Loader(Shapes(size=48, seed=1), 2, CopyPaste(), total_steps=2) as loader:  # without end
        assert all(len(sample) for batch in loader for sample in batch)


def test_the_same_batches_with_any_threads_from_any_step():
    change = augmentation(["copypaste", "jitter", "rotate", "flip"])

    def batches(threads, start=0):
        with Loader(Painted(), 2, change, 3, start, 5, threads=threads) as loader:
            return list(loader)

    alone = batches(0)
    for other, first in ((batches(3), 0), (batches(1, 2), 2)):
        for mine, theirs in zip(alone[first:], other, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(a.image, b.image)
                np.testing.assert_array_equal(np.asarray(a.masks), np.asarray(b.masks))
                np.testing.assert_array_equal(a.labels, b.labels)


def test_names_are_known_without_numpy():
    code = (
        "import sys, json; from minimask.data.augmentations import AUGMENTATIONS; "
        "print(json.dumps(['numpy' in sys.modules, list(AUGMENTATIONS)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, names = json.loads(done.stdout)
    assert not heavy and {"jitter", "rotate", "copypaste", "flip"} <= set(names)
