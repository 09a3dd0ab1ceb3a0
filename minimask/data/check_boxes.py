"""What can be wrong with an annotation's box, and what its writer probably meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from minimask.data.segmentation import is_number

SLACK = 1.0  # pixels; rounding moves edges by less
SAME = 0.9  # IoU above which two boxes mean the same object
LOOSE = 0.8  # IoU that boxes drawn by hand reach
OTHER = 0.5  # IoU below which they do not


def box_problems(
    annotation: dict[str, Any],
    tight: np.ndarray | None,
    height: int,
    width: int,
    wanted: bool = True,
) -> Iterator[tuple[Literal["error", "warning"], str, str]]:
    """What is wrong with `bbox`, and with polygons that leave the image.

    Args:
        annotation: from the JSON file.
        tight: (4,) x0 y0 x1 y1 of the mask, None without one.
        height: of the image.
        width: the same.
        wanted: whether files of this format have boxes beside masks.

    Yields:
        Severity, JSON path inside the annotation with the problem, and what to do.
    """
    yield from _polygons_outside(annotation.get("segmentation"), tight, height, width)
    box = annotation.get("bbox")
    if box is None:
        if wanted:
            yield "warning", ".bbox: missing", "nothing, the mask's tight box is used; or add it"
        return
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        message = f".bbox: expected [x, y, width, height], got {str(box)[:60]}"
        yield "error", message, "write four numbers, or leave bbox out"
        return
    x, y, box_width, box_height = box
    corners = np.array([x, y, x + box_width, y + box_height], float)
    outside = (corners[:2] < -SLACK).any() or (corners[2:] > (width + SLACK, height + SLACK)).any()
    shared = 1.0 if tight is None else _iou(corners, tight)
    disagrees = shared < OTHER
    if (outside or shared < LOOSE) and _meant_corners(box, tight, height, width):
        message = f".bbox: {box} looks like x0, y0, x1, y1"
        fix = [x, y, box_width - x, box_height - y]
        yield "error", message, f"COCO wants x, y, width, height: here {fix}"
    elif disagrees and max(box) <= 1:
        message = f".bbox: {box} looks like shares of the image's size"
        yield "error", message, "COCO wants pixels: multiply by the image's width and height"
    elif box_width <= 0 or box_height <= 0:
        message = f".bbox: {box} has no area"
        yield "error", message, "COCO wants x, y, width, height, both sizes above 0"
    elif outside:
        message = f".bbox: {box} leaves the image of {width} x {height} pixels"
        yield "error", message, "correct the box (x, y, width, height), or the image's size"
    elif disagrees and tight is not None:
        x0, y0, x1, y1 = tight.tolist()
        message = f".bbox: {box} is not around the mask, whose is {[x0, y0, x1 - x0, y1 - y0]}"
        yield "warning", message, "find out which is right; training uses the mask's"


def _meant_corners(box: list[float], tight: np.ndarray | None, height: int, width: int) -> bool:
    """Whether the four numbers make sense as two corners."""
    x0, y0, x1, y1 = box
    if not (x0 < x1 <= width + SLACK and y0 < y1 <= height + SLACK):
        return False
    return tight is None or _iou(np.array(box, float), tight) > SAME


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Share of two boxes, grown by the slack, that they have in common."""
    grow = np.array([-1, -1, 1, 1]) * SLACK / 2  # else boxes of one pixel never agree
    a, b = a + grow, b + grow
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    areas = [np.clip(box[2:] - box[:2], 0, None).prod() for box in (a, b)]
    return float(overlap / max(sum(areas) - overlap, 1e-9))


def _polygons_outside(
    segmentation: Any, tight: np.ndarray | None, height: int, width: int
) -> Iterator[tuple[Literal["warning"], str, str]]:
    if tight is None or not isinstance(segmentation, list):
        return
    for i, polygon in enumerate(segmentation):
        points = np.array(polygon, float).reshape(-1, 2)
        low, high = points.min(axis=0), points.max(axis=0)
        if (low < -SLACK).any() or (high > (width + SLACK, height + SLACK)).any():
            message = (
                f".segmentation[{i}]: from {low.tolist()} to {high.tolist()}, "
                f"outside the image of {width} x {height} pixels"
            )
            yield "warning", message, "nothing, if it is an object cut off by the border"
