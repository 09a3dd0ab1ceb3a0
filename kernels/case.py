"""Inputs that every variant of an operation is checked with; each operation has its `cases.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Case:
    """One call of an operation.  Its result is compared with that of the float64 reference.

    Integer results must be equal; float results may differ by `atol` + `rtol` times the value.
    """

    name: str  # unique within the operation; says what is special
    function: str  # a public function of the operation, e.g. "roi_align_backward"
    arguments: Sequence[Any]  # positional: NumPy arrays (float32), numbers, shapes
    options: Mapping[str, Any] = field(default_factory=dict)
    terms: int = 1  # how many products are summed up for one value; sets the tolerance
    small: bool = False  # small enough for the simulator and the sanitizers: under ~2000 threads
    atol: float | None = None  # default: 16 roundings times sqrt(terms) of the largest value
    widen: Sequence[int] | None = None  # arguments the reference gets in float64; default: all
    writes: Sequence[int] = ()  # arguments the operation overwrites: a call is to get copies

    def own_arguments(self) -> tuple[Any, ...]:
        """The arguments for one call, which may overwrite what it is there to overwrite."""
        return tuple(a.copy() if i in self.writes else a for i, a in enumerate(self.arguments))

    def in_float64(self) -> tuple[Any, ...]:
        """The arguments for the reference: float32 arrays widened, but for those that decide.

        A decision (which bin, which box is suppressed) is made in float32 by definition; the
        arrays it depends on stay as they are, and `widen` leaves them out.
        """
        return tuple(
            _widened(a) if self.widen is None or i in self.widen else a
            for i, a in enumerate(self.own_arguments())
        )


def _widened(value: Any) -> Any:
    """Arrays in float64 instead of float32 or float16, also those in a tuple."""
    if isinstance(value, tuple):
        return tuple(_widened(item) for item in value)
    if isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float16):
        return value.astype(np.float64)
    return value


@dataclass(frozen=True, eq=False)
class Workload:
    """What an operation is timed with, of the size a real model has."""

    name: str
    function: str
    arguments: Sequence[Any]  # NumPy arrays; they are moved to the device that is timed
    options: Mapping[str, Any] = field(default_factory=dict)
    bytes: float = 0.0  # that must be read and written at least once
    operations: float = 0.0  # floating-point; an addition and a multiplication are two
    peer: str = ""  # what torch calls it: a function of `benchmarks/peers.py`
