"""Convolution in Numba-CUDA: a thread owns several values, twin of forward_3_registers.cu.

Letters: N images, C input channels, K filters, G groups; r a row of the window, (c, u, v), and m a
pixel of the output, (n, i, j), as in rung 2.  The tile is smaller than in CUDA C++, so that
the simulator gets through: 64 threads, 8 x 8, own 16 filters at 32 pixels.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math
from typing import Any

from numba import float32

from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.conv2d.numba.forward_1_direct import arrays, options
from minimask.kernels.conv2d.numba.forward_2_shared import weight_value, window_value
from minimask.kernels.launch import blocks
from minimask.kernels.numba_cuda import cuda, jit, launch

SIDE, ROWS = 8, 4  # threads across and down a tile; rows of a step
MORE_FILTERS, MORE_PIXELS = 2, 4  # of a thread
FILTERS, PIXELS = SIDE * MORE_FILTERS, SIDE * MORE_PIXELS


@jit
def conv2d_forward_kernel(
    x, weight, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, y
):
    """A thread 2 filters at 4 pixels, 8 apart: 6 reads of shared memory for 8 products."""
    weights = cuda.shared.array((ROWS, FILTERS), float32)
    columns = cuda.shared.array((ROWS, PIXELS), float32)
    total = cuda.local.array((MORE_FILTERS, MORE_PIXELS), float32)
    for a in range(MORE_FILTERS):
        for b in range(MORE_PIXELS):
            total[a, b] = float32(0)
    across, down, group = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
    thread = down * SIDE + across
    share, depth = y.shape[1] // groups, weight.shape[1]
    rows, plane = depth * weight.shape[2] * weight.shape[3], y.shape[2] * y.shape[3]
    pixels = y.shape[0] * plane
    first_k, first_m = cuda.blockIdx.y * FILTERS, cuda.blockIdx.x * PIXELS
    # the one pixel of the tile that this thread looks up, for every second row
    m = first_m + thread % PIXELS
    n, top = m // plane, m % plane // y.shape[3] * stride_h - pad_h
    left = m % y.shape[3] * stride_w - pad_w
    for first in range(0, rows, ROWS):
        r = first + thread % ROWS
        k = first_k + thread // ROWS
        weights[thread % ROWS, thread // ROWS] = float32(0)
        if k < share and r < rows:
            weights[thread % ROWS, thread // ROWS] = weight_value(weight, group * share + k, r)
        for row in range(thread // PIXELS, ROWS, SIDE * SIDE // PIXELS):
            columns[row, thread % PIXELS] = float32(0)
            if m < pixels and first + row < rows:
                columns[row, thread % PIXELS] = window_value(
                    x, weight, n, group * depth, top, left, dilation_h, dilation_w, first + row
                )
        cuda.syncthreads()
        for row in range(ROWS):
            for a in range(MORE_FILTERS):
                w = weights[row, down + SIDE * a]
                for b in range(MORE_PIXELS):
                    total[a, b] += w * columns[row, across + SIDE * b]
        cuda.syncthreads()  # before the next numbers overwrite these
    for b in range(MORE_PIXELS):
        m = first_m + across + SIDE * b
        for a in range(MORE_FILTERS):
            k = first_k + down + SIDE * a
            if m < pixels and k < share:
                channel = group * share + k
                y[m // plane, channel, m % plane // y.shape[3], m % y.shape[3]] = (
                    total[a, b] + bias[channel]
                )


def conv2d(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """(N, C, H, W), (K, C / G, kh, kw), (K,) or None -> (N, K, OH, OW)."""
    x, weight, bias, y = arrays(x, weight, bias, g)
    pixels = g.images * math.prod(g.output_size)
    grid = (blocks(pixels, PIXELS), blocks(g.filters // g.groups, FILTERS), g.groups)
    launch(conv2d_forward_kernel, grid, (SIDE, SIDE), x, weight, bias, *options(g), y)
    return y
