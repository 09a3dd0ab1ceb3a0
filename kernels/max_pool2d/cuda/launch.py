"""Launches the forward rungs in CUDA C++.

Letters: N images, C channels, H W height and width, OH OW those of the output.
"""

from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, empty, program, require_float32
from minimask.kernels.max_pool2d.windows import Pair, Windows, output_shape

NAIVE = program(__file__, "forward_1_naive.cu")
STRIPS = program(__file__, "forward_2_strips.cu")
MOST_ROWS = 65535  # of blocks in a grid, and so of planes in it


def max_pool2d_naive(x: Any, *, window: Pair, stride: Pair, padding: Pair) -> tuple[Any, Any]:
    """(N, C, H, W) -> output and argmax, (N, C, OH, OW) each."""
    source, out, argmax = _prepare(x, Windows(window, stride, padding))
    planes, sizes = planes_of(x.shape), (*x.shape[2:], x.shape[2] * x.shape[3], *out.shape[2:])
    options = (*window, *stride, *padding)
    grid = blocks(out.size, 256)
    NAIVE.launch("max_pool2d_forward", grid, 256, source, planes, *sizes, *options, out, argmax)
    return out, argmax


def max_pool2d_strips(x: Any, *, window: Pair, stride: Pair, padding: Pair) -> tuple[Any, Any]:
    """As `max_pool2d_naive`, which runs where the windows are others than 3 x 3, 2 apart."""
    if (window, stride) != ((3, 3), (2, 2)) or x.shape[2] > MOST_ROWS:
        return max_pool2d_naive(x, window=window, stride=stride, padding=padding)
    source, out, argmax = _prepare(x, Windows(window, stride, padding))
    planes, sizes = planes_of(x.shape), (*x.shape[2:], x.shape[2] * x.shape[3], *out.shape[2:])
    grid = strip_grid(out.shape)
    STRIPS.launch(
        "max_pool2d_forward_3x3_2", grid, (32, 8), source, planes, *sizes, *padding, out, argmax
    )
    return out, argmax


def _prepare(x: Any, windows: Windows) -> tuple[Any, Any, Any]:
    """The images as the kernels take them, and arrays for the output and the argmax."""
    require_float32(x=x)
    shape = output_shape(x.shape, windows)
    return contiguous("x", x), empty(shape, x.dtype, x), empty(shape, "int32", x)


def planes_of(shape: tuple[int, ...]) -> int:
    """N times C: how many planes an array of this shape has."""
    return shape[0] * shape[1]


def strip_grid(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Blocks of 8 rows of 32 strips of 4; blocks along z take several planes if there are many."""
    return blocks(shape[3], 128), blocks(shape[2], 8), min(planes_of(shape), MOST_ROWS)
