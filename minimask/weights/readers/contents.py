"""What every reader gives back and respects: the contents, the refusal, and the limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LARGEST_DIMENSION = 2**63 - 1
MOST_DIMENSIONS = 64
LONGEST_NAME = 300  # characters; the longest of a published network has 90
MOST_ARRAYS = 50_000
SLACK = 16 << 20  # bytes that arrays may have beyond the file's, where several share numbers


class UnsafeFileError(ValueError):
    """The file asks for something that no file of weights needs."""


@dataclass(frozen=True)
class FileContents:
    """What is in a file of weights.

    Attributes:
        kind: of the container: "safetensors", "npz", "torch", "torch (old layout)", "pickle" or
            "hdf5".
        arrays: by the names that the file gives them.
        config: the `model.config` that minimask wrote beside its weights; None: it did not.
        remarks: sentences about what was left out.
        about: what a training program wrote beside the weights, as plain text and numbers.
    """

    kind: str
    arrays: dict[str, np.ndarray]
    config: dict[str, Any] | None = None
    remarks: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def short(text: object, longest: int = 80) -> str:
    """Text of a file for a message: one printable line, cut where it is long.

    Only strings and numbers are shown; of anything else its type, as it may be nested deeply.
    """
    if isinstance(text, int) and not -(2**63) <= text < 2**63:
        return "a huge number"  # writing it out takes long
    words = str(text) if isinstance(text, str | int | float) else type(text).__name__
    words = words[: longest + 1]
    words = "".join(c if c.isprintable() else "?" for c in words)
    return words if len(words) <= longest else words[: longest - 3] + "..."


def listed(names: Iterable[object], most: int = 5) -> str:
    """Names for a message, the first few of them."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(short(name) for name in names[:most]) + more


def checked_shape(shape: object) -> tuple[int, ...]:
    """A shape as a file gives it, once it is known to be one.

    Raises:
        UnsafeFileError: something else than at most 64 numbers from 0 to 2^63 - 1.
    """
    if not isinstance(shape, tuple | list) or len(shape) > MOST_DIMENSIONS:
        raise UnsafeFileError(f"an array whose shape has more than {MOST_DIMENSIONS} dimensions")
    for n in shape:
        if type(n) is not int or not 0 <= n <= LARGEST_DIMENSION:
            raise UnsafeFileError(f"an array with a dimension of {short(n)!r}")
    return tuple(shape)


def count_of(shape: tuple[int, ...]) -> int:
    """The numbers in an array of a checked shape."""
    return math.prod(shape)


def check_total(sizes: Iterable[int], available: int) -> None:
    """Refuse arrays that together are larger than the file that they are said to be in.

    Args:
        sizes: of the arrays, bytes as in the file.
        available: the file's bytes.

    Raises:
        UnsafeFileError: many arrays share the same numbers.
    """
    total = sum(sizes)
    if total > available + SLACK:
        raise UnsafeFileError(
            f"arrays of {total} bytes together in a file of {available}: many names share the "
            "same numbers, which no network does"
        )


def check_names(arrays: Iterable[str]) -> None:
    """Refuse names that no network has.

    Raises:
        UnsafeFileError: too many, too long, or with characters that a terminal would obey.
    """
    names = list(arrays)
    if len(names) > MOST_ARRAYS:
        raise UnsafeFileError(f"{len(names)} arrays; the largest networks have a few thousand")
    for name in names:
        if len(name) > LONGEST_NAME:
            raise UnsafeFileError(f"a name of {len(name)} characters: {short(name)!r}")
        if not name.isprintable():
            raise UnsafeFileError(f"a name with control characters: {short(name)!r}")
