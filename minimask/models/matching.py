"""Which ground-truth object, if any, an anchor or a proposal stands for.

Letters: G ground-truth objects, B boxes to be judged.
"""

from __future__ import annotations

import numpy as np

from minimask.autograd.arrays import Array, array_module
from minimask.kernels.box_iou import best_overlaps, box_iou
from minimask.kernels.dispatch import emulating
from minimask.system.device import on_gpu

BACKGROUND = -1
IGNORED = -2


def match(
    iou: Array,
    foreground: float,
    background: float,
    *,
    best_iou_min: float | None = None,
) -> Array:
    """The object each box stands for, by overlap.

    That is the one it overlaps most, if by `foreground` at least; below `background` there is
    none, and in between the box is ignored.

    Args:
        iou: (G, B).
        foreground: the lower bound of a match.
        background: the upper bound of background, at most `foreground`.
        best_iou_min: if given, the box (or, in a tie, the boxes) closest to each object is a match
            whatever the bounds say, provided its IoU is positive and at least this. It then stands
            for the object *it* overlaps most (Faster R-CNN, section 3.1.2, rule i).

    Returns:
        (B,) int64: 0 .. G - 1, or BACKGROUND, or IGNORED.
    """
    _check_bounds(foreground, background)
    objects, boxes = iou.shape
    if objects == 0:
        return array_module(iou).full(boxes, BACKGROUND, np.int64)
    nearest, overlap = iou.argmax(axis=0), iou.max(axis=0)
    chosen = None
    if best_iou_min is not None and boxes:
        best = iou.max(axis=1, keepdims=True)
        # an object nothing overlaps has IoU 0 with every box: none of them is its match
        chosen = ((iou == best) & (best >= best_iou_min) & (best > 0)).any(axis=0)
    return _decide(nearest, overlap, chosen, foreground, background)


def match_boxes(
    objects: Array,
    boxes: Array,
    foreground: float,
    background: float,
    *,
    best_iou_min: float | None = None,
) -> Array:
    """`match` of all overlaps of `boxes` with `objects`; on the CPU these are never stored.

    Args:
        objects: (G, 4), x0 y0 x1 y1.
        boxes: (B, 4), likewise, on the same device.
        foreground: as in `match`.
        background: as in `match`.
        best_iou_min: as in `match`.

    Returns:
        (B,) int64 where the boxes are, bit for bit as `match(box_iou(objects, boxes), ...)`.
    """
    if on_gpu(boxes) or emulating():
        iou = box_iou(objects, boxes)
        return match(iou, foreground, background, best_iou_min=best_iou_min)
    _check_bounds(foreground, background)
    if len(objects) == 0:
        return np.full(len(boxes), BACKGROUND, np.int64)
    nearest, overlap, closest = best_overlaps(objects, boxes)
    chosen = None
    if best_iou_min is not None:
        chosen = (closest >= best_iou_min) & (closest > 0)
    return _decide(nearest, overlap, chosen, foreground, background)


def _check_bounds(foreground: float, background: float) -> None:
    if background > foreground:
        raise ValueError(
            f"background bound {background} is above the foreground bound {foreground}"
        )


def _decide(
    nearest: Array, overlap: Array, chosen: Array | None, foreground: float, background: float
) -> Array:
    """(B,) int64 from the nearest object of each box, their IoU, and which boxes objects chose."""
    matches = np.where(
        overlap >= foreground, nearest, np.where(overlap < background, BACKGROUND, IGNORED)
    )
    if chosen is not None:
        matches = np.where(chosen, nearest, matches)
    return matches.astype(np.int64, copy=False)
