"""Convolution in Numba-CUDA: tiles in shared memory, twin of forward_2_shared.cu.

Letters: N images, C input channels, K filters, G groups; r a row of the window, (c, u, v), and m a
pixel of the output, (n, i, j).  The convolution is a matrix product, weight (K, rows) times columns
(rows, pixels), whose values are looked up in x.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math
from typing import Any

from numba import float32

from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.conv2d.numba.backward_2_shared import (
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
)
from minimask.kernels.conv2d.numba.forward_1_direct import arrays, options
from minimask.kernels.launch import blocks
from minimask.kernels.numba_cuda import cuda, device, jit, launch

__all__ = ["conv2d", "conv2d_backward_bias", "conv2d_backward_input", "conv2d_backward_weight"]

__all__ = [
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
]

TILE = 8


@device
def window_value(x, weight, n, first_channel, top, left, dilation_h, dilation_w, r):
    """Row `r` of the window that begins at (top, left): 0 in the padding."""
    c, tap = r // (weight.shape[2] * weight.shape[3]), r % (weight.shape[2] * weight.shape[3])
    row = top + tap // weight.shape[3] * dilation_h
    column = left + tap % weight.shape[3] * dilation_w
    if row < 0 or row >= x.shape[2] or column < 0 or column >= x.shape[3]:
        return float32(0)
    return x[n, first_channel + c, row, column]


@device
def weight_value(weight, channel, r):
    """Row `r` of a filter."""
    c, tap = r // (weight.shape[2] * weight.shape[3]), r % (weight.shape[2] * weight.shape[3])
    return weight[channel, c, tap // weight.shape[3], tap % weight.shape[3]]


@jit
def conv2d_forward_kernel(
    x, weight, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, y
):
    """A block 8 filters at 8 pixels, a thread one value; 8 rows of both operands at a time."""
    weights = cuda.shared.array((TILE, TILE), float32)
    columns = cuda.shared.array((TILE, TILE), float32)
    across, down, group = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
    share, depth = y.shape[1] // groups, weight.shape[1]
    rows, plane = depth * weight.shape[2] * weight.shape[3], y.shape[2] * y.shape[3]
    m, k = cuda.blockIdx.x * TILE + across, cuda.blockIdx.y * TILE + down
    has_pixel, has_filter = m < y.shape[0] * plane, k < share
    n, i, j = m // plane, m % plane // y.shape[3], m % y.shape[3]
    top, left = i * stride_h - pad_h, j * stride_w - pad_w
    channel = group * share + k
    total = float32(0)
    for first in range(0, rows, TILE):
        r = first + across
        weights[down, across] = float32(0)
        if has_filter and r < rows:
            weights[down, across] = weight_value(weight, channel, r)
        columns[down, across] = float32(0)
        if has_pixel and first + down < rows:
            columns[down, across] = window_value(
                x, weight, n, group * depth, top, left, dilation_h, dilation_w, first + down
            )
        cuda.syncthreads()
        for row in range(TILE):
            total += weights[down, row] * columns[row, across]
        cuda.syncthreads()  # before the next numbers overwrite these
    if has_pixel and has_filter:
        y[n, channel, i, j] = total + bias[channel]


def conv2d(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """(N, C, H, W), (K, C / G, kh, kw), (K,) or None -> (N, K, OH, OW)."""
    x, weight, bias, y = arrays(x, weight, bias, g)
    pixels = g.images * math.prod(g.output_size)
    grid = (blocks(pixels, TILE), blocks(g.filters // g.groups, TILE), g.groups)
    launch(conv2d_forward_kernel, grid, (TILE, TILE), x, weight, bias, *options(g), y)
    return y
