"""Transforms keep image, boxes and masks together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from minimask.data.geometric import LargeScaleJitter, Rotate
from minimask.data.sample import Sample, boxes_of_masks
from minimask.data.transforms import (
    Compose,
    Flip,
    Photometric,
    RandomCrop,
    ResizeShortest,
    ScaleJitter,
    Transpose,
    VerticalFlip,
    resize,
)

ALWAYS = (Flip(1.0), VerticalFlip(1.0), Transpose(1.0))
EVERY = (
    *ALWAYS,
    ResizeShortest(17),
    ResizeShortest(40, 50, rounding="nearest", antialias=False),
    ScaleJitter(0.3, 3.0),
    RandomCrop(7, 9),
    RandomCrop(100),
    Photometric(),
    LargeScaleJitter(),
    Rotate(),
    Rotate(180),
    Compose(Flip(), ScaleJitter(0.5, 2.0), RandomCrop(12), Transpose(), Photometric()),
)


@st.composite
def samples(draw) -> Sample:
    """Images of 1 to 24 pixels a side with 0 to 4 masks that mark their pixels in the image."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    count = draw(st.integers(0, 4))
    masks = draw(npst.arrays(bool, (count, height, width)))
    masks = masks[masks.any(axis=(1, 2))]
    image = np.zeros((height, width, 3), np.uint8)
    image[masks.any(axis=0)] = 255
    count = len(masks)
    crowd = np.arange(count) % 2 == 1
    return Sample(image, boxes_of_masks(masks), np.arange(count), masks, crowd, 7, "a.png")


@pytest.mark.parametrize("transform", EVERY, ids=repr)
@given(sample=samples(), seed=st.integers(0, 2**32 - 1))
def test_everything_stays_together(transform, sample, seed):
    before = sample.image.copy(), sample.masks.copy(), sample.boxes.copy()
    result = transform(sample, np.random.default_rng(seed))
    height, width = result.image.shape[:2]
    assert result.masks.shape == (len(result), height, width)
    np.testing.assert_array_equal(result.boxes, boxes_of_masks(result.masks))
    assert result.boxes.dtype == np.float32 and result.image.dtype == np.uint8
    assert result.masks.dtype == bool and result.labels.dtype == np.int64
    assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()  # nothing without a pixel
    # labels were 0, 1, ...: those left keep their order, their crowd flag and their image
    assert set(result.labels) <= set(range(len(sample)))
    assert (np.diff(result.labels) > 0).all()
    np.testing.assert_array_equal(result.crowd, result.labels % 2 == 1)
    assert (result.image_id, result.file_name) == (7, "a.png")
    for old, new in zip(before, (sample.image, sample.masks, sample.boxes), strict=True):
        np.testing.assert_array_equal(old, new)  # the input is untouched
    again = transform(sample, np.random.default_rng(seed))
    np.testing.assert_array_equal(result.image, again.image)
    np.testing.assert_array_equal(result.masks, again.masks)


@pytest.mark.parametrize("transform", [*ALWAYS, RandomCrop(7, 9)], ids=repr)
@given(sample=samples(), seed=st.integers(0, 2**32 - 1))
def test_image_moves_as_the_masks_do(transform, sample, seed):
    """The image is white exactly on the masks, before and after."""
    result = transform(sample, np.random.default_rng(seed))
    np.testing.assert_array_equal(result.image[..., 0] == 255, result.masks.any(axis=0))


@pytest.mark.parametrize("transform", ALWAYS, ids=repr)
@given(sample=samples())
def test_twice_is_nothing(transform, sample):
    rng = np.random.default_rng(0)
    once = transform(sample, rng)
    twice = transform(once, rng)
    assert len(once) == len(sample)
    np.testing.assert_array_equal(once.masks.sum(axis=(1, 2)), sample.masks.sum(axis=(1, 2)))
    np.testing.assert_array_equal(twice.image, sample.image)
    np.testing.assert_array_equal(twice.masks, sample.masks)
    np.testing.assert_array_equal(twice.boxes, sample.boxes)


def one_pixel(height: int, width: int, y: int, x: int) -> Sample:
    masks = np.zeros((1, height, width), bool)
    masks[0, y, x] = True
    image = np.where(masks[0][:, :, None], 200, 0).astype(np.uint8).repeat(3, axis=2)
    return Sample(image, boxes_of_masks(masks), np.zeros(1, np.int64), masks)


@pytest.mark.parametrize(
    ("transform", "box"),
    [(Flip(1.0), [3, 0, 4, 1]), (VerticalFlip(1.0), [1, 2, 2, 3]), (Transpose(1.0), [0, 1, 1, 2])],
    ids=repr,
)
def test_by_hand(transform, box):
    """One pixel at row 0, column 1 of an image of 3 rows and 5 columns."""
    result = transform(one_pixel(3, 5, 0, 1), np.random.default_rng(0))
    np.testing.assert_array_equal(result.boxes, [box])
    assert result.image[int(box[1]), int(box[0]), 0] == 200


def test_probabilities():
    sample = one_pixel(3, 5, 0, 1)
    rng = np.random.default_rng(0)
    for kind in (Flip, VerticalFlip, Transpose):
        assert kind(0.0)(sample, rng) is sample
        moved = sum(kind(0.25)(sample, rng) is not sample for _ in range(400))
        assert 60 < moved < 140


