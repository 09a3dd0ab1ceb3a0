"""Resizing in Numba-CUDA: a thread keeps its place through many planes.

The twin of rung_2_planes.cu without its vector writes: a thread owns one value of a plane, there
it is four.

Letters: N images, C channels, H W height and width of the input, H2 W2 of the output.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, jit, launch
from minimask.kernels.resize.cuda.launch import layers, tables
from minimask.kernels.resize.numba.rung_1_naive import planes_of, share

THREADS = 64


@jit
def resize_nearest_kernel(x, row_of, column_of, y):
    """One thread one place of y (N C, H2, W2), in every `gridDim.y`-th plane."""
    place, first = cuda.grid(2)
    if place >= y.shape[1] * y.shape[2]:
        return
    i, j = place // y.shape[2], place % y.shape[2]
    row, column = row_of[i], column_of[j]
    for plane in range(first, y.shape[0], cuda.gridDim.y):
        y[plane, i, j] = x[plane, row, column]


@jit
def resize_bilinear_kernel(x, top_of, down, left_of, across, y):
    """One thread one place of y: its four pixels and their weights serve all its planes."""
    place, first = cuda.grid(2)
    if place >= y.shape[1] * y.shape[2]:
        return
    i, j = place // y.shape[2], place % y.shape[2]
    top, left, below, beside = top_of[i], left_of[j], down[i], across[j]
    bottom, right = min(top + 1, x.shape[1] - 1), min(left + 1, x.shape[2] - 1)
    for plane in range(first, y.shape[0], cuda.gridDim.y):
        near = x[plane, top, left] + below * (x[plane, bottom, left] - x[plane, top, left])
        far = x[plane, top, right] + below * (x[plane, bottom, right] - x[plane, top, right])
        y[plane, i, j] = near + beside * (far - near)


@jit
def resize_backward_kernel(grad, top_of, down, left_of, across, begin_h, end_h, begin_w, end_w, dx):
    """One thread one pixel of dx (N C, H, W), in every `gridDim.y`-th plane."""
    place, first = cuda.grid(2)
    if place >= dx.shape[1] * dx.shape[2]:
        return
    y, x = place // dx.shape[2], place % dx.shape[2]
    for plane in range(first, dx.shape[0], cuda.gridDim.y):
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
    grid = (blocks(size[0] * size[1], THREADS), layers(y))
    if mode == "nearest":
        launch(resize_nearest_kernel, grid, (THREADS, 1), planes_of(x), top, left, planes_of(y))
    else:
        read = (planes_of(x), top, down, left, across)
        launch(resize_bilinear_kernel, grid, (THREADS, 1), *read, planes_of(y))
    return y


def resize_backward(grad: Any, *, size: tuple[int, int], mode: str) -> Any:
    """(N, C, H2, W2) -> (N, C, *size)."""
    require_float32(grad=grad)
    grad, dx = contiguous("grad", grad), empty((*grad.shape[:2], *size), grad.dtype, grad)
    top, down, *rows = tables(grad, size[0], grad.shape[2], mode)
    left, across, *columns = tables(grad, size[1], grad.shape[3], mode)
    read = (planes_of(grad), top, down, left, across, *rows, *columns)
    grid = (blocks(size[0] * size[1], THREADS), layers(dx))
    launch(resize_backward_kernel, grid, (THREADS, 1), *read, planes_of(dx))
    return dx
