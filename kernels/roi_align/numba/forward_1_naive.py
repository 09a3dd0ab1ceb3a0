"""RoIAlign, forward, in Numba-CUDA, twin of forward_1_naive.cu: one thread an output value.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32, int64

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, device, jit, launch
from minimask.kernels.roi_align.numba.sampling import (
    end_sample,
    first_sample,
    image_of,
    is_inside,
    near_cell,
    part_of,
    sample_at,
    samples_of,
    side_of,
    start_of,
)


@device
def interpolate(plane, y, x):
    """The bilinear value of a feature plane at a position that counts."""
    height, width = plane.shape
    above, left = near_cell(y, height), near_cell(x, width)
    below, right = min(above + 1, height - 1), min(left + 1, width - 1)
    v, u = part_of(y, height), part_of(x, width)
    one = float32(1)
    top = plane[above, left] * (one - u) + plane[above, right] * u
    bottom = plane[below, left] * (one - u) + plane[below, right] * u
    return top * (one - v) + bottom * v


@jit
def roi_align_forward_kernel(features, rois, scale, ratio, aligned, largest, out):
    """One thread an output; neighbors in a warp read the same rows of a plane."""
    index = cuda.grid(1)
    if index >= out.size:
        return
    channels, bins_y, bins_x = out.shape[1], out.shape[2], out.shape[3]
    q, p = index % bins_x, index // bins_x % bins_y
    c, r = index // (bins_x * bins_y) % channels, index // (bins_x * bins_y * channels)
    height, width = features.shape[2], features.shape[3]
    side_y = side_of(rois[r, 2], rois[r, 4], scale, aligned)
    side_x = side_of(rois[r, 1], rois[r, 3], scale, aligned)
    ny, nx = samples_of(side_y, bins_y, ratio), samples_of(side_x, bins_x, ratio)
    image = image_of(rois, r, features.shape[0])
    out[r, c, p, q] = float32(0)
    if image < 0 or ny == 0 or nx == 0:
        return
    y0, x0 = start_of(rois[r, 2], scale, aligned), start_of(rois[r, 1], scale, aligned)
    high, wide = side_y / float32(bins_y), side_x / float32(bins_x)
    total, most, counted = float32(0), float32(-math.inf), int64(0)
    below, after = float32(-1), float32(height)
    for i in range(
        first_sample(y0, high, p, ny, below, after), end_sample(y0, high, p, ny, below, after)
    ):
        y = sample_at(y0, high, p, i, ny)
        for j in range(
            first_sample(x0, wide, q, nx, below, float32(width)),
            end_sample(x0, wide, q, nx, below, float32(width)),
        ):
            x = sample_at(x0, wide, q, j, nx)
            if is_inside(y, height) and is_inside(x, width):
                value = interpolate(features[image, c], y, x)
                total += value
                counted += 1
                if value > most or value != value:  # a NaN stays: nothing is greater than it
                    most = value
    if largest:
        if counted < ny * nx and not most > float32(0) and most == most:
            most = float32(0)  # a sample outside counts as 0
        out[r, c, p, q] = most
    else:
        out[r, c, p, q] = total / (float32(ny) * float32(nx))


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
    """(N, C, H, W), (R, 5) -> (R, C, PH, PW)."""
    require_float32(features=features, rois=rois)
    features, rois = contiguous("features", features), contiguous("rois", rois)
    out = empty((len(rois), features.shape[1], *size), np.float32, features)
    options = (np.float32(scale), ratio, int(aligned), int(reduce == "max"))
    launch(roi_align_forward_kernel, blocks(out.size, 32), 32, features, rois, *options, out)
    return out
