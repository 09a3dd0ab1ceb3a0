"""RoIAlign, backward, in Numba-CUDA, twin of backward_1_atomic.cu: atomic additions.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32

from minimask.kernels.launch import blocks, contiguous, require_float32, zeros
from minimask.kernels.numba_cuda import cuda, jit, launch
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


@jit
def roi_align_backward_kernel(grad, rois, scale, ratio, aligned, out):
    """One thread an output's gradient, which it adds to the cells of every sample, atomically."""
    index = cuda.grid(1)
    if index >= grad.size:
        return
    channels, bins_y, bins_x = grad.shape[1], grad.shape[2], grad.shape[3]
    q, p = index % bins_x, index // bins_x % bins_y
    c, r = index // (bins_x * bins_y) % channels, index // (bins_x * bins_y * channels)
    height, width = out.shape[2], out.shape[3]
    side_y = side_of(rois[r, 2], rois[r, 4], scale, aligned)
    side_x = side_of(rois[r, 1], rois[r, 3], scale, aligned)
    ny, nx = samples_of(side_y, bins_y, ratio), samples_of(side_x, bins_x, ratio)
    image = image_of(rois, r, out.shape[0])
    if image < 0 or ny == 0 or nx == 0:
        return
    y0, x0 = start_of(rois[r, 2], scale, aligned), start_of(rois[r, 1], scale, aligned)
    high, wide = side_y / float32(bins_y), side_x / float32(bins_x)
    share = grad[r, c, p, q] / (float32(ny) * float32(nx))
    one, below, after = float32(1), float32(-1), float32(height)
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
                top, left = near_cell(y, height), near_cell(x, width)
                bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
                v, u = part_of(y, height), part_of(x, width)
                cuda.atomic.add(out, (image, c, top, left), share * (one - v) * (one - u))
                cuda.atomic.add(out, (image, c, top, right), share * (one - v) * u)
                cuda.atomic.add(out, (image, c, bottom, left), share * v * (one - u))
                cuda.atomic.add(out, (image, c, bottom, right), share * v * u)


def backward(
    grad: Any,
    rois: Any,
    *,
    shape: tuple[int, int, int, int],
    scale: float,
    ratio: int,
    aligned: bool,
) -> Any:
    """(R, C, PH, PW), (R, 5) -> (N, C, H, W); the order of summation changes from run to run."""
    require_float32(grad=grad, rois=rois)
    grad, rois = contiguous("grad", grad), contiguous("rois", rois)
    out = zeros(shape, np.float32, grad)
    options = (np.float32(scale), ratio, int(aligned))
    launch(roi_align_backward_kernel, blocks(grad.size, 32), 32, grad, rois, *options, out)
    return out
