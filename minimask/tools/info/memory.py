"""Which arrays are alive while a model runs dry, and how much memory they would have."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from minimask.tools.profile.observer import owner


class Memory:
    """Counts the bytes of arrays from their creation until nobody holds them.

    Attributes:
        live: bytes alive now.
        peak: the most there were.
        scratch: bytes of working memory that kernels keep for their next call.
    """

    def __init__(self) -> None:
        self.live = self.peak = 0
        self._kept: dict[str, int] = {}
        self._alive: dict[int, weakref.ref[Any]] = {}

    @property
    def scratch(self) -> int:
        """Bytes of working memory, of all uses."""
        return sum(self._kept.values())

    def stand_in(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array of this shape that counts with all its bytes and has a single number."""
        cell = np.zeros(1, dtype)
        array = np.ndarray(shape, cell.dtype, cell, strides=(0,) * len(shape))
        self._count(cell, array.nbytes)
        return array

    def see(self, array: Any) -> None:
        """Count an array that is a real one, unless it was seen before."""
        if isinstance(array, np.ndarray):
            real = owner(array)
            if not self.knows(real):
                self._count(real, real.nbytes)

    def knows(self, real: np.ndarray) -> bool:
        """Whether this owner of memory is counted."""
        ref = self._alive.get(id(real))
        return ref is not None and ref() is real

    def spike(self, size: int) -> None:
        """So many bytes more are alive for a moment."""
        self.peak = max(self.peak, self.live + self.scratch + size)

    def keep(self, use: str, size: int) -> None:
        """A kernel's working memory of this use is at least so large from now on."""
        self._kept[use] = max(self._kept.get(use, 0), size)
        self.spike(0)

    def _count(self, real: np.ndarray, size: int) -> None:
        key = id(real)

        def gone(_: Any) -> None:
            self.live -= size
            self._alive.pop(key, None)

        self._alive[key] = weakref.ref(real, gone)
        self.live += size
        self.spike(0)
