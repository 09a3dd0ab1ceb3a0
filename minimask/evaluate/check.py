"""Detections from files or from Python, checked before they are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minimask.data.formats.coco_spelling import LARGEST
from minimask.data.keypoint_values import plain_keypoints
from minimask.data.packed_masks import sound_masks
from minimask.data.segmentation import segmentation_problem
from minimask.data.spellings import (
    is_nothing,
    plain_box,
    plain_id,
    plain_number,
    plain_segmentation,
    shown,
)
from minimask.data.truth import box_problem

Size = tuple[int, int]  # height, width
NEEDED = ("image_id", "category_id", "score")
ANY_SIZE = (2**15, 2**16)  # of an image that is not known


def check_results(
    results: Any,
    name: str = "",
    size_of: Callable[[Any], Size | None] | None = None,
    keypoints: int | None = None,
) -> list[dict[str, Any]]:
    """Detections whose values are all sound, in COCO's way; the input stays as it is.

    NumPy numbers and arrays, run lengths as bytes and polygons as one flat list are read.  A
    mask in run lengths may have another size than its image: it fits nothing then.

    Args:
        results: a list of COCO result dictionaries.
        name: where they come from, for messages: the file.
        size_of: gives height and width of the image of an id, None for one that is unknown.
        keypoints: how many the ground truth's objects have; None: any number, the same for all.

    Returns:
        For each of them image_id, category_id, score, and where there are such, `bbox` (four
        floats, x y width height in pixels), `segmentation` (checked polygons or run lengths) and
        `keypoints` (3 numbers for each).

    Raises:
        ValueError: it names the entry, such as `results[3].bbox`, and says what is wrong.
    """
    before = f"{name}: " if name else ""
    if not isinstance(results, list | tuple):
        raise ValueError(
            f"{before}results: expected a list of COCO result dictionaries, "
            f"got {type(results).__name__}"
        )
    clean, truth = [], keypoints is not None
    for i, (result, sound) in enumerate(zip(results, sound_masks(results), strict=True)):
        try:
            entry = _checked(result, sound, size_of)
            clean.append(entry)
            if "keypoints" in entry:
                count = len(entry["keypoints"]) // 3
                if keypoints not in (None, count):
                    whose = "the ground truth's objects have" if truth else "those before have"
                    raise _Wrong(f".keypoints: {count} keypoints, but {whose} {keypoints}")
                keypoints = count
        except _Wrong as wrong:
            raise ValueError(f"{before}results[{i}]{wrong}") from None
    return clean


class _Wrong(Exception):
    """What follows the place of an entry."""


def _checked(
    result: Any, sound_mask: bool, size_of: Callable[[Any], Size | None] | None
) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise _Wrong(f": expected a dictionary, got {type(result).__name__}")
    missing = [key for key in NEEDED if key not in result]
    if missing:
        raise _Wrong(f": has no {missing}; it has {sorted(map(str, result))[:8]}")
    clean: dict[str, Any] = {}
    for key in ("image_id", "category_id"):
        clean[key] = plain_id(result[key])
        if clean[key] is None:
            raise _Wrong(f".{key}: expected a whole number or text, got {shown(result[key])}")
    score = None if isinstance(result["score"], str) else plain_number(result["score"])
    if score is None:
        raise _Wrong(f".score: expected a number, got {shown(result['score'])}")
    clean["score"] = float(score)
    size = (size_of(clean["image_id"]) if size_of else None) or ANY_SIZE
    box, mask = result.get("bbox"), result.get("segmentation")
    if not is_nothing(box):
        numbers = plain_box(box)
        problem = box_problem(numbers, *ANY_SIZE)
        if problem:
            raise _Wrong(f".bbox: {problem}, got {shown(box)}")
        clean["bbox"] = numbers
    if not is_nothing(mask):
        clean["segmentation"] = mask if sound_mask else _mask(mask, *size)
    if clean.get("segmentation") is None:
        clean.pop("segmentation", None)
        if "bbox" not in clean and is_nothing(result.get("keypoints")):
            raise _Wrong(": has neither `bbox` nor `segmentation` nor `keypoints`")
    if not is_nothing(result.get("keypoints")):
        clean["keypoints"] = _keypoints(result["keypoints"])
    return clean


def _keypoints(value: Any) -> list[float]:
    """x, y and a third number, which is not looked at, of each keypoint."""
    flat = plain_keypoints(value)
    if flat is None:
        raise _Wrong(
            f".keypoints: expected a list of finite numbers, x, y and score of each keypoint, got "
            f"{shown(value)}"
        )
    if len(flat) % 3:
        raise _Wrong(f".keypoints: {len(flat)} numbers; expected three for each keypoint")
    return flat


def _mask(mask: Any, height: int, width: int) -> Any:
    """The segmentation in COCO's way; None where nothing is drawn."""
    if not isinstance(mask, dict) and segmentation_problem(mask, height, width) is None:
        return mask
    plain = plain_segmentation(mask)
    if plain is None:
        return None
    if isinstance(plain, dict):
        size = plain.get("size")
        if not isinstance(size, list) or len(size) != 2 or not all(map(_is_side, size)):
            raise _Wrong(f".segmentation.size: expected [height, width], got {shown(size)}")
        height, width = size
    problem = segmentation_problem(plain, height, width)
    if problem:
        raise _Wrong(f".segmentation{problem}")
    return plain


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST
