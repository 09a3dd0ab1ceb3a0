"""Gradients of a convolution in Numba-CUDA, rung 2: tiles of matrix products in shared memory.

The twin of backward_2_shared.cu, in tiles of 8 x 8; for the weight it shows what
backward_4_vectorized_weight.cu adds: sums cut into slices, whose parts a second kernel adds up.

Letters: N images, C input channels, K filters, G groups, H W height and width of the input, OH OW
of the output.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math
from typing import Any

from numba import float32

from minimask.kernels.conv2d.cuda.launch_backward import input_arrays, weight_arrays
from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.conv2d.numba.backward_1_direct import position, steps_of
from minimask.kernels.launch import blocks, contiguous, empty, require_float32, zeros
from minimask.kernels.numba_cuda import cuda, jit, launch

TILE = 8
SLICE = 16  # positions; a GPU would want hundreds: this size shows the second pass in small cases


@jit
def conv2d_backward_input_kernel(grad, weight, bias, has_bias, share, steps, dx):
    """One block 8 channels of a group times 8 pixels; one thread a value."""
    rows = cuda.shared.array((8, 9), float32)  # 9: a column of 8 lies in different banks
    columns = cuda.shared.array((8, 9), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    depth, taps = weight.shape[1], weight.shape[2] * weight.shape[3]
    group = cuda.blockIdx.z
    channel, wanted = cuda.blockIdx.y * TILE + ty, cuda.blockIdx.y * TILE + tx
    pixel = cuda.blockIdx.x * TILE + tx
    x, y = pixel % dx.shape[3], pixel // dx.shape[3] % dx.shape[2]
    n = pixel // (dx.shape[2] * dx.shape[3])
    total = float32(0)
    for begin in range(0, share * taps, TILE):
        inner = begin + ty
        k, u, v = inner // taps, inner % taps // weight.shape[3], inner % weight.shape[3]
        rows[ty, tx] = float32(0)
        columns[ty, tx] = float32(0)
        if inner < share * taps:
            if wanted < depth:
                rows[ty, tx] = weight[group * share + k, wanted, u, v]
            i = position(y + steps[2] - u * steps[4], steps[0], grad.shape[2])
            j = position(x + steps[3] - v * steps[5], steps[1], grad.shape[3])
            if n < dx.shape[0] and i >= 0 and j >= 0:
                columns[ty, tx] = grad[n, group * share + k, i, j]
        cuda.syncthreads()
        for d in range(TILE):
            total += rows[d, ty] * columns[d, tx]
        cuda.syncthreads()  # before faster threads put the next tile over this one
    if n < dx.shape[0] and channel < depth:
        c = group * depth + channel
        dx[n, c, y, x] = total + bias[c] if has_bias else total


@jit
def conv2d_backward_weight_kernel(grad, x, share, window, steps, groups, partial):
    """One block 8 filters of a group times 8 of their weights, over one slice of positions.

    partial: (slices, K, C / G * kh * kw).
    """
    rows = cuda.shared.array((8, 9), float32)
    columns = cuda.shared.array((8, 9), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    part, group = cuda.blockIdx.z // groups, cuda.blockIdx.z % groups
    taps, depth = window[0] * window[1], x.shape[1] // groups
    filter_, column = cuda.blockIdx.y * TILE + ty, cuda.blockIdx.x * TILE + ty
    u, v = column % taps // window[1], column % window[1]
    positions = grad.shape[0] * grad.shape[2] * grad.shape[3]
    total = float32(0)
    for begin in range(part * SLICE, min(positions, (part + 1) * SLICE), TILE):
        at = begin + tx
        i, j = at // grad.shape[3] % grad.shape[2], at % grad.shape[3]
        n = at // (grad.shape[2] * grad.shape[3])
        row = i * steps[0] - steps[2] + u * steps[4]
        across = j * steps[1] - steps[3] + v * steps[5]
        rows[tx, ty] = float32(0)
        columns[tx, ty] = float32(0)
        if at < positions:
            if filter_ < share:
                rows[tx, ty] = grad[n, group * share + filter_, i, j]
            seen = row >= 0 and row < x.shape[2] and across >= 0 and across < x.shape[3]
            if column < depth * taps and seen:
                columns[tx, ty] = x[n, group * depth + column // taps, row, across]
        cuda.syncthreads()
        for d in range(TILE):
            total += rows[d, ty] * columns[d, tx]
        cuda.syncthreads()
    mine = cuda.blockIdx.x * TILE + tx
    if filter_ < share and mine < depth * taps:
        partial[part, group * share + filter_, mine] = total


@jit
def conv2d_add_slices_kernel(partial, dweight):
    """One thread a weight: the slices' sum, first to last."""
    k, column = cuda.grid(2)
    if k >= partial.shape[1] or column >= partial.shape[2]:
        return
    total = float32(0)
    for part in range(partial.shape[0]):
        total += partial[part, k, column]
    dweight[k, column] = total


@jit
def conv2d_backward_bias_kernel(grad, dbias):
    """One block a filter, whose threads' sums are added up in a tree."""
    sums = cuda.shared.array(64, float32)
    t, k = cuda.threadIdx.x, cuda.blockIdx.x
    plane = grad.shape[2] * grad.shape[3]
    total = float32(0)
    for n in range(grad.shape[0]):
        for at in range(t, plane, 64):
            total += grad[n, k, at // grad.shape[3], at % grad.shape[3]]
    sums[t] = total
    half = 32
    while half > 0:
        cuda.syncthreads()
        if t < half:
            sums[t] += sums[t + half]
        half //= 2
    if t == 0:
        dbias[k] = sums[0]


def conv2d_backward_input(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """(N, K, OH, OW), (K, C / G, kh, kw), (C,) or None -> (N, C, H, W)."""
    grad, weight, bias, dx = input_arrays(grad, weight, bias, g)
    term = zeros(1, grad.dtype, grad) if bias is None else bias
    pixels = blocks(g.images * math.prod(g.size), TILE)
    grid = (pixels, blocks(g.channels // g.groups, TILE), g.groups)
    sizes = (g.filters // g.groups, steps_of(g))
    launch(
        conv2d_backward_input_kernel,
        grid,
        (TILE, TILE),
        grad,
        weight,
        term,
        bias is not None,
        *sizes,
        dx,
    )
    return dx


def conv2d_backward_weight(grad: Any, x: Any, *, g: Geometry) -> Any:
    """(N, K, OH, OW), (N, C, H, W) -> (K, C / G, kh, kw)."""
    grad, x, dweight = weight_arrays(grad, x, g)
    slices = blocks(g.images * math.prod(g.output_size), SLICE)
    share = g.filters // g.groups
    partial = empty((slices, g.filters, g.inner), grad.dtype, grad)
    grid = (blocks(g.inner, TILE), blocks(share, TILE), slices * g.groups)
    sizes = (share, g.window, steps_of(g), g.groups)
    launch(conv2d_backward_weight_kernel, grid, (TILE, TILE), grad, x, *sizes, partial)
    tiles = (blocks(g.filters, TILE), blocks(g.inner, TILE))
    launch(
        conv2d_add_slices_kernel, tiles, (TILE, TILE), partial, dweight.reshape(g.filters, g.inner)
    )
    return dweight


def conv2d_backward_bias(grad: Any) -> Any:
    """(N, K, OH, OW) -> (K,)."""
    require_float32(grad=grad)
    grad, dbias = contiguous("grad", grad), zeros(grad.shape[1], grad.dtype, grad)
    launch(conv2d_backward_bias_kernel, dbias.size, 64, grad, dbias)
    return dbias
