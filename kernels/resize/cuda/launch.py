"""Launches the CUDA C++ rungs.

Letters: N images, C channels, H W height and width of the input, H2 W2 of the output.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask.kernels.launch import (
    Program,
    array_module,
    blocks,
    contiguous,
    empty,
    program,
    require_float32,
)
from minimask.kernels.resize.axes import taps

NAIVE = program(__file__, "rung_1_naive.cu")
PLANES = program(__file__, "rung_2_planes.cu")
TOGETHER = 8  # planes that one thread of the second rung goes through, at least


def resize_naive(x: Any, *, size: tuple[int, int], mode: str) -> Any:
    """One thread a value of the output."""
    y = empty((*x.shape[:2], *size), x.dtype, x)
    _forward(NAIVE, (blocks(y.size, 256),), x, y, mode)
    return y


def resize_backward_naive(grad: Any, *, size: tuple[int, int], mode: str) -> Any:
    """One thread a pixel of the input."""
    dx = empty((*grad.shape[:2], *size), grad.dtype, grad)
    _backward(NAIVE, (blocks(dx.size, 256),), grad, dx, mode)
    return dx


def resize_planes(x: Any, *, size: tuple[int, int], mode: str) -> Any:
    """One thread four neighbors of the output in several planes."""
    y = empty((*x.shape[:2], *size), x.dtype, x)
    grid = (blocks(size[0] * blocks(size[1], 4), 256), layers(y))
    _forward(PLANES, grid, x, y, mode)
    return y


def resize_backward_planes(grad: Any, *, size: tuple[int, int], mode: str) -> Any:
    """One thread a pixel of the input in several planes."""
    dx = empty((*grad.shape[:2], *size), grad.dtype, grad)
    _backward(PLANES, (blocks(size[0] * size[1], 256), layers(dx)), grad, dx, mode)
    return dx


def layers(array: Any) -> int:
    """How many threads share the planes of a place."""
    return min(65535, blocks(array.shape[0] * array.shape[1], TOGETHER))


def _forward(rung: Program, grid: Sequence[int], x: Any, y: Any, mode: str) -> None:
    require_float32(x=x)
    x, planes = contiguous("x", x), x.shape[0] * x.shape[1]
    top, down, *_ = tables(x, x.shape[2], y.shape[2], mode)
    left, across, *_ = tables(x, x.shape[3], y.shape[3], mode)
    read = (top, left) if mode == "nearest" else (top, down, left, across)
    rung.launch(f"resize_{mode}", grid, 256, x, *read, planes, *x.shape[2:], *y.shape[2:], y)


def _backward(rung: Program, grid: Sequence[int], grad: Any, dx: Any, mode: str) -> None:
    require_float32(grad=grad)
    grad, planes = contiguous("grad", grad), grad.shape[0] * grad.shape[1]
    top, down, *rows = tables(grad, dx.shape[2], grad.shape[2], mode)
    left, across, *columns = tables(grad, dx.shape[3], grad.shape[3], mode)
    read = (top, down, left, across, *rows, *columns)
    rung.launch(
        "resize_backward", grid, 256, grad, *read, planes, *dx.shape[2:], *grad.shape[2:], dx
    )


def tables(like: Any, length: int, new_length: int, mode: str) -> tuple[Any, ...]:
    """What an axis reads, where the array `like` lives: made once for each pair of sizes.

    Returns:
        per output pixel `low` and `weight` (see `axes.taps`), per input pixel the first output
        that reads it and the end of those that do.
    """
    return _tables(array_module(like), str(getattr(like, "device", "")), length, new_length, mode)


@functools.lru_cache(maxsize=256)
def _tables(xp: Any, device: str, length: int, new_length: int, mode: str) -> tuple[Any, ...]:
    low, high, weight = taps(length, new_length, mode, np.dtype(np.float32))
    pixels = np.arange(length)
    # low and high never fall, so the outputs that read a pixel stand side by side
    made = (low, weight, np.searchsorted(high, pixels), np.searchsorted(low, pixels, "right"))
    return tuple(
        xp.asarray(table, dtype=kind)
        for table, kind in zip(made, (np.int32, np.float32, np.int32, np.int32), strict=True)
    )
