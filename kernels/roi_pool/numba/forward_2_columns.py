"""RoIPool, forward, in Numba-CUDA, twin of forward_2_columns.cu: a block owns one RoI and channel.

The borders of the bins and the largest value of each column of a row of bins are in shared memory.

Letters: C channels, R regions of interest (RoIs), P pooled size (PH rows, PW columns).
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, int32

from minimask.kernels.launch import contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, device, jit, launch
from minimask.kernels.roi_pool.numba import forward_1_naive
from minimask.kernels.roi_pool.numba.forward_1_naive import (
    bin_begin,
    bin_end,
    corner_cell,
    has_cells,
    image_of,
    wins,
)

THREADS = 64
MOST_BINS = 64  # PH + PW
COLUMNS = 512  # that fit shared memory


@device
def find_bins(rois, r, first, last, scale, p, count, length, begins, ends, k):
    """The borders of bin p along an axis, from columns `first` and `last` of `rois`."""
    low, high = corner_cell(rois[r, first], scale), corner_cell(rois[r, last], scale)
    begins[k] = bin_begin(low, high, p, count, length)
    ends[k] = bin_end(low, high, p, count, length)


@device
def pool_across(best, place, begin, end):
    """The column with the largest value, of equals the one whose value comes first in the plane."""
    winner = begin
    for x in range(begin + 1, end):
        equal = best[x] == best[winner] or (best[x] != best[x] and best[winner] != best[winner])
        if wins(best[x], best[winner]) or (equal and place[x] < place[winner]):
            winner = x
    return winner


@jit
def roi_pool_forward_kernel(features, rois, scale, out, argmax):
    """Block (r, c).  Row of bins by row of bins: one thread a column, then one thread a bin."""
    begins = cuda.shared.array(MOST_BINS, int32)  # PH of the rows, then PW of the columns
    ends = cuda.shared.array(MOST_BINS, int32)
    best = cuda.shared.array(COLUMNS, float32)
    place = cuda.shared.array(COLUMNS, int32)
    images, _, height, width = features.shape
    rows, columns = out.shape[2], out.shape[3]
    c, r, k = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    image = image_of(rois, r, images)
    if k < rows + columns:
        begins[k] = 0
        ends[k] = 0
        if image >= 0 and has_cells(rois, r, scale):
            if k < rows:
                find_bins(rois, r, 2, 4, scale, k, rows, height, begins, ends, k)
            else:
                find_bins(rois, r, 1, 3, scale, k - rows, columns, width, begins, ends, k)
    cuda.syncthreads()
    left, right = begins[rows], ends[rows + columns - 1]
    for p in range(rows):
        for x in range(left + k, right, THREADS):
            place[x - left] = -1
            for y in range(begins[p], ends[p]):
                value = features[image, c, y, x]
                if place[x - left] < 0 or wins(value, best[x - left]):
                    best[x - left] = value
                    place[x - left] = y * width + x
        cuda.syncthreads()
        if k < columns:
            begin, end = begins[rows + k] - left, ends[rows + k] - left
            if begin < end and place[begin] >= 0:
                winner = pool_across(best, place, begin, end)
                out[r, c, p, k] = best[winner]
                argmax[r, c, p, k] = place[winner]
            else:
                out[r, c, p, k] = float32(0)
                argmax[r, c, p, k] = -1
        cuda.syncthreads()


def forward(features: Any, rois: Any, *, size: tuple[int, int], scale: float) -> tuple[Any, Any]:
    """(N, C, H, W), (R, 5) -> output and argmax; rung 1 where they do not fit shared memory."""
    if sum(size) > MOST_BINS or features.shape[3] > COLUMNS or len(rois) > 65535:
        return forward_1_naive.forward(features, rois, size=size, scale=scale)
    require_float32(features=features, rois=rois)
    shape = (len(rois), features.shape[1], *size)
    out, argmax = empty(shape, features.dtype, features), empty(shape, "int32", features)
    arrays = contiguous("features", features), contiguous("rois", rois)
    grid = (shape[1], shape[0])
    launch(roi_pool_forward_kernel, grid, THREADS, *arrays, np.float32(scale), out, argmax)
    return out, argmax
