"""Max pooling in Numba-CUDA, the twin of forward_2_strips.cu: one thread a strip of four neighbors.

Its vectors of four have no twin: Numba loads and stores numbers one by one.

Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32, int32

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
def max_pool_3x3_2(x, padding_y, padding_x, out, argmax):
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


@device
def first_window(y, window, stride, padding):
    """The first window along an axis that contains pixel y; they begin at i stride - padding."""
    return max(0, y + padding - window + stride) // stride


@jit
def gather_strips(
    grad, argmax, window_y, window_x, stride_y, stride_x, padding_y, padding_x, dx
):  # planes first in all three
    """Four pixels of a row look once at every window that meets them."""
    strip, y, plane = cuda.grid(3)
    x, width = 4 * strip, dx.shape[2]
    if plane >= dx.shape[0] or y >= dx.shape[1] or x >= width:
        return
    mine = min(4, width - x)
    bottom = min((y + padding_y) // stride_y + 1, grad.shape[1])
    left = first_window(x, window_x, stride_x, padding_x)
    right = min((x + mine - 1 + padding_x) // stride_x + 1, grad.shape[2])
    totals = cuda.local.array(4, float32)
    for k in range(4):
        totals[k] = float32(0)
    for i in range(first_window(y, window_y, stride_y, padding_y), bottom):
        for j in range(left, right):
            k = argmax[plane, i, j] - int32(y * width + x)
            if k >= 0 and k < mine:
                totals[k] += grad[plane, i, j]
    for k in range(mine):
        dx[plane, y, x + k] = totals[k]


def max_pool2d(x: Any, *, window: Pair, stride: Pair, padding: Pair) -> tuple[Any, Any]:
    """(N, C, H, W) -> output and argmax; rung 1 where windows are others than 3 x 3, 2 apart."""
    planes = x.shape[0] * x.shape[1]
    if (window, stride) != ((3, 3), (2, 2)) or planes > 65535:
        return numba_1_naive.max_pool2d(x, window=window, stride=stride, padding=padding)
    require_float32(x=x)
    shape = output_shape(x.shape, Windows(window, stride, padding))
    out, argmax = empty(shape, x.dtype, x), empty(shape, "int32", x)
    source = contiguous("x", x).reshape(planes, *x.shape[2:])
    views = out.reshape(planes, *shape[2:]), argmax.reshape(planes, *shape[2:])
    grid = (blocks(shape[3], 64), blocks(shape[2], 4), planes)
    launch(max_pool_3x3_2, grid, (16, 4, 1), source, *padding, *views)
    return out, argmax


def max_pool2d_backward(
    grad: Any, argmax: Any, *, input_shape: tuple[int, ...], windows: Windows | None = None
) -> Any:
    """(N, C, OH, OW), (N, C, OH, OW) -> (N, C, H, W); rung 1 where the windows are not known."""
    planes = input_shape[0] * input_shape[1]
    if windows is None or planes > 65535:
        return numba_1_naive.max_pool2d_backward(grad, argmax, input_shape=input_shape)
    require_float32(grad=grad)
    dx = empty(input_shape, grad.dtype, grad)
    values = contiguous("grad", grad).reshape(planes, *grad.shape[2:])
    winners = contiguous("argmax", argmax.astype("int32", copy=False)).reshape(values.shape)
    options = (*windows.size, *windows.stride, *windows.padding)
    target = dx.reshape(planes, *input_shape[2:])
    grid = (blocks(input_shape[3], 64), blocks(input_shape[2], 4), planes)
    launch(gather_strips, grid, (16, 4, 1), values, winners, *options, target)
    return dx
