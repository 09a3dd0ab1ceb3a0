"""The gradient of RoIAlign in Numba-CUDA, a simple form of backward_3_gather.cu: one thread a cell.

A thread owns a cell of the gradient, goes through all RoIs in their order and adds what each gives
to its cell.  Nobody else writes there: no atomic additions, one order, the same bits in every run.
backward_3_gather.cu does so for tiles of cells, which share the search and the weights.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, device, jit, launch
from minimask.kernels.roi_align.numba.sampling import (
    cell_weight,
    image_of,
    samples_of,
    side_of,
    start_of,
)


@device
def reaches(start, side, cell):
    """Whether a sample of the RoI can lie within a cell of `cell`; some too many do no harm."""
    low, high = min(start, start + side), max(start, start + side)
    slack = float32(0.01) + (high - low) * float32(1e-6)
    return low - slack <= float32(cell + 1) and high + slack >= float32(cell - 1)


@jit
def roi_align_backward_kernel(grad, rois, scale, ratio, aligned, out):
    """One thread a cell of one image and channel."""
    index = cuda.grid(1)
    if index >= out.size:
        return
    channels, height, width = out.shape[1], out.shape[2], out.shape[3]
    x, y = index % width, index // width % height
    c, n = index // (width * height) % channels, index // (width * height * channels)
    bins_y, bins_x = grad.shape[2], grad.shape[3]
    total = float32(0)
    for r in range(rois.shape[0]):
        if image_of(rois, r, out.shape[0]) != n:
            continue
        side_y = side_of(rois[r, 2], rois[r, 4], scale, aligned)
        side_x = side_of(rois[r, 1], rois[r, 3], scale, aligned)
        ny, nx = samples_of(side_y, bins_y, ratio), samples_of(side_x, bins_x, ratio)
        y0, x0 = start_of(rois[r, 2], scale, aligned), start_of(rois[r, 1], scale, aligned)
        if ny == 0 or nx == 0 or not reaches(y0, side_y, y) or not reaches(x0, side_x, x):
            continue
        high, wide = side_y / float32(bins_y), side_x / float32(bins_x)
        for p in range(bins_y):
            down = cell_weight(y0, high, p, ny, height, y)
            if down > float32(0):
                for q in range(bins_x):
                    across = cell_weight(x0, wide, q, nx, width, x)
                    if across > float32(0):
                        total += down * across * grad[r, c, p, q]
    out[n, c, y, x] = total


def backward(
    grad: Any,
    rois: Any,
    *,
    shape: tuple[int, int, int, int],
    scale: float,
    ratio: int,
    aligned: bool,
) -> Any:
    """(R, C, PH, PW), (R, 5) -> (N, C, H, W), the same bits in every run."""
    require_float32(grad=grad, rois=rois)
    grad, rois = contiguous("grad", grad), contiguous("rois", rois)
    out = empty(shape, np.float32, grad)
    options = (np.float32(scale), ratio, int(aligned))
    launch(roi_align_backward_kernel, blocks(out.size, 32), 32, grad, rois, *options, out)
    return out
