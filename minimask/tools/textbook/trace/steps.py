"""What a trace shows of one step: its names, formula, code, arrays, numbers and pictures.

Letters: H W height and width of a picture in pixels.
"""

from __future__ import annotations

import functools
import inspect
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

import minimask
from minimask.tools.textbook.page import render

ROOT = pathlib.Path(minimask.__file__).resolve().parent.parent


@dataclass(frozen=True)
class ArrayFacts:
    """What can be said of an array in a line; the values count finite elements only."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    mean: float
    high: float
    deviation: float
    zeros: float  # share of the elements
    not_finite: float  # share of the elements

    @classmethod
    def of(cls, name: str, array: np.ndarray) -> ArrayFacts:
        """The facts of an array; an empty one has NaN for values."""
        shape, dtype = tuple(array.shape), str(array.dtype)
        if array.size == 0:
            return cls(name, shape, dtype, np.nan, np.nan, np.nan, np.nan, 0.0, 0.0)
        finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        missing = 1 - finite.size / array.size
        zeros = 1 - np.count_nonzero(array) / array.size
        if finite.size == 0:
            return cls(name, shape, dtype, np.nan, np.nan, np.nan, np.nan, zeros, missing)
        low, high = float(finite.min()), float(finite.max())
        mean, deviation = (float(f(finite, dtype=np.float64)) for f in (np.mean, np.std))
        return cls(name, shape, dtype, low, mean, high, deviation, zeros, missing)

    def row(self) -> list[str]:
        """Minimum, mean, maximum and deviation for a table."""
        values = (self.low, self.mean, self.high, self.deviation)
        return [f"{value:.3g}" for value in values]


@dataclass(frozen=True)
class Code:
    """Where a function stands, and its lines."""

    name: str
    file: str  # from the repository's root
    line: int
    text: str

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Code:
        """The source of a function or method, without the decorators around it."""
        inner = inspect.unwrap(function)
        lines, first = inspect.getsourcelines(inner)
        path = pathlib.Path(inspect.getsourcefile(inner) or "").resolve()
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else pathlib.Path(path.name)
        return cls(
            inner.__qualname__, name.as_posix(), first, inspect.cleandoc("\n" + "".join(lines))
        )


@dataclass(frozen=True)
class Picture:
    """A picture with its caption: an encoded image, or a drawing in SVG that follows the theme."""

    caption: str
    source: str  # a data: address, or the SVG itself
    width: int  # pixels
    height: int
    shown: int  # pixels of width that a page gives it at first
    drawing: bool = False  # an SVG


@dataclass(frozen=True)
class Table:
    """Rows under a header; `folded` ones open when asked for."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    folded: bool = False


def no_pictures() -> list[Picture]:
    """For steps without pictures."""
    return []


@dataclass(frozen=True)
class Step:
    """One step of a trace.

    Attributes:
        key: its name in addresses, e.g. "rpn-proposals".
        part: the part of the figure it belongs to.
        title: what happens.
        words: what the textbook's texts call it.
        paper: where it is defined.
        text: what to look at, a paragraph each.
        formula: in plain letters, a line each.
        functions: that compute it.
        arrays: that it makes, by their names in the trace.
        facts: what was counted or chosen: name and value.
        tables: longer lists.
        seconds: that it took; None where it was not measured by itself.
        draw: makes the pictures, when they are first asked for.
    """

    key: str
    part: str
    title: str
    words: tuple[str, ...]
    paper: str
    text: tuple[str, ...]
    formula: tuple[str, ...] = ()
    functions: tuple[Callable[..., Any], ...] = ()
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    seconds: float | None = None
    draw: Callable[[], list[Picture]] = no_pictures

    @functools.cached_property
    def pictures(self) -> list[Picture]:
        """Drawn once; what is not finite is drawn as well as it can be."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.draw()

    @functools.cached_property
    def code(self) -> list[Code]:
        """The functions with their lines."""
        return [Code.of(function) for function in self.functions]

    @functools.cached_property
    def statistics(self) -> list[ArrayFacts]:
        """A line for each array."""
        return [ArrayFacts.of(name, array) for name, array in self.arrays.items()]

    @property
    def nbytes(self) -> int:
        """Memory of the arrays it makes."""
        return sum(array.nbytes for array in self.arrays.values())

    def __repr__(self) -> str:
        return f"Step({self.key!r}: {self.title}, {len(self.arrays)} arrays)"

    def _repr_html_(self) -> str:
        names = {"step": self, "number": number, "share": share}
        return render("trace/notebook_step.html.j2", names)


def parts_of(steps: Sequence[Step]) -> list[tuple[str, list[Step]]]:
    """The steps by parts of the figure, in order."""
    return [(part, list(group)) for part, group in groupby(steps, key=lambda step: step.part)]


def number(value: float) -> str:
    """A value of an array, readable; a dash where there is none."""
    return "–" if np.isnan(value) else f"{value:.4g}"


def share(value: float) -> str:
    """A share as percent; exactly none is a dash."""
    return "–" if value == 0 else f"{value:.1%}"
