"""COCO's three ways to write a mask, checked before C code sees them.

Polygons: `[[x0, y0, x1, y1, ...], ...]`, their union.  Run lengths: `{"size": [H, W], "counts":
...}` down the columns, first the zeros; counts as a list of numbers or packed in a string.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

MOST_PIXELS = 2**32  # pycocotools counts in 32 bits
FAR = 10  # polygons may reach this many image sizes outside; more is a mistake


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number of a size that coordinates can have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def segmentation_problem(segmentation: Any, height: int, width: int) -> str | None:
    """What is wrong with a segmentation, or None.

    Args:
        segmentation: the value from the JSON file.
        height: of the image it belongs to.
        width: the same.

    Returns:
        A phrase that follows the JSON path of the segmentation: "[2]: 4 numbers, ...".
    """
    if height * width >= MOST_PIXELS:
        return f": an image of {width} x {height} pixels is larger than run lengths can count"
    if isinstance(segmentation, list):
        return _polygons_problem(segmentation, height, width)
    if isinstance(segmentation, dict):
        return _run_length_problem(segmentation, height, width)
    return f": expected polygons or run lengths, got {_kind(segmentation)}"


def decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The mask that a checked segmentation describes.

    Args:
        segmentation: polygons or run lengths without `segmentation_problem`.
        height: of the image.
        width: the same.

    Returns:
        (height, width) bool.
    """
    counts = to_run_lengths(segmentation, height, width)["counts"]
    runs = unpack_counts(counts.decode("ascii") if isinstance(counts, bytes) else counts)
    assert runs is not None, "checked before"
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return columns.reshape(width, height).T


def to_run_lengths(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Compressed run lengths of a checked segmentation, as pycocotools wants them."""
    from pycocotools import mask as rle

    if isinstance(segmentation, list):
        parts = rle.frPyObjects(segmentation, height, width)
        return parts[0] if len(parts) == 1 else rle.merge(parts)
    runs = {"size": [height, width], "counts": segmentation["counts"]}
    return rle.frPyObjects(runs, height, width) if isinstance(runs["counts"], list) else runs


def rectangle(box: list[float]) -> list[float]:
    """A box x, y, width, height as a polygon."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def tight_box(segmentation: Any, height: int, width: int) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 around the pixels of a checked segmentation; without any, x0 is x1."""
    from pycocotools import mask as rle

    runs = to_run_lengths(segmentation, height, width)
    x, y, box_width, box_height = rle.toBbox(runs).tolist()
    return x, y, x + box_width, y + box_height


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]}"


def _are_numbers(values: list[Any]) -> bool:
    """Whether `is_number` holds of all; a hundred thousand polygons pass here before training."""
    if not set(map(type, values)) <= {int, float}:
        return all(map(is_number, values))
    try:
        return math.isfinite(sum(values)) and (not values or max(map(abs, values)) < 1e9)
    except OverflowError:
        return False


def _polygons_problem(polygons: list[Any], height: int, width: int) -> str | None:
    if not polygons:
        return ": no polygons, so no mask; remove the annotation or draw it"
    if isinstance(polygons[0], int | float):
        return ": one flat list of numbers; expected a list of polygons, [[x0, y0, x1, y1, ...]]"
    for i, polygon in enumerate(polygons):
        if not isinstance(polygon, list) or not _are_numbers(polygon):
            return f"[{i}]: expected a list of finite numbers, got {_kind(polygon)}"
        if len(polygon) < 6 or len(polygon) % 2:
            return (
                f"[{i}]: {len(polygon)} numbers; a polygon needs x and y of at least 3 points, "
                "so an even count of 6 or more"
            )
        for axis, size in ((0, width), (1, height)):
            low, high = min(polygon[axis::2]), max(polygon[axis::2])
            if low < -FAR * size or high > (FAR + 1) * size:
                return (
                    f"[{i}]: {'xy'[axis]} from {low:g} to {high:g}, far outside the image "
                    f"of {width} x {height} pixels"
                )
    return None


def _run_length_problem(runs: dict[str, Any], height: int, width: int) -> str | None:
    size, counts = runs.get("size"), runs.get("counts")
    if size is None or counts is None:
        return f": run lengths need 'size' and 'counts', got {sorted(map(str, runs))}"
    if size != [height, width]:
        swapped = " (height and width swapped?)" if size == [width, height] else ""
        return (
            f".size: {size}, but the image is [{height}, {width}] (height, width){swapped}; "
            "the mask must be as large as its image"
        )
    if isinstance(counts, str):
        unpacked = unpack_counts(counts)
        if unpacked is None:
            return ".counts: not a string of COCO run lengths"
        if unpacked.min(initial=0) < 0:
            return ".counts: expected whole numbers, none negative"
        if unpacked.sum() != height * width:
            return f".counts: {unpacked.sum()} pixels in all, but the image has {height * width}"
        return None
    if not isinstance(counts, list):
        return f".counts: expected a list or a string, got {_kind(counts)}"
    if not all(isinstance(c, int) and not isinstance(c, bool) and c >= 0 for c in counts):
        return ".counts: expected whole numbers, none negative"
    if sum(counts) != height * width:
        return f".counts: {sum(counts)} pixels in all, but the image has {height * width}"
    return None


def unpack_counts(packed: str) -> np.ndarray | None:
    """The run lengths in COCO's string form, None where the string is cut off or not one.

    Each number is written 5 bits at a time, lowest first, as characters from "0" on; bit 32 says
    that more follow, bit 16 of the last is the sign, and from the fourth number on the
    difference to the one two before is stored.
    """
    try:
        codes = np.frombuffer(packed.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        return None
    if len(codes) == 0:
        return codes
    last = codes < 32
    if codes.min() < 0 or codes.max() > 63 or not last[-1]:
        return None
    ends = np.nonzero(last)[0]
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # more than 35 bits
        return None
    shift = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & 31) << shift, starts)
    values -= (codes[ends] & 16) // 16 << 5 * lengths
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return values
