"""Boxes as arrays: area, clipping, and the four numbers by which a network moves a box.

One convention, nowhere contradicted: a box is `(x0, y0, x1, y1)` in continuous pixels. Pixel i
covers [i, i + 1) and its center is i + 0.5, so a box's width is x1 - x0, without a "+ 1".

Letters: R boxes. Only functions that exist for NumPy and CuPy arrays alike are used.
"""

from __future__ import annotations

import math

import numpy as np

from minimask.autograd.arrays import Array, constant

LARGEST_GROWTH = math.log(1000 / 16)  # a box of 16 px may grow to 1000 px: exp() cannot overflow


def check_boxes(boxes: Array, name: str = "boxes") -> Array:
    """The boxes themselves, once their shape is known to be (R, 4).

    Raises:
        ValueError: another shape; the message names the argument.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        hint = "; a single box needs a leading axis: box[None]" if boxes.shape == (4,) else ""
        raise ValueError(f"{name}: expected shape (R, 4), got {tuple(boxes.shape)}{hint}")
    return boxes


def area(boxes: Array) -> Array:
    """The area of each box in square pixels; an inverted box counts 0.

    boxes (R, 4) -> (R,)
    """
    sides = check_boxes(boxes)[:, 2:] - boxes[:, :2]
    return np.clip(sides, 0, None).prod(axis=1)


def clip(boxes: Array, height: float, width: float) -> Array:
    """Cut boxes off at the borders of an image.

    boxes (..., 4) -> (..., 4) with 0 <= x <= width and 0 <= y <= height
    """
    clipped = np.empty_like(boxes)
    clipped[..., 0::2] = np.clip(boxes[..., 0::2], 0, width)
    clipped[..., 1::2] = np.clip(boxes[..., 1::2], 0, height)
    return clipped


def encode(
    boxes: Array,
    anchors: Array,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
) -> Array:
    """What a network must say at `anchors` to mean `boxes`: the inverse of `decode`.

    Shifts of the center in units of the anchor's size, and the logarithms of the growth of its
    width and height, each times its weight (R-CNN, appendix C).

    boxes (R, 4), anchors (R, 4) of positive size -> (R, 4) dx, dy, dw, dh
    """
    box_sizes = check_boxes(boxes)[:, 2:] - boxes[:, :2]
    anchor_sizes = check_boxes(anchors, "anchors")[:, 2:] - anchors[:, :2]
    box_centers = boxes[:, :2] + 0.5 * box_sizes
    anchor_centers = anchors[:, :2] + 0.5 * anchor_sizes
    shifts = (box_centers - anchor_centers) / anchor_sizes
    growths = np.log(box_sizes / anchor_sizes)
    return np.concatenate([shifts, growths], axis=1) * constant(weights, boxes)


def decode(
    deltas: Array,
    anchors: Array,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    clamp: str = "upper",
) -> Array:
    """Move and stretch each anchor as the network says.

    Args:
        deltas: (R, 4) dx, dy, dw, dh, each times its weight.
        anchors: (R, 4) boxes.
        weights: the four factors `encode` was given.
        clamp: limits of dw and dh, the logarithms of growth: "upper" (at most ln(1000 / 16)),
            "both" (also at least its negative) or "none".

    Returns:
        (R, 4) boxes.
    """
    if clamp not in ("upper", "both", "none"):
        raise ValueError(f"clamp: expected 'upper', 'both' or 'none', got {clamp!r}")
    sizes = check_boxes(anchors, "anchors")[:, 2:] - anchors[:, :2]
    centers = anchors[:, :2] + 0.5 * sizes
    moves = check_boxes(deltas, "deltas") / constant(weights, deltas)
    growths = moves[:, 2:]
    if clamp != "none":
        growths = np.clip(growths, -LARGEST_GROWTH if clamp == "both" else None, LARGEST_GROWTH)
    new_centers = centers + moves[:, :2] * sizes
    half_sizes = 0.5 * np.exp(growths) * sizes
    return np.concatenate([new_centers - half_sizes, new_centers + half_sizes], axis=1)


def remove_small(boxes: Array, min_size: float) -> Array:
    """Which boxes to keep: indices of those whose both sides are at least `min_size` pixels.

    With `min_size` 0 a box without area is dropped as well. A box with a NaN goes too.

    boxes (R, 4) -> (kept,) int64, rising
    """
    return np.nonzero(is_large(boxes, min_size))[0]


def is_large(boxes: Array, min_size: float) -> Array:
    """Whether both sides are at least `min_size` pixels, or positive if that is 0.

    boxes (R, 4) -> (R,) bool, False for a box with a NaN
    """
    sides = check_boxes(boxes)[:, 2:] - boxes[:, :2]
    return (sides >= min_size if min_size > 0 else sides > 0).all(axis=1)


def scale(boxes: Array, y_factor: float, x_factor: float) -> Array:
    """Boxes of an image after the image is resized by these factors.

    boxes (R, 4) -> (R, 4)
    """
    return boxes * constant((x_factor, y_factor, x_factor, y_factor), boxes)


def xywh_to_xyxy(boxes: Array) -> Array:
    """From corner and size, as COCO files have it, to two corners.

    boxes (R, 4) x, y, width, height -> (R, 4) x0, y0, x1, y1
    """
    return np.concatenate([check_boxes(boxes)[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_xywh(boxes: Array) -> Array:
    """From two corners to corner and size, as COCO files have it.

    boxes (R, 4) x0, y0, x1, y1 -> (R, 4) x, y, width, height
    """
    return np.concatenate([check_boxes(boxes)[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
