"""Values as Python programs have them, for checks of dictionaries: NumPy's, tuples, bytes.

What files write otherwise than COCO is read by `formats.coco_spelling`; here it is asked for a
value that may come from a program too, and None says that the meaning is not plain.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from minimask.data.formats import coco_spelling as spelling

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
            key = spelling.same_id(value)
            self._by_text[key] = 0 if key in self._by_text else number

    def has(self, value: Id) -> bool:
        """Whether the id is there as it is written."""
        return value in self._number

    def find(self, value: Id) -> int | None:
        """The number of an id, None where it is not there."""
        return self._number.get(value) or self._by_text.get(spelling.same_id(value)) or None


def from_numpy(value: Any) -> Any:
    """Lists and Python's numbers for arrays, tuples and NumPy's numbers; text for bytes."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))
        return list(value) if kinds <= {int, float, str} else [from_numpy(v) for v in value]
    if isinstance(value, dict):
        return {key: from_numpy(v) for key, v in value.items()}
    if isinstance(value, bytes):
        return value.decode("latin-1")  # any byte is a character; the check knows which may be
    return value


def _or_none(value: Any) -> Any:
    return None if value is spelling.UNCLEAR else value


def plain_id(value: Any) -> Id | None:
    """A whole number or text that serves as an id; None for anything else."""
    return _or_none(spelling.identity(from_numpy(value)))


def plain_number(value: Any) -> float | None:
    """A finite number of a size that coordinates can have, also as text or from NumPy."""
    return _or_none(spelling.number(from_numpy(value)))


def plain_pixels(value: Any) -> int | None:
    """A side of an image, also as text, as 12.0 or from NumPy."""
    return _or_none(spelling.pixels(from_numpy(value)))


def plain_flag(value: Any) -> int | None:
    """0 or 1 from 0, 1, true, "1" or nothing; None for anything else."""
    return _or_none(spelling.flag(from_numpy(value)))


def plain_box(value: Any) -> list[float] | None:
    """Four finite numbers; None for anything else."""
    box = _or_none(spelling.box(from_numpy(value)))
    return None if box is None else [float(v) for v in box]


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
    return spelling.segmentation(from_numpy(value))


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
