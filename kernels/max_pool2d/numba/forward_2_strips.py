"""Max pooling, forward, in Numba-CUDA, twin of forward_2_strips.cu: strips of four neighbors.

Its vectors of four have no twin: Numba loads and stores numbers one by one.

Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.max_pool2d.numba import forward_1_naive
from minimask.kernels.max_pool2d.windows import Pair, Windows, output_shape
from minimask.kernels.numba_cuda import cuda, device, jit, launch


@device
def wins(value, best):
    """Whether a value takes the place of the largest so far: it is larger, or the first NaN."""
    return not (value <= best) and best == best


@device
def clamp(place, length):
    """The nearest place of an axis: a copy of a border pixel, beside it, changes no maximum."""
    return min(max(place, 0), length - 1)


@jit
def max_pool2d_forward_3x3_2_kernel(x, padding_y, padding_x, out, argmax):
    """Four outputs side by side, whose windows lie in 3 x 9 pixels; planes come first."""
    height, width = x.shape[1], x.shape[2]
    strip, i, plane = cuda.grid(3)
    j = 4 * strip
    if plane >= out.shape[0] or i >= out.shape[1] or j >= out.shape[2]:
        return
    pixels = cuda.local.array((3, 9), float32)
    for d in range(3):
        for c in range(9):
            row = clamp(2 * i - padding_y + d, height)
            pixels[d, c] = x[plane, row, clamp(2 * j - padding_x + c, width)]
    for k in range(min(4, out.shape[2] - j)):
        best, place = pixels[0, 2 * k], 0
        for other in range(1, 9):
            if wins(pixels[other // 3, 2 * k + other % 3], best):
                best, place = pixels[other // 3, 2 * k + other % 3], other
        row = clamp(2 * i - padding_y + place // 3, height)
        column = clamp(2 * (j + k) - padding_x + place % 3, width)
        out[plane, i, j + k] = best
        argmax[plane, i, j + k] = row * width + column


def max_pool2d(x: Any, *, window: Pair, stride: Pair, padding: Pair) -> tuple[Any, Any]:
    """(N, C, H, W) -> output and argmax; rung 1 where windows are others than 3 x 3, 2 apart."""
    planes = x.shape[0] * x.shape[1]
    if (window, stride) != ((3, 3), (2, 2)) or planes > 65535:
        return forward_1_naive.max_pool2d(x, window=window, stride=stride, padding=padding)
    require_float32(x=x)
    shape = output_shape(x.shape, Windows(window, stride, padding))
    out, argmax = empty(shape, x.dtype, x), empty(shape, "int32", x)
    source = contiguous("x", x).reshape(planes, *x.shape[2:])
    views = out.reshape(planes, *shape[2:]), argmax.reshape(planes, *shape[2:])
    grid = (blocks(shape[3], 64), blocks(shape[2], 4), planes)
    launch(max_pool2d_forward_3x3_2_kernel, grid, (16, 4, 1), source, *padding, *views)
    return out, argmax
