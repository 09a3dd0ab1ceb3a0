"""The spellings of COCO's values that annotation tools really write, each with one meaning.

Every function gives the value in the official spelling, or `UNCLEAR` where the meaning is not
plain; nothing is guessed.
"""

from __future__ import annotations

import math
from typing import Any

from minimask.data.segmentation import is_number


class _Unclear:
    def __repr__(self) -> str:
        return "UNCLEAR"


UNCLEAR = _Unclear()
LARGEST = 100_000  # pixels a side; more is a mistake, and masks of it would fill the memory


def entries(section: Any) -> list[Any] | None:
    """The entries of a section: a list, or an object whose keys are the ids; None: neither."""
    if isinstance(section, dict):
        return [
            {"id": whole(key), **entry} if isinstance(entry, dict) and "id" not in entry else entry
            for key, entry in section.items()
        ]
    return section if isinstance(section, list) else None


def whole(value: Any) -> Any:
    """A whole number that is written as text or with a decimal point; others stay as they are."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 40 else value
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def identity(value: Any) -> int | str | _Unclear:
    """An id: a whole number, or text."""
    if isinstance(value, float):
        value = whole(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        return UNCLEAR
    return value


def same_id(value: int | str) -> str:
    """What ids have in common that mean the same: 7, "7" and " 07"."""
    return str(whole(value))


def pixels(value: Any) -> int | _Unclear:
    """A length in pixels."""
    value = whole(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        return UNCLEAR
    return value


def number(value: Any) -> float | _Unclear:
    """A finite number, perhaps written as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return UNCLEAR
    return value if is_number(value) else UNCLEAR


def flag(value: Any) -> int | _Unclear:
    """0 or 1, perhaps written as true, "1" or 1.0; nothing is 0."""
    if value is None or value == "":
        return 0
    value = {"true": 1, "false": 0}.get(value.strip().lower(), value) if _text(value) else value
    value = whole(value)
    return int(value) if isinstance(value, int) and value in (0, 1) else UNCLEAR


def box(value: Any) -> list[float] | _Unclear | None:
    """x, y, width, height, perhaps by name or as text; None: there is none."""
    if value is None or value == [] or value == "":
        return None
    if isinstance(value, dict):
        value = [value.get(k[0], value.get(k[-1])) for k in _BOX_KEYS]
    if not isinstance(value, list) or len(value) != 4:
        return UNCLEAR
    if all(map(is_number, value)):
        return value
    numbers = [number(v) for v in value]
    return UNCLEAR if UNCLEAR in numbers else numbers  # type: ignore[return-value]


_BOX_KEYS = (("x", "left"), ("y", "top"), ("width", "w"), ("height", "h"))


def segmentation(value: Any) -> list[list[float]] | dict[str, Any] | Any | None:
    """Polygons or run lengths; None: no mask.  What is unclear stays as it is, to be named.

    Read as one polygon: a flat list of numbers; a list of points, as pairs or as objects with x
    and y.  Read as polygons: a list of those.  Numbers may be text.  Empty polygons, and polygons
    of one or two points beside others, hold no pixel and are dropped.
    """
    if value is None or value == "" or value == {}:
        return None
    if isinstance(value, dict):
        return _run_lengths(value)
    if not isinstance(value, list):
        return value
    if len(value) == 1 and isinstance(value[0], dict) and "counts" in value[0]:
        return _run_lengths(value[0])
    if _is_polygon(value):
        return [_flat(value)]
    polygons = [_flat(polygon) for polygon in value if polygon != []]
    if not polygons:
        return None
    several = [p for p in polygons if not isinstance(p, list) or len(p) > 4 or len(p) % 2]
    return several or polygons


def _is_polygon(value: list[Any]) -> bool:
    """Whether the list itself is a polygon: numbers, or at least three points."""
    if all(not isinstance(v, list | dict) for v in value):
        return bool(value)
    return len(value) >= 3 and all(_is_point(v) for v in value)


def _is_point(value: Any) -> bool:
    if isinstance(value, dict):
        return {"x", "y"} <= value.keys()
    return isinstance(value, list) and len(value) == 2 and not isinstance(value[0], list | dict)


def _flat(polygon: Any) -> Any:
    """x0, y0, x1, y1, ... of one polygon; what is none stays as it is."""
    if not isinstance(polygon, list):
        return polygon
    while len(polygon) == 1 and isinstance(polygon[0], list):  # nested once more
        polygon = polygon[0]
    if polygon and all(map(_is_point, polygon)):
        points = [(p["x"], p["y"]) if isinstance(p, dict) else p for p in polygon]
        polygon = [value for point in points for value in point]
    if any(map(_text, polygon)):
        numbers = [number(v) for v in polygon]
        return polygon if UNCLEAR in numbers else numbers
    return polygon


def _run_lengths(runs: dict[str, Any]) -> dict[str, Any]:
    """Run lengths with whole numbers as such."""
    size, counts = runs.get("size"), runs.get("counts")
    if isinstance(size, list):
        size = [whole(v) for v in size]
    if isinstance(counts, list) and not all(type(v) is int for v in counts):
        counts = [whole(v) for v in counts]
    return {"size": size, "counts": counts} if {"size", "counts"} <= runs.keys() else runs


def _text(value: Any) -> bool:
    return isinstance(value, str)
