"""RoIPool, forward, in Numba-CUDA, twin of forward_1_naive.cu: one thread an output value.

Letters: N images, C channels, H W height and width, R regions of interest (RoIs), P pooled size
(PH rows, PW columns).
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32, int64

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import SIMULATED, cuda, device, jit, launch


@device
def image_of(rois, r, images):
    """The image of a RoI, or -1; nobody may have checked it, so it may be anything, also NaN."""
    image = rois[r, 0]
    return int64(image) if image >= float32(0) and image < float32(images) else int64(-1)


if SIMULATED:

    def add_rounded(a, b):
        """A + b, rounded by itself."""
        return a + b

else:  # a plain + after a * may become one instruction that rounds once, and moves a bin's border
    add_rounded = cuda.libdevice.fadd_rn


@device
def corner_cell(corner, scale):
    """A corner's cell.  2^30 is as far from any map as infinity, and fits an integer."""
    far = float32(1073741824)
    return int64(math.floor(min(max(add_rounded(corner * scale, float32(0.5)), -far), far)))


@device
def has_cells(rois, r, scale):
    """Whether all corners of a RoI are finite, also scaled."""
    finite = True
    for k in range(1, 5):
        finite = finite and abs(rois[r, k] * scale) <= float32(3.4028235e38)  # a NaN is not
    return finite


@device
def bin_begin(low, high, p, count, length):
    """The first cell of bin p of `count` along an axis."""
    side = max(high - low + 1, int64(1))
    return min(max(low + p * side // count, int64(0)), int64(length))


@device
def bin_end(low, high, p, count, length):
    """The cell after the last one of bin p: rounded up, by adding one bin less a cell."""
    side = max(high - low + 1, int64(1))
    return min(max(low + ((p + 1) * side + count - 1) // count, int64(0)), int64(length))


@device
def wins(value, best):
    """Whether a value takes the place of the largest so far: it is larger, or the first NaN."""
    return not (value <= best) and best == best


@jit
def roi_pool_forward_kernel(features, rois, scale, out, argmax):
    """Threads of a warp take neighboring bins; each works out the borders of its own."""
    images, channels, height, width = features.shape
    count, rows, columns = out.shape[0], out.shape[2], out.shape[3]
    t = cuda.grid(1)
    if t >= count * channels * rows * columns:
        return
    p, q = t // columns % rows, t % columns
    r, c = t // (rows * columns) // channels, t // (rows * columns) % channels
    best, winner = float32(0), int64(-1)
    image = image_of(rois, r, images)
    if image >= 0 and has_cells(rois, r, scale):
        x0, y0 = corner_cell(rois[r, 1], scale), corner_cell(rois[r, 2], scale)
        x1, y1 = corner_cell(rois[r, 3], scale), corner_cell(rois[r, 4], scale)
        left, right = bin_begin(x0, x1, q, columns, width), bin_end(x0, x1, q, columns, width)
        for y in range(bin_begin(y0, y1, p, rows, height), bin_end(y0, y1, p, rows, height)):
            for x in range(left, right):
                value = features[image, c, y, x]
                if winner < 0 or wins(value, best):
                    best, winner = value, y * width + x
    out[r, c, p, q] = best
    argmax[r, c, p, q] = winner


def forward(features: Any, rois: Any, *, size: tuple[int, int], scale: float) -> tuple[Any, Any]:
    """(N, C, H, W), (R, 5) -> output and argmax, (R, C, PH, PW) each."""
    require_float32(features=features, rois=rois)
    shape = (len(rois), features.shape[1], *size)
    out, argmax = empty(shape, features.dtype, features), empty(shape, "int32", features)
    arrays = contiguous("features", features), contiguous("rois", rois)
    launch(
        roi_pool_forward_kernel, blocks(out.size, 64), 64, *arrays, np.float32(scale), out, argmax
    )
    return out, argmax
