"""RoIAlign, forward, in Numba-CUDA, twin of forward_3_separable.cu: merged weights.

A bin's mean is a sum over a rectangle of cells, with a weight for each row times one for each
column.  A block owns a bin of a RoI: its threads first work out these weights, a thread a cell, and
then, a thread a channel, sum up.  The channels of a cell lie side by side, so that a warp reads
whole lines.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32

from minimask.kernels.launch import array_module, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, device, jit, launch
from minimask.kernels.roi_align.numba.forward_1_naive import forward as naive
from minimask.kernels.roi_align.numba.sampling import (
    cell_weight,
    image_of,
    near_cell,
    samples_of,
    side_of,
    start_of,
)

CELLS = 16  # rows and columns worked on together, and threads of a block


@device
def first_cell(start, size, p, length):
    """A cell at or before all that bin p reads."""
    low = min(start + float32(p) * size, start + float32(p + 1) * size)
    return max(near_cell(low - float32(0.01), length), 0)


@device
def last_cell(start, size, p, length):
    """A cell at or after all that bin p reads."""
    high = max(start + float32(p) * size, start + float32(p + 1) * size)
    return min(near_cell(high + float32(0.01), length) + 1, length - 1)


@jit
def roi_align_forward_kernel(features, rois, scale, ratio, aligned, out):
    """A block a bin (block x is the RoI and row, block y the column), a thread a channel."""
    me, q = cuda.threadIdx.x, cuda.blockIdx.y
    channels, bins_y, bins_x = out.shape[1], out.shape[2], out.shape[3]
    r, p = cuda.blockIdx.x // bins_y, cuda.blockIdx.x % bins_y
    down = cuda.shared.array(CELLS, float32)  # the simulator tells shared arrays by their lines
    across = cuda.shared.array(CELLS, float32)
    height, width = features.shape[1], features.shape[2]
    side_y = side_of(rois[r, 2], rois[r, 4], scale, aligned)
    side_x = side_of(rois[r, 1], rois[r, 3], scale, aligned)
    ny, nx = samples_of(side_y, bins_y, ratio), samples_of(side_x, bins_x, ratio)
    image = image_of(rois, r, features.shape[0])
    for c in range(me, channels, CELLS):
        out[r, c, p, q] = float32(0)
    if image < 0 or ny == 0 or nx == 0:
        return
    y0, x0 = start_of(rois[r, 2], scale, aligned), start_of(rois[r, 1], scale, aligned)
    high, wide = side_y / float32(bins_y), side_x / float32(bins_x)
    top, bottom = first_cell(y0, high, p, height), last_cell(y0, high, p, height)
    left, right = first_cell(x0, wide, q, width), last_cell(x0, wide, q, width)
    for y in range(top, bottom + 1, CELLS):
        for x in range(left, right + 1, CELLS):
            down[me] = cell_weight(y0, high, p, ny, height, y + me)
            across[me] = cell_weight(x0, wide, q, nx, width, x + me)
            cuda.syncthreads()
            for c in range(me, channels, CELLS):
                total = out[r, c, p, q]
                for i in range(min(CELLS, bottom + 1 - y)):
                    for j in range(min(CELLS, right + 1 - x)):
                        if down[i] >= float32(0) and across[j] >= float32(0):  # it is read
                            total += down[i] * across[j] * features[image, y + i, x + j, c]
                out[r, c, p, q] = total
            cuda.syncthreads()


def forward(
    features: Any,
    rois: Any,
    *,
    size: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
    reduce: str,
) -> Any:
    """(N, C, H, W), (R, 5) -> (R, C, PH, PW); a maximum has no merged weights."""
    require_float32(features=features, rois=rois)
    if reduce == "max":
        given: dict[str, Any] = {"size": size, "scale": scale, "ratio": ratio, "aligned": aligned}
        return naive(features, rois, **given, reduce=reduce)
    last = array_module(features).ascontiguousarray(features.transpose(0, 2, 3, 1))
    rois = contiguous("rois", rois)
    out = empty((len(rois), features.shape[1], *size), np.float32, features)
    if out.size:
        grid = (len(rois) * size[0], size[1])
        options = (np.float32(scale), ratio, int(aligned))
        launch(roi_align_forward_kernel, grid, CELLS, last, rois, *options, out)
    return out
