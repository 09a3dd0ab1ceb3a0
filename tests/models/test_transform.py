"""From images to batches: sizes, padding, channels, and the way back."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.conventions import DETECTRON2, MATTERPORT, TORCHVISION
from minimask.data.sample import as_rgb, check_target
from minimask.models import Target
from minimask.models.box_corners import from_edges
from minimask.models.transform import (
    ImageTransform,
    make_batch,
    resize_target,
    resized_size,
)


@pytest.mark.parametrize(
    ("size", "torchvision", "nearest"),
    [
        ((480, 640), (800, 1066), (800, 1067)),
        ((1080, 1920), (749, 1333), (750, 1333)),
        ((289, 395), (799, 1093), (800, 1093)),  # the factor falls just short in floating point
    ],
)
def test_known_sizes(size, torchvision, nearest):
    assert resized_size(*size, 800, 1333) == torchvision
    assert resized_size(*size, 800, 1333, DETECTRON2) == nearest


def test_sizes_without_resizing_and_of_extreme_shapes():
    assert resized_size(70, 90, None, None) == (70, 90)
    assert resized_size(70, 90, None, 45) == (35, 45)
    assert resized_size(1, 5000, 800, 1333) == (1, 1333)  # never 0 rows
    assert resized_size(1, 1, 800, 1333) == (800, 800)


def test_matterport_pads_to_a_centered_square_of_black():
    image = np.full((50, 100, 3), 255, np.uint8)
    batch = make_batch([image], 64, 128, MATTERPORT)
    assert batch.images.shape == (1, 3, 128, 128)
    where = ImageTransform((50, 100), (64, 128), (32, 0), "pixels", (128, 128))
    assert batch.transforms[0] == where
    black = -np.array(MATTERPORT.pixel_mean, np.float32)
    np.testing.assert_allclose(batch.images[0, :, 0, 0], black)
    np.testing.assert_allclose(batch.images[0, :, 64, 64], 255 + black)
    # outside the image everything is black: the outermost row of an enlarged one is not as bright
    assert (batch.images[0, :, 32, 64] < 230 + black).all()


def test_normalized_values_channels_and_padding():
    image = np.zeros((3, 5, 3), np.uint8)
    image[..., 0] = 255  # red
    batch = make_batch([image], None, None)
    assert batch.images.shape == (1, 3, 32, 32) and batch.images.dtype == np.float32
    red = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(batch.images[0, :, 1, 1], red, rtol=1e-5)
    assert not batch.images[:, :, 3:].any() and not batch.images[:, :, :, 5:].any()
    bgr = make_batch([image], None, None, DETECTRON2)
    np.testing.assert_allclose(bgr.images[0, :, 1, 1], [-103.53, -116.28, 255 - 123.675], rtol=1e-6)


def test_images_of_a_batch_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, s, np.uint8) for s in ((40, 20, 3), (33, 70, 3), (64, 64))]
    batch = make_batch(images, None, None)
    assert batch.images.shape == (3, 3, 64, 96)
    for i, image in enumerate(images):
        alone = make_batch([image], None, None).images[0]
        h, w = image.shape[:2]
        np.testing.assert_array_equal(batch.images[i, :, :h, :w], alone[:, :h, :w])


def test_antialiasing_is_the_pillow_conventions():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    pillow = dataclasses.replace(TORCHVISION, image_resize="pillow")
    plain, smooth = (make_batch([noise], 128, None, c).images.std() for c in (TORCHVISION, pillow))
    assert smooth < 0.7 * plain


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 1), (7, 9, 3), (7, 9, 4)])
def test_gray_and_alpha_are_converted(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rgb = as_rgb(image)
    assert rgb.shape == (7, 9, 3)
    np.testing.assert_array_equal(rgb[..., 0], image if image.ndim == 2 else image[..., 0])


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), TypeError, r"images\[0\]: expected uint8 .* got float32"),
        (np.zeros((4, 4, 3), np.uint16), TypeError, "got uint16"),
        ([[0, 1]], TypeError, "expected a NumPy array of uint8, got list"),
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"expected shape \(H, W\)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, "has no pixels"),
    ],
)
def test_what_is_no_image_is_refused(image, error, message):
    with pytest.raises(error, match=message):
        make_batch([image], None, None)


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.sampled_from([None, 40, 200]),
    st.sampled_from([TORCHVISION, DETECTRON2, MATTERPORT]),
)
def test_boxes_survive_the_way_there_and_back(size, min_size, convention):
    image = np.zeros((*size, 3), np.uint8)
    batch = make_batch([image], min_size, 256, convention)
    (transform,) = batch.transforms
    boxes = np.array([[0, 0, size[1], size[0]], [0.25, 0.5, 0.75, 1]], np.float32)
    inside = transform.to_network(boxes)
    np.testing.assert_allclose(transform.to_image(inside), boxes, rtol=1e-4, atol=1e-3)
    y, x = transform.offset
    if transform.corners == "edges" or min(size) > 1:  # the centers of one pixel are no stretch
        whole = [x, y, x + transform.resized[1], y + transform.resized[0]]
        expected = from_edges(np.array([whole], np.float32), transform.corners)
        np.testing.assert_allclose(inside[:1], expected, rtol=1e-5)
        beyond = inside + np.array([-9, -7, 8, 9], np.float32)
        np.testing.assert_allclose(transform.clip(beyond)[0], inside[0], rtol=1e-5)
    assert batch.shape[0] % convention.size_divisor == 0


def test_masks_follow_their_image():
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 5:10, 6:18] = True
    target = Target(np.array([[6, 5, 18, 10]], np.float32), np.array([0]), mask)
    transform = ImageTransform((20, 30), (40, 60))
    resized = resize_target(target, transform, (64, 64))
    assert resized.masks.dtype == np.uint8 and resized.masks.shape == (1, 40, 60)
    np.testing.assert_array_equal(resized.masks[0, ::2, ::2], mask[0])
    np.testing.assert_array_equal(resized.boxes, [[12, 10, 36, 20]])
    moved = resize_target(target, ImageTransform((20, 30), (40, 60), (4, 2)), (64, 64))
    assert moved.masks.shape == (1, 64, 64)
    np.testing.assert_array_equal(moved.masks[0, 4:44, 2:62], resized.masks[0])
    assert moved.masks.sum() == resized.masks.sum()
    np.testing.assert_array_equal(moved.boxes, [[14, 14, 38, 24]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": np.zeros((2, 5))}, r"boxes: expected shape \(R, 4\)"),
        ({"boxes": np.array([[5, 5, 5, 9], [0, 0, 1, 1.0]])}, r"boxes\[0\] = .*expected x0 < x1"),
        ({"boxes": np.array([[0, 0, 1, np.nan], [0, 0, 1, 1]])}, r"boxes\[0\]"),
        ({"boxes": np.array([[0, 0, 1, np.inf], [0, 0, 1, 1]])}, r"boxes\[0\]"),
        ({"labels": np.array([0])}, r"labels: expected shape \(2,\)"),
        ({"labels": np.array([0, 3])}, r"labels: expected 0 \.\. 2, got 0 \.\. 3"),
        ({"labels": np.array([-1, 0])}, "background is no class"),
        ({"masks": np.zeros((2, 8, 9), bool)}, r"masks: expected shape \(2, 9, 8\)"),
    ],
)
def test_targets_that_do_not_fit_are_refused(change, message):
    fields = {
        "boxes": np.array([[0, 0, 3, 3], [1, 1, 2, 5.0]]),
        "labels": np.array([0, 2]),
        "masks": np.zeros((2, 9, 8), bool),
    }
    check_target(Target(**fields), np.zeros((9, 8, 3), np.uint8), 3, "targets[0]")
    with pytest.raises(ValueError, match=message):
        check_target(Target(**fields | change), np.zeros((9, 8, 3), np.uint8), 3, "targets[0]")
