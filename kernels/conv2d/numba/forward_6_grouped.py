"""Convolution in Numba-CUDA for groups of few channels: twin of forward_6_grouped.cu.

A block owns a rectangle of 8 x 8 pixels in up to 4 filters of one group, and copies the pixels
under all of its windows into shared memory, one channel at a time.

Letters: N images, C input channels, K filters, G groups, H W height and width of the input, OH OW
of the output.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.conv2d.numba.backward_6_grouped import (
    FILTERS,
    PATCH,
    TILE,
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
    fits,
)
from minimask.kernels.conv2d.numba.forward_1_direct import arrays, options
from minimask.kernels.conv2d.numba.forward_1_direct import conv2d as conv2d_direct
from minimask.kernels.launch import blocks
from minimask.kernels.numba_cuda import cuda, jit, launch

__all__ = ["conv2d", "conv2d_backward_bias", "conv2d_backward_input", "conv2d_backward_weight"]


@jit
def conv2d_forward_kernel(
    x, weight, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, y
):
    """Tiles of one image along x of the grid, blocks of filters along y, images along z."""
    patch = cuda.shared.array((PATCH, PATCH), float32)
    total = cuda.local.array(FILTERS, float32)
    tx, ty, n = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
    share, depth = y.shape[1] // groups, weight.shape[1]
    parts, across = (share + FILTERS - 1) // FILTERS, (y.shape[3] + TILE - 1) // TILE
    group, first_k = cuda.blockIdx.y // parts, cuda.blockIdx.y % parts * FILTERS
    count = min(FILTERS, share - first_k)
    top, left = cuda.blockIdx.x // across * TILE, cuda.blockIdx.x % across * TILE
    rows = (TILE - 1) * stride_h + (weight.shape[2] - 1) * dilation_h + 1
    columns = (TILE - 1) * stride_w + (weight.shape[3] - 1) * dilation_w + 1
    for f in range(FILTERS):
        total[f] = float32(0)
    for c in range(depth):
        for r in range(ty, rows, TILE):
            row = top * stride_h - pad_h + r
            for q in range(tx, columns, TILE):
                column = left * stride_w - pad_w + q
                patch[r, q] = float32(0)
                if row >= 0 and row < x.shape[2] and column >= 0 and column < x.shape[3]:
                    patch[r, q] = x[n, group * depth + c, row, column]
        cuda.syncthreads()
        for u in range(weight.shape[2]):
            for v in range(weight.shape[3]):
                value = patch[ty * stride_h + u * dilation_h, tx * stride_w + v * dilation_w]
                for f in range(count):
                    total[f] += weight[group * share + first_k + f, c, u, v] * value
        cuda.syncthreads()  # before the next channel overwrites this one
    i, j = top + ty, left + tx
    if i < y.shape[2] and j < y.shape[3]:
        for f in range(count):
            k = group * share + first_k + f
            y[n, k, i, j] = total[f] + bias[k]


def conv2d(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """(N, C, H, W), (K, C / G, kh, kw), (K,) or None -> (N, K, OH, OW)."""
    if not fits(g):
        return conv2d_direct(x, weight, bias, g=g)
    x, weight, bias, y = arrays(x, weight, bias, g)
    tiles = blocks(g.output_size[0], TILE) * blocks(g.output_size[1], TILE)
    grid = (tiles, g.groups * blocks(g.filters // g.groups, FILTERS), g.images)
    launch(conv2d_forward_kernel, grid, (TILE, TILE), x, weight, bias, *options(g), y)
    return y