def test_resize_doubles_and_halves_masks_exactly():
    sample = one_pixel(4, 6, 1, 4)
    double = resize(sample, 8, 12)
    np.testing.assert_array_equal(double.boxes, sample.boxes * 2)
    assert double.masks.sum() == 4
    back = resize(double, 4, 6)
    np.testing.assert_array_equal(back.masks, sample.masks)


def test_resize_keeps_image_and_mask_in_register():
    """The centroid of a disk, in image and in mask, goes where the pixel geometry says."""
    y, x = np.mgrid[:60, :90] + 0.5
    masks = (np.hypot(y - 23.2, x - 51.7) < 12)[None]
    image = np.where(masks[0][..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    sample = Sample(image, boxes_of_masks(masks), np.zeros(1, np.int64), masks)
    for height, width in ((47, 131), (120, 45), (60, 180)):
        for antialias in (True, False):
            result = resize(sample, height, width, antialias=antialias)
            y, x = np.mgrid[:height, :width] + 0.5
            for weight in (result.masks[0].astype(float), result.image[..., 0].astype(float)):
                center = [(weight * y).sum() / weight.sum(), (weight * x).sum() / weight.sum()]
                expected = [23.2 * height / 60, 51.7 * width / 90]
                np.testing.assert_allclose(center, expected, atol=0.25)


def test_interpolation_without_antialiasing_by_hand():
    """Half-pixel rule: two pixels 0 and 200 become 0, 50, 150, 200."""
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 200
    empty = Sample(
        image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros((0, 1, 2), bool)
    )
    wide = resize(empty, 1, 4, antialias=False)
    np.testing.assert_array_equal(wide.image[0, :, 0], [0, 50, 150, 200])


@pytest.mark.parametrize(
    ("transform", "old", "new"),
    [
        (ResizeShortest(800, 1333), (480, 640), (800, 1066)),  # torchvision's rounding
        (ResizeShortest(800, 1333, rounding="nearest"), (480, 640), (800, 1067)),  # detectron2's
        (ResizeShortest(800, 1333), (1080, 1920), (749, 1333)),
        (ResizeShortest(800, 1333, rounding="nearest"), (1080, 1920), (750, 1333)),
        (ResizeShortest(100), (10, 1000), (100, 10000)),
        (ResizeShortest(10, 50), (1, 1000), (1, 50)),
    ],
)
def test_sizes(transform, old, new):
    assert transform.size(*old) == new


def test_crop_drops_what_is_outside():
    sample = one_pixel(8, 8, 0, 0)
    counts = {len(RandomCrop(4)(sample, np.random.default_rng(i))) for i in range(40)}
    assert counts == {0, 1}
    whole = RandomCrop(9, 4)(sample, np.random.default_rng(0))
    assert whole.image.shape == (8, 4, 3)


def test_crop_reaches_every_place():
    sample = one_pixel(5, 7, 2, 3)
    places = {
        tuple(RandomCrop(3, 4)(sample, np.random.default_rng(i)).boxes[:, :2].ravel().tolist())
        for i in range(300)
    }
    assert places >= {(float(x), float(y)) for x in range(4) for y in range(3)}


def test_photometric_by_hand():
    """Twice the brightness doubles every value; no saturation leaves the luma."""

    class Fixed:
        def uniform(self, low, high, count):
            return np.ones(count)

    image = np.full((4, 4, 3), (10, 60, 100), np.uint8)
    empty = Sample(
        image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros((0, 4, 4), bool)
    )
    brighter = Photometric(1.0, 0, 0, 0)(empty, Fixed())
    np.testing.assert_array_equal(brighter.image[0, 0], [20, 120, 200])
    grey = Photometric(0, 0, -1.0, 0)(empty, Fixed())
    np.testing.assert_array_equal(grey.image[0, 0], [50, 50, 50])  # 2.99 + 35.22 + 11.4
    turned = Photometric(0, 0, 0, 1 / 3)(empty, Fixed())
    assert sorted(turned.image[0, 0].tolist()) == [10, 60, 100]
    assert turned.image[0, 0].tolist() != [10, 60, 100]
    contrast = Photometric(0, 1.0, 0, 0)(empty, Fixed())  # mean (10 + 60 + 100) / 3 = 56.67
    np.testing.assert_array_equal(contrast.image[0, 0], [0, 63, 143])


def test_nothing_to_change_is_exact():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    empty = Sample(
        image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros((0, 9, 11), bool)
    )
    np.testing.assert_array_equal(Photometric(0, 0, 0, 0)(empty, rng).image, image)
    np.testing.assert_array_equal(resize(empty, 9, 11).image, image)


def test_bad_options():
    with pytest.raises(ValueError, match="rounding: expected 'down' or 'nearest', got 'up'"):
        ResizeShortest(10, rounding="up")
    with pytest.raises(ValueError, match="smallest <= largest"):
        ScaleJitter(2.0, 1.0)


def test_sample_refuses_what_does_not_fit():
    image = np.zeros((4, 5, 3), np.uint8)
    masks = np.zeros((2, 5, 4), bool)
    with pytest.raises(ValueError, match=r"masks: expected shape \(2, 4, 5\).*got \(2, 5, 4\)"):
        Sample(image, np.zeros((2, 4), np.float32), np.zeros(2, np.int64), masks)
