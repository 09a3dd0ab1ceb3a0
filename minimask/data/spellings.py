"""Values of annotations whose meaning is plain although COCO writes them otherwise.

Numbers as text or from NumPy, ids of any kind, polygons as one flat list or as points.  Nothing
here guesses: what could mean two things stays as it is, and the checks refuse it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from minimask.data.segmentation import is_number

YES_NO = {"0": 0, "1": 1, "false": 0, "true": 1}
Id = int | str


class Ids:
    """Ids of images or categories, numbered 1, 2, ...; 7 and "7" are the same where one is there.

    Args:
        values: the ids, whole numbers of any size or text.
    """

    def __init__(self, values: Iterable[Id]) -> None:
        self.values = list(values)
        self._number = {value: i + 1 for i, value in enumerate(self.values)}
        self._by_text: dict[str, int] = {}
        for value, number in self._number.items():
            # 7 and "7" both there: neither may stand for the other
            taken = str(value) in self._by_text
            self._by_text[str(value)] = 0 if taken else number

    def has(self, value: Id) -> bool:
        """Whether the id is there as it is written."""
        return value in self._number

    def find(self, value: Id) -> int | None:
        """The number of an id, None where it is not there."""
        return self._number.get(value) or self._by_text.get(str(value)) or None


def plain_id(value: Any) -> Id | None:
    """A whole number or text that serves as an id; None for anything else."""
    if isinstance(value, str) or type(value) is int:
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def plain_number(value: Any) -> float | None:
    """A finite number of a size that coordinates can have, also as text or from NumPy."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if is_number(value) else None


def plain_count(value: Any) -> int | None:
    """A whole number, also as text, as 12.0 or from NumPy."""
    if type(value) is int:
        return value
    number = plain_number(value)
    return int(number) if number is not None and float(number).is_integer() else None


def plain_flag(value: Any) -> int | None:
    """0 or 1 from 0, 1, true, "1" or nothing; None for anything else."""
    if value is None or value is False:
        return 0
    if value is True:
        return 1
    if isinstance(value, str):
        return YES_NO.get(value.strip().lower())
    number = plain_number(value)
    return int(number) if number in (0, 1) else None


def plain_box(value: Any) -> list[float] | None:
    """Four finite numbers; None for anything else."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    if all(map(is_number, value)):
        return [float(v) for v in value]
    numbers = [plain_number(v) for v in value]
    return None if None in numbers else [float(v) for v in numbers if v is not None]


def is_nothing(value: Any) -> bool:
    """Whether a box or a segmentation is left empty: null, [], {}, "" or an empty array."""
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def plain_segmentation(value: Any) -> Any:
    """A segmentation as polygons or run lengths, if that is plainly what is meant.

    Args:
        value: from a JSON file or from Python.

    Returns:
        The same in COCO's way; None where nothing was drawn ([[]]); the value itself where it is
        something else, which `segmentation_problem` then says.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return _plain_runs(value)
    if not isinstance(value, list | tuple):
        return value
    parts = [p.tolist() if isinstance(p, np.ndarray) else p for p in value]
    parts = [part for part in parts if not is_nothing(part)]
    if not parts:
        return None
    if len(parts) == 1 and isinstance(parts[0], dict):
        return _plain_runs(parts[0])
    if not any(isinstance(part, list | tuple | dict) for part in parts):
        parts = [parts]  # one flat list
    elif len(parts) > 2 and all(map(_is_point, parts)):
        parts = [parts]  # one polygon of points
    return [_plain_polygon(part) for part in parts]


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and not any(isinstance(v, list | tuple) for v in value)
    )


def _plain_polygon(polygon: Any) -> Any:
    if not isinstance(polygon, list | tuple):
        return polygon
    if all(map(_is_point, polygon)):
        polygon = [v for point in polygon for v in point]
    numbers = [plain_number(v) for v in polygon]
    return list(polygon) if None in numbers else numbers


def _plain_runs(runs: dict[str, Any]) -> dict[str, Any]:
    size, counts = runs.get("size"), runs.get("counts")
    if isinstance(size, list | tuple | np.ndarray) and len(size) == 2:
        whole = [plain_count(v) for v in size]
        size = list(size) if None in whole else whole
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")  # any byte is a character; the check knows which may be
    elif isinstance(counts, list | tuple | np.ndarray):
        whole = [plain_count(v) for v in counts]
        counts = list(counts) if None in whole else whole
    return {**runs, "size": size, "counts": counts}


def shown(value: Any) -> str:
    """A value for a message, cut off where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = f"a number of {operator.index(value).bit_length()} bits"
    return text if len(text) <= 60 else text[:57] + "..."


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, arrays included."""
    try:
        return bool(a == b)
    except ValueError:  # arrays compare by element
        return repr(a) == repr(b)
