"""Gradients of a grouped convolution in Numba-CUDA: twin of backward_6_grouped.cu.

For the input a block owns a rectangle of 8 x 8 pixels in up to 4 channels of one group.  For the
weight a thread owns one value of a group, or a part of its sum where they are few, over one slice
of the tiles of 8 x 8 positions.

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
from minimask.kernels.conv2d.numba.backward_1_direct import conv2d_backward_input as input_direct
from minimask.kernels.conv2d.numba.backward_1_direct import conv2d_backward_weight as weight_direct
from minimask.kernels.conv2d.numba.backward_1_direct import position, steps_of
from minimask.kernels.conv2d.numba.backward_2_shared import (
    conv2d_add_slices_kernel,
    conv2d_backward_bias,
)
from minimask.kernels.launch import blocks, empty, zeros
from minimask.kernels.numba_cuda import cuda, jit, launch

__all__ = [
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "fits",
]

TILE = 8
FILTERS = 4  # of a thread
PATCH = 32  # rows and columns of pixels that a block has room for
MOST_FILTERS = 16  # of a group, for the weight gradient
SLICE = 2  # tiles; a GPU would want more: this size shows the second pass in small cases


@jit
def conv2d_backward_input_kernel(grad, weight, bias, has_bias, groups, steps, dx):
    """Tiles of one image along x of the grid, blocks of channels along y, images along z."""
    patch = cuda.shared.array((PATCH, PATCH), float32)
    total = cuda.local.array(FILTERS, float32)
    tx, ty, n = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
    share, depth = grad.shape[1] // groups, weight.shape[1]
    parts, wide = (depth + FILTERS - 1) // FILTERS, (dx.shape[3] + TILE - 1) // TILE
    group, first_c = cuda.blockIdx.y // parts, cuda.blockIdx.y % parts * FILTERS
    count = min(FILTERS, depth - first_c)
    y, x = cuda.blockIdx.x // wide * TILE + ty, cuda.blockIdx.x % wide * TILE + tx
    # the positions that reach the tile: so many, from here on
    reach_h, reach_w = (weight.shape[2] - 1) * steps[4], (weight.shape[3] - 1) * steps[5]
    top = max(0, y - ty + steps[2] - reach_h) // steps[0]
    left = max(0, x - tx + steps[3] - reach_w) // steps[1]
    rows, columns = (TILE - 1 + reach_h) // steps[0] + 2, (TILE - 1 + reach_w) // steps[1] + 2
    for a in range(FILTERS):
        total[a] = float32(0)
    for k in range(share):
        for r in range(ty, rows, TILE):
            for q in range(tx, columns, TILE):
                patch[r, q] = float32(0)
                if top + r < grad.shape[2] and left + q < grad.shape[3]:
                    patch[r, q] = grad[n, group * share + k, top + r, left + q]
        cuda.syncthreads()
        for u in range(weight.shape[2]):
            i = position(y + steps[2] - u * steps[4], steps[0], grad.shape[2])
            for v in range(weight.shape[3]):
                j = position(x + steps[3] - v * steps[5], steps[1], grad.shape[3])
                if i >= 0 and j >= 0:
                    value = patch[i - top, j - left]
                    for a in range(count):
                        total[a] += weight[group * share + k, first_c + a, u, v] * value
        cuda.syncthreads()  # before the next filter's grads overwrite these
    if y < dx.shape[2] and x < dx.shape[3]:
        for a in range(count):
            c = group * depth + first_c + a
            dx[n, c, y, x] = total[a] + bias[c] if has_bias else total[a]


@jit
def conv2d_backward_weight_kernel(grad, x, window, steps, groups, partial):
    """Slices along x of the grid, values of a group along y, groups along z.

    partial: (slices, K, C / G * kh * kw).
    """
    grads = cuda.shared.array((MOST_FILTERS, TILE, TILE + 1), float32)
    sums = cuda.shared.array(TILE * TILE, float32)
    t = cuda.threadIdx.x
    share, taps = grad.shape[1] // groups, window[0] * window[1]
    depth, group = x.shape[1] // groups, cuda.blockIdx.z
    begin = cuda.blockIdx.y * TILE * TILE
    values = min(TILE * TILE, share * depth * taps - begin)
    helpers, mine, part = TILE * TILE // values, t % values, t // values
    k, tap = (begin + mine) % share, (begin + mine) // share % taps
    c, wide = (begin + mine) // share // taps, (grad.shape[3] + TILE - 1) // TILE
    tiles = wide * ((grad.shape[2] + TILE - 1) // TILE)
    total = float32(0)
    first = cuda.blockIdx.x * SLICE
    for at in range(first, min(grad.shape[0] * tiles, first + SLICE)):
        n, top, left = at // tiles, at % tiles // wide * TILE, at % wide * TILE
        for f in range(share):
            i, j = top + t // TILE, left + t % TILE
            grads[f, t // TILE, t % TILE] = float32(0)
            if i < grad.shape[2] and j < grad.shape[3]:
                grads[f, t // TILE, t % TILE] = grad[n, group * share + f, i, j]
        cuda.syncthreads()
        # a thread too many has no part of any sum
        for p in range(part if part < helpers else TILE * TILE, TILE * TILE, helpers):
            i, j = p // TILE, p % TILE
            row = (top + i) * steps[0] - steps[2] + tap // window[1] * steps[4]
            column = (left + j) * steps[1] - steps[3] + tap % window[1] * steps[5]
            if row >= 0 and row < x.shape[2] and column >= 0 and column < x.shape[3]:
                total += grads[k, i, j] * x[n, group * depth + c, row, column]
        cuda.syncthreads()  # before the next tile overwrites this one
    sums[t] = total
    cuda.syncthreads()
    if t < values:
        for i in range(1, helpers):
            total += sums[i * values + mine]
        partial[cuda.blockIdx.x, group * share + k, c * taps + tap] = total


def fits(g: Geometry) -> bool:
    """Whether a block has room for the pixels under a tile's windows."""
    reach = [
        (TILE - 1) * s + (k - 1) * d + 2
        for s, k, d in zip(g.stride, g.window, g.dilation, strict=True)
    ]
    return g.groups > 1 and max(reach) <= PATCH and g.filters > 0


def conv2d_backward_input(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """(N, K, OH, OW), (K, C / G, kh, kw), (C,) or None -> (N, C, H, W)."""
    if not fits(g):
        return input_direct(grad, weight, bias, g=g)
    grad, weight, bias, dx = input_arrays(grad, weight, bias, g)
    term = zeros(1, grad.dtype, grad) if bias is None else bias
    tiles = blocks(g.size[0], TILE) * blocks(g.size[1], TILE)
    grid = (tiles, g.groups * blocks(g.channels // g.groups, FILTERS), g.images)
    arguments = (grad, weight, term, bias is not None, g.groups, steps_of(g), dx)
    launch(conv2d_backward_input_kernel, grid, (TILE, TILE), *arguments)
    return dx


def conv2d_backward_weight(grad: Any, x: Any, *, g: Geometry) -> Any:
    """(N, K, OH, OW), (N, C, H, W) -> (K, C / G, kh, kw)."""
    if not fits(g) or g.filters // g.groups > MOST_FILTERS or g.images == 0:
        return weight_direct(grad, x, g=g)
    grad, x, dweight = weight_arrays(grad, x, g)
    tiles = g.images * math.prod(blocks(n, TILE) for n in g.output_size)
    partial = empty((blocks(tiles, SLICE), g.filters, g.inner), grad.dtype, grad)
    values = blocks(g.filters // g.groups * g.inner, TILE * TILE)
    grid, sizes = (len(partial), values, g.groups), (g.window, steps_of(g), g.groups)
    launch(conv2d_backward_weight_kernel, grid, TILE * TILE, grad, x, *sizes, partial)
    tiles_of_sum = (blocks(g.filters, TILE), blocks(g.inner, TILE))
    total = dweight.reshape(g.filters, g.inner)
    launch(conv2d_add_slices_kernel, tiles_of_sum, (TILE, TILE), partial, total)
    return dweight
