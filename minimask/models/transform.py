"""From photographs of any size to the batch of equal arrays a network takes, and back.

Letters: N images, H W height and width as given, R objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minimask import boxes as box_ops
from minimask.autograd.arrays import Array, array_module, constant
from minimask.autograd.hooks import stage
from minimask.conventions import TORCHVISION, Convention
from minimask.data.mask_values import as_masks
from minimask.data.masks import ObjectMasks
from minimask.data.sample import Target, as_rgb, boxes_of_masks
from minimask.kernels.resize import resize
from minimask.models import opencv, scikit_image
from minimask.models.box_corners import from_edges, span, to_edges
from minimask.system.device import upload


@dataclass(frozen=True)
class ImageTransform:
    """Where an image lies in the network's input: how it was resized and moved."""

    original: tuple[int, int]  # height, width of the image as given
    resized: tuple[int, int]  # height, width of its content in the input
    offset: tuple[int, int] = (0, 0)  # y, x of its upper left pixel in the input
    corners: str = "edges"  # what the network's boxes are named by, see `box_corners`
    input: tuple[int, int] | None = None  # its size where proposals may lie in the padding

    def to_network(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of the image as boxes of the network's input. (R, 4) -> (R, 4) float32."""
        y, x = (after / before for before, after in self._spans())
        boxes = from_edges(np.asarray(boxes, np.float32), self.corners)
        return self._shift(box_ops.scale(boxes, y, x), 1)

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of the network's input as boxes of the image. (R, 4) -> (R, 4) float32."""
        y, x = (before / after for before, after in self._spans())
        return to_edges(box_ops.scale(self._shift(boxes, -1), y, x), self.corners)

    def clip(self, boxes: np.ndarray) -> np.ndarray:
        """Cut boxes of the network's input off at the borders of the image. (R, 4) -> (R, 4)."""
        last = (span(pixels, self.corners) for pixels in self.resized)
        return self._shift(box_ops.clip(self._shift(boxes, -1), *last), 1)

    def clip_proposals(self, boxes: np.ndarray) -> np.ndarray:
        """The same of proposals, which in some systems may lie in the padding."""
        if self.input is None:
            return self.clip(boxes)
        return box_ops.clip(boxes, *(span(pixels, self.corners) for pixels in self.input))

    def _spans(self) -> list[tuple[int, int]]:
        """Height and width before and after, as boxes count them."""
        before, after = (
            [span(pixels, self.corners) for pixels in size]
            for size in (self.original, self.resized)
        )
        return list(zip(before, after, strict=True))

    def keypoints_to_network(self, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints of the image as those of the network's input. (R, P, 3) -> the same float32.

        The third number, visibility or score, stays as it is.
        """
        y, x = self.resized[0] / self.original[0], self.resized[1] / self.original[1]
        return self._move_keypoints(keypoints, (x, y), self.offset[::-1])

    def keypoints_to_image(self, keypoints: np.ndarray) -> np.ndarray:
        """The way back. (R, P, 3) -> (R, P, 3) float32."""
        y, x = self.original[0] / self.resized[0], self.original[1] / self.resized[1]
        right, down = self.offset[::-1]
        return self._move_keypoints(keypoints, (x, y), (-right * x, -down * y))

    @staticmethod
    def _move_keypoints(
        keypoints: np.ndarray, factor: tuple[float, float], way: tuple[float, float]
    ) -> np.ndarray:
        keypoints = np.asarray(keypoints, np.float32) * constant((*factor, 1.0), keypoints)
        return keypoints + constant((*way, 0.0), keypoints) if any(way) else keypoints

    def _shift(self, boxes: np.ndarray, sign: int) -> np.ndarray:
        if self.offset == (0, 0):
            return boxes
        y, x = self.offset
        return boxes + constant((x * sign, y * sign, x * sign, y * sign), boxes)


@dataclass(frozen=True)
class Batch:
    """Images as the network takes them."""

    images: Array  # (N, 3, H, W) float32, normalized and padded to one size
    transforms: list[ImageTransform]  # where each image lies in it
    shape: tuple[int, int]  # height and width of the padded images


def input_size(
    min_size: int | Sequence[int] | None, rng: np.random.Generator | None = None
) -> int | None:
    """The short side of the network's input: of several sizes `rng` draws one, else the last."""
    if isinstance(min_size, Sequence):
        return min_size[-1] if rng is None else int(rng.choice(np.asarray(min_size)))
    return min_size


def resized_size(
    height: int,
    width: int,
    min_size: int | None,
    max_size: int | None,
    convention: Convention = TORCHVISION,
) -> tuple[int, int]:
    """Height and width after resizing: the short side becomes `min_size`, the long one no more
    than `max_size`; with `min_size` None only images that are too large shrink.

    The squares of the Matterport convention enlarge only, except to respect `max_size`.
    """  # noqa: D205
    short, long = min(height, width), max(height, width)
    factor = 1.0 if min_size is None else min_size / short
    if convention.pad_square:
        factor = max(1.0, factor)
    if convention.size_rounding == "even":  # as Python's round does
        if max_size is not None and round(long * factor) > max_size:
            factor = max_size / long
        return max(1, round(height * factor)), max(1, round(width * factor))
    if max_size is not None:
        factor = min(factor, max_size / long)
    extra = 0.5 if convention.size_rounding == "nearest" else 0.0
    return max(1, math.floor(height * factor + extra)), max(1, math.floor(width * factor + extra))


def make_batch(
    images: Sequence[np.ndarray],
    min_size: int | None,
    max_size: int | None,
    convention: Convention = TORCHVISION,
    like: Array | None = None,
) -> Batch:
    """Resize, normalize and pad images to one array.

    Args:
        images: uint8 arrays of any sizes, (H, W, 3), gray or RGBA.
        min_size: of the short side after resizing, None to leave it.
        max_size: limit of the long side after resizing, None for none.
        convention: how exactly.
        like: an array of the device the batch is needed on, and made on; default: the CPU.
    """
    rgb = [as_rgb(image, f"images[{i}]") for i, image in enumerate(images)]
    if not rgb:
        raise ValueError("images: expected at least one image, got an empty list")
    sizes = [resized_size(im.shape[0], im.shape[1], min_size, max_size, convention) for im in rgb]
    offsets = [(0, 0)] * len(rgb)
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    if convention.pad_square:
        height = width = max(height, width, max_size or 0)
    height, width = (
        -(-n // convention.size_divisor) * convention.size_divisor for n in (height, width)
    )
    if convention.pad_square:
        offsets = [((height - h) // 2, (width - w) // 2) for h, w in sizes]
    xp = np if like is None else array_module(like)
    batch = xp.zeros((len(rgb), 3, height, width), np.float32)
    if convention.pad_with == "black":
        batch[:] = _normalize(xp.zeros((1, 1, 3), np.uint8), convention)
    for slot, image, (h, w), (y, x) in zip(batch, rgb, sizes, offsets, strict=True):
        slot[:, y : y + h, x : x + w] = _content(image, (h, w), convention, batch)
    limits = (height, width) if convention.proposal_limits == "input" else None
    transforms = [
        ImageTransform(image.shape[:2], size, offset, convention.box_corners, limits)
        for image, size, offset in zip(rgb, sizes, offsets, strict=True)
    ]
    return Batch(batch, transforms, (height, width))


def _content(
    image: np.ndarray, size: tuple[int, int], convention: Convention, like: Array
) -> Array:
    """One image resized and normalized where `like` lives: (H, W, 3) uint8 -> (3, h, w) float32."""
    if image.shape[:2] == size:
        return _normalize(upload(image, like, "image"), convention)
    if convention.image_resize == "pillow":
        from PIL import Image

        small = Image.fromarray(np.ascontiguousarray(image))
        small = small.resize(size[::-1], Image.Resampling.BILINEAR)
        return _normalize(upload(np.asarray(small), like, "image"), convention)
    if convention.image_resize in _ON_BYTES:
        resized = _ON_BYTES[convention.image_resize](image, *size)
        return _normalize(upload(resized, like, "image"), convention)
    image = upload(image, like, "image")  # as bytes: a quarter of what floats would be
    return resize(_normalize(image, convention)[None], size, mode="bilinear")[0]


_ON_BYTES = {"opencv": opencv.resize_bytes, "skimage": scikit_image.resize_bytes}


def _normalize(image: Array, convention: Convention) -> Array:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32 in the network's channel order."""
    channels = image.transpose(2, 0, 1)[:: -1 if convention.channels == "bgr" else 1]
    # who resizes with scikit-image goes on in float64, as NumPy does if nobody says otherwise
    precision = np.float64 if convention.image_resize == "skimage" else np.float32
    pixels = channels.astype(precision, order="C")
    mean = constant(tuple(convention.pixel_mean), pixels)[:, None, None]
    std = constant(tuple(convention.pixel_std), pixels)[:, None, None]
    return ((pixels - mean) / std).astype(np.float32, copy=False)


@stage("image transform")
def resize_target(
    target: Target,
    transform: ImageTransform,
    size: tuple[int, int],
    convention: Convention = TORCHVISION,
) -> Target:
    """The target in the network's input: boxes and keypoints moved, masks of the nearest pixels.

    Masks become uint8, ObjectMasks remain what they are.  They are of the padded `size` only where
    the image was moved inside it; otherwise they keep the content's size, which is all that boxes
    can touch.
    """
    masks = target.masks
    if masks is not None:
        masks = as_masks(masks, "target.masks")
        masks = masks.view(np.uint8) if isinstance(masks, np.ndarray) else masks
        if transform.original != transform.resized:
            rows, columns = (
                nearest_pixels(before, after, convention.mask_resize)
                for before, after in zip(transform.original, transform.resized, strict=True)
            )
            if isinstance(masks, ObjectMasks):
                masks = masks.resized(rows, columns)
            else:
                masks = masks[:, rows[:, None], columns]
        if transform.offset != (0, 0):
            masks = _placed(masks, size, transform)
    keypoints = target.keypoints
    if keypoints is not None:
        keypoints = transform.keypoints_to_network(keypoints)
    labels = np.asarray(target.labels, np.int64)
    crowds = None if target.crowds is None else transform.to_network(target.crowds)
    resized = Target(transform.to_network(target.boxes), labels, masks, keypoints, crowds)
    if convention.target_boxes == "masks" and masks is not None:
        return _in_the_boxes_of_masks(resized, transform.corners)
    return resized


def nearest_pixels(before: int, after: int, way: str = "cells") -> np.ndarray:
    """Which pixel of an axis each of the new ones shows, see `Convention.mask_resize`."""
    if way == "cells":
        return np.arange(after) * before // after
    # so SciPy's zoom, in float64
    step = (before - 1) / (after - 1) if after > 1 else 0.0
    return np.floor(np.arange(after) * step + 0.5).astype(np.int64)


def _in_the_boxes_of_masks(target: Target, corners: str) -> Target:
    """The target with the tight boxes of its masks, without objects of which no pixel is left."""
    masks = target.masks
    assert masks is not None
    visible = np.flatnonzero(masks.any(axis=(1, 2)))
    if len(visible) < len(masks):
        keypoints = None if target.keypoints is None else target.keypoints[visible]
        masks = masks[visible]
        target = replace(target, labels=target.labels[visible], masks=masks, keypoints=keypoints)
    boxes = boxes_of_masks(masks.view(bool) if isinstance(masks, np.ndarray) else masks)
    return replace(target, boxes=from_edges(boxes, corners))


def _placed(
    masks: np.ndarray | ObjectMasks, size: tuple[int, int], transform: ImageTransform
) -> np.ndarray | ObjectMasks:
    """Masks of an image's content as masks of the padded input."""
    (y, x), (h, w) = transform.offset, transform.resized
    if isinstance(masks, ObjectMasks):
        return masks.placed(*size, y, x)
    whole = np.zeros((len(masks), *size), np.uint8)
    whole[:, y : y + h, x : x + w] = masks
    return whole
