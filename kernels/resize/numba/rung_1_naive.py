"""Resizing in Numba-CUDA: one thread a value, twin of rung_1_naive.cu.

Letters: N images, C channels, H W height and width of the input, H2 W2 of the output.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, device, jit, launch
from minimask.kernels.resize.cuda.launch import tables

THREADS = 64


@jit
def resize_nearest_kernel(x, row_of, column_of, y):
    """One thread a value of y; arrays are (N C, height, width)."""
    index = cuda.grid(1)
    if index < y.size:
        j, i = index % y.shape[2], index // y.shape[2] % y.shape[1]
        plane = index // (y.shape[1] * y.shape[2])
        y[plane, i, j] = x[plane, row_of[i], column_of[j]]


@jit
def resize_bilinear_kernel(x, top_of, down, left_of, across, y):
    """One thread a value of y: it blends two pixels of two rows."""
    index = cuda.grid(1)
    if index >= y.size:
        return
    j, i = index % y.shape[2], index // y.shape[2] % y.shape[1]
    plane = index // (y.shape[1] * y.shape[2])
    top, left = top_of[i], left_of[j]
    bottom, right = min(top + 1, x.shape[1] - 1), min(left + 1, x.shape[2] - 1)
    first = x[plane, top, left] + down[i] * (x[plane, bottom, left] - x[plane, top, left])
    second = x[plane, top, right] + down[i] * (x[plane, bottom, right] - x[plane, top, right])
    y[plane, i, j] = first + across[j] * (second - first)


@device
def share(pixel, length, low, weight):
    """How much of an output goes to an input pixel."""
    part = float32(0)
    if low == pixel:
        part += float32(1) - weight
    if min(low + 1, length - 1) == pixel:
        part += weight
    return part


@jit
def resize_backward_kernel(grad, top_of, down, left_of, across, begin_h, end_h, begin_w, end_w, dx):
    """One thread a value of dx: it collects from the outputs that read it."""
    index = cuda.grid(1)
    if index >= dx.size:
        return
    x, y = index % dx.shape[2], index // dx.shape[2] % dx.shape[1]
    plane = index // (dx.shape[1] * dx.shape[2])
    total = float32(0)
    for i in range(begin_h[y], end_h[y]):
        row = float32(0)
        for j in range(begin_w[x], end_w[x]):
            row += share(x, dx.shape[2], left_of[j], across[j]) * grad[plane, i, j]
        total += share(y, dx.shape[1], top_of[i], down[i]) * row
    dx[plane, y, x] = total


def resize(x: Any, *, size: tuple[int, int], mode: str) -> Any:
    """(N, C, H, W) -> (N, C, *size)."""
    require_float32(x=x)
    x, y = contiguous("x", x), empty((*x.shape[:2], *size), x.dtype, x)
    top, down, *_ = tables(x, x.shape[2], size[0], mode)
    left, across, *_ = tables(x, x.shape[3], size[1], mode)
    grid, planes, out = blocks(y.size, THREADS), planes_of(x), planes_of(y)
    if mode == "nearest":
        launch(resize_nearest_kernel, grid, THREADS, planes, top, left, out)
    else:
        launch(resize_bilinear_kernel, grid, THREADS, planes, top, down, left, across, out)
    return y


def resize_backward(grad: Any, *, size: tuple[int, int], mode: str) -> Any:
    """(N, C, H2, W2) -> (N, C, *size)."""
    require_float32(grad=grad)
    grad, dx = contiguous("grad", grad), empty((*grad.shape[:2], *size), grad.dtype, grad)
    top, down, *rows = tables(grad, size[0], grad.shape[2], mode)
    left, across, *columns = tables(grad, size[1], grad.shape[3], mode)
    read = (planes_of(grad), top, down, left, across, *rows, *columns)
    launch(resize_backward_kernel, blocks(dx.size, THREADS), THREADS, *read, planes_of(dx))
    return dx


def planes_of(array: Any) -> Any:
    """(N, C, height, width) as (N C, height, width)."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])
