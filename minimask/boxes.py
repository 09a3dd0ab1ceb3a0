"""Boxes as arrays: area, clipping, and the four deltas by which a network moves a box.

One convention, nowhere contradicted: a box is `(x0, y0, x1, y1)` in continuous pixels. Pixel i
covers [i, i + 1) and its center is i + 0.5, so a box's width is x1 - x0, without a "+ 1".

Every function computes in floating point whatever the boxes' type, so that no factor is cut to an
integer and no difference wraps around: float32 and float64 stay as they are; float16, bool and
integers of up to 16 bits become float32, larger integers float64.

Letters: R boxes. Only functions that exist for NumPy and CuPy arrays alike are used.
"""

from __future__ import annotations

import math

import numpy as np

from minimask.autograd.arrays import Array, constant
from minimask.kernels.checks import as_float, check_boxes

MAX_DW_DH = math.log(1000 / 16)  # a box of 16 px may grow to 1000 px: exp() cannot overflow


def area(boxes: Array) -> Array:
    """The area of each box in square pixels; an inverted box counts 0.

    boxes (R, 4) -> (R,)
    """
    return np.clip(_sizes(check_boxes("boxes", boxes)), 0, None).prod(axis=1)


def clip(boxes: Array, height: float, width: float) -> Array:
    """Cut boxes off at the borders of an image of `height` and `width` pixels.

    boxes (..., 4) -> (..., 4) with 0 <= x <= width and 0 <= y <= height
    """
    boxes = as_float("boxes", boxes)
    clipped = np.empty_like(boxes)
    clipped[..., 0::2] = np.clip(boxes[..., 0::2], 0, width)
    clipped[..., 1::2] = np.clip(boxes[..., 1::2], 0, height)
    return clipped


def encode(
    boxes: Array,
    anchors: Array,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
) -> Array:
    """The deltas a network must predict at `anchors` to mean `boxes`: the inverse of `decode`.

    Shifts of the center in units of the anchor's size, and the logarithms of the growth of its
    width and height, each times its weight (R-CNN, appendix C).

    boxes (R, 4), anchors (R, 4) of positive size -> (R, 4) dx, dy, dw, dh
    """
    boxes, anchors = check_boxes("boxes", boxes), check_boxes("anchors", anchors)
    sizes, anchor_sizes = _sizes(boxes), _sizes(anchors)
    centers = boxes[:, :2] + 0.5 * sizes
    anchor_centers = anchors[:, :2] + 0.5 * anchor_sizes
    dx_dy = (centers - anchor_centers) / anchor_sizes
    dw_dh = np.log(sizes / anchor_sizes)
    return np.concatenate([dx_dy, dw_dh], axis=1) * constant(weights, boxes)


def decode(
    deltas: Array,
    anchors: Array,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    clamp: str = "upper",
) -> Array:
    """The boxes that a network means: each anchor moved and stretched by its deltas.

    Args:
        deltas: (R, 4) dx, dy, dw, dh, each times its weight.
        anchors: (R, 4) boxes.
        weights: the four factors `encode` was given.
        clamp: limits of dw and dh, the logarithms of growth: "upper" (at most ln(1000 / 16)),
            "both" (also at least its negative) or "none".

    Returns:
        (R, 4) boxes.

    Raises:
        ValueError: another shape, or an unknown `clamp`.
        TypeError: deltas or anchors that hold no real numbers.
    """
    if clamp not in ("upper", "both", "none"):
        raise ValueError(f"clamp: expected 'upper', 'both' or 'none', got {clamp!r}")
    anchors, deltas = check_boxes("anchors", anchors), check_boxes("deltas", deltas)
    anchor_sizes = _sizes(anchors)
    anchor_centers = anchors[:, :2] + 0.5 * anchor_sizes
    deltas = deltas / constant(weights, deltas)
    dw_dh = deltas[:, 2:]
    if clamp != "none":
        dw_dh = np.clip(dw_dh, -MAX_DW_DH if clamp == "both" else None, MAX_DW_DH)
    centers = anchor_centers + deltas[:, :2] * anchor_sizes
    half_sizes = 0.5 * np.exp(dw_dh) * anchor_sizes
    return np.concatenate([centers - half_sizes, centers + half_sizes], axis=1)


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
    sizes = _sizes(check_boxes("boxes", boxes))
    return (sizes >= min_size if min_size > 0 else sizes > 0).all(axis=1)


def scale(boxes: Array, y_factor: float, x_factor: float) -> Array:
    """Boxes of an image after the image is resized by these factors.

    boxes (R, 4) -> (R, 4)
    """
    boxes = as_float("boxes", boxes)
    return boxes * constant((x_factor, y_factor, x_factor, y_factor), boxes)


def xywh_to_xyxy(boxes: Array) -> Array:
    """From corner and size, as COCO files have it, to two corners.

    boxes (R, 4) x, y, width, height -> (R, 4) x0, y0, x1, y1
    """
    boxes = check_boxes("boxes", boxes)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_xywh(boxes: Array) -> Array:
    """From two corners to corner and size, as COCO files have it.

    boxes (R, 4) x0, y0, x1, y1 -> (R, 4) x, y, width, height
    """
    boxes = check_boxes("boxes", boxes)
    return np.concatenate([boxes[:, :2], _sizes(boxes)], axis=1)


def _sizes(boxes: Array) -> Array:
    """Width and height of each box: (R, 4) -> (R, 2)."""
    return boxes[:, 2:] - boxes[:, :2]
