"""A copy by all threads: the yardstick for operations that memory limits."""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from numba import njit, prange


@njit(parallel=True, cache=True)
def parallel_copy(source, target):
    """Copy one flat array to another of the same length."""
    for i in prange(source.size):
        target[i] = source[i]
