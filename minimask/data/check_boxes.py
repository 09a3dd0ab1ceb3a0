"""What can be wrong with an annotation's box, and what its writer probably meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from minimask.data.segmentation import is_number

Box = tuple[float, float, float, float]  # x0, y0, x1, y1
SLACK = 1.0  # pixels; rounding moves edges by less
SAME = 0.9  # IoU above which two boxes mean the same object
LOOSE = 0.8  # IoU that boxes drawn by hand reach
OTHER = 0.5  # IoU below which they do not


def box_problems(
    annotation: dict[str, Any],
    tight: Box | None,
    height: int,
    width: int,
    boxes_expected: bool = True,
) -> Iterator[tuple[Literal["error", "warning"], str, str]]:
    """What is wrong with `bbox`, and with polygons that leave the image.

    Args:
        annotation: from the JSON file.
        tight: (4,) x0 y0 x1 y1 of the mask, None without one.
        height: of the image.
        width: the same.
        boxes_expected: whether files of this format have boxes beside masks.

    Yields:
        Severity, JSON path inside the annotation with the problem, and what to do.
    """
    yield from _polygons_outside(annotation.get("segmentation"), tight, height, width)
    box = annotation.get("bbox")
    if box is None:
        if boxes_expected:
            yield "warning", ".bbox: missing", "nothing, the mask's tight box is used; or add it"
        return
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        message = f".bbox: expected [x, y, width, height], got {str(box)[:60]}"
        yield "error", message, "write four numbers, or leave bbox out"
        return
    x, y, box_width, box_height = box
    corners = (x, y, x + box_width, y + box_height)
    outside = min(x, y) < -SLACK or corners[2] > width + SLACK or corners[3] > height + SLACK
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
        x0, y0, x1, y1 = tight
        message = f".bbox: {box} is not around the mask, whose is {[x0, y0, x1 - x0, y1 - y0]}"
        yield "warning", message, "find out which is right; training uses the mask's"


def _meant_corners(box: list[float], tight: Box | None, height: int, width: int) -> bool:
    """Whether the four numbers make sense as two corners."""
    x0, y0, x1, y1 = box
    if not (x0 < x1 <= width + SLACK and y0 < y1 <= height + SLACK):
        return False
    return tight is None or _iou((x0, y0, x1, y1), tight) > SAME


def _iou(a: Box, b: Box) -> float:
    """Share of two boxes, grown by the slack, that they have in common."""
    width, height = (
        max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k]) + SLACK)  # else of one pixel: never
        for k in (0, 1)
    )
    overlap = width * height
    areas = [max(0.0, c[2] - c[0] + SLACK) * max(0.0, c[3] - c[1] + SLACK) for c in (a, b)]
    return overlap / max(sum(areas) - overlap, 1e-9)


def _polygons_outside(
    segmentation: Any, tight: Box | None, height: int, width: int
) -> Iterator[tuple[Literal["warning"], str, str]]:
    if tight is None or not isinstance(segmentation, list):
        return
    for i, polygon in enumerate(segmentation):
        x, y = polygon[0::2], polygon[1::2]
        low, high = (min(x), min(y)), (max(x), max(y))
        if min(low) < -SLACK or high[0] > width + SLACK or high[1] > height + SLACK:
            message = (
                f".segmentation[{i}]: from {list(low)} to {list(high)}, "
                f"outside the image of {width} x {height} pixels"
            )
            yield "warning", message, "nothing, if it is an object cut off by the border"
