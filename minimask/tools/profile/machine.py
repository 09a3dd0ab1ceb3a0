"""How fast this machine multiplies matrices and copies memory, and how much of it was used."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SIDE = 2048  # of the matrices: far too large for the cache, and done in a tenth of a second
COPIED = 256 * 2**20  # bytes
TIMES = 5
STEADY = 1.2  # measured twice on a machine with nothing else to do, rates differ by a few percent


@dataclass(frozen=True)
class Machine:
    """What floors are computed from."""

    matrix_rate: float  # FLOP per second
    bandwidth: float  # bytes per second, read and written
    threads: int
    other_rate: float | None = None  # the same measured at another time, if it was less

    def floor(self, flop: float, moved: float) -> float:
        """Seconds below which no program for this machine gets that does so much."""
        return max(flop / self.matrix_rate, moved / self.bandwidth)

    @property
    def disturbed(self) -> bool:
        """Whether the two matrix rates differ so much that other programs were running."""
        return self.matrix_rate > STEADY * (self.other_rate or self.matrix_rate)


def matrix_rate(side: int = SIDE) -> float:
    """FLOP per second of NumPy's product of square float32 matrices; the median of five."""
    a = np.ones((side, side), np.float32)
    product = np.empty_like(a)
    return 2.0 * side**3 / _median_seconds(lambda: np.matmul(a, a, out=product))


def measure_machine(
    rate_before: float | None = None, *, side: int = SIDE, copied: int = COPIED
) -> Machine:
    """Multiply matrices and copy an array, each five times; the medians count.

    Takes a second or two and 2 * `copied` bytes of memory.

    Args:
        rate_before: what `matrix_rate` gave before the step; the greater of both counts.
        side: of the matrices.
        copied: bytes of the array that is copied by as many threads as kernels use.
    """
    import numba

    rate = matrix_rate(side)
    source = np.ones(copied // 4, np.float32)
    target = np.zeros_like(source)  # zeros: the pages are there before the first copy
    copy_all = _parallel_copy()
    seconds = _median_seconds(lambda: copy_all(source, target))
    other, best = sorted((rate_before or rate, rate))
    return Machine(best, 2.0 * source.nbytes / seconds, numba.get_num_threads(), other)


def _median_seconds(run: Callable[[], Any]) -> float:
    run()
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _parallel_copy() -> Callable[[np.ndarray, np.ndarray], None]:
    from minimask.tools.profile.parallel_copy import parallel_copy

    return parallel_copy


def peak_memory() -> int | None:
    """The most memory that this process ever had, in bytes; None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ImportError, OSError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return None
