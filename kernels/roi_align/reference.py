"""RoIAlign as its definition reads: every sample by bilinear interpolation, then the bin's mean.

Vectorized over channels and samples; one RoI at a time.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns), S samples a bin along one axis (SY, SX).
"""

from __future__ import annotations

import functools

import numpy as np

from minimask.kernels.roi_align.geometry import axes, corners
from minimask.kernels.roi_align.levels import backward_each, forward_each
from minimask.kernels.rois import split_rois


def forward(
    features: np.ndarray,
    rois: np.ndarray,
    *,
    size: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
    reduce: str,
) -> np.ndarray:
    """(N, C, H, W), (R, 5) -> (R, C, PH, PW)."""
    image, boxes = split_rois(rois)
    channels, height, width = features.shape[1:]
    out = np.zeros((len(boxes), channels, *size), features.dtype)
    rows, columns = axes(boxes, size, scale, ratio, aligned)
    for r in range(len(boxes)):
        if rows.samples[r] == 0 or columns.samples[r] == 0:
            continue
        y = corners(rows, r, size[0], height)
        x = corners(columns, r, size[1], width)
        above, below = features[image[r]][:, y.low], features[image[r]][:, y.high]
        above = above[..., x.low] * (1 - x.part) + above[..., x.high] * x.part
        below = below[..., x.low] * (1 - x.part) + below[..., x.high] * x.part
        value = above * (1 - y.part[:, None]) + below * y.part[:, None]  # (C, PH SY, PW SX)
        value = np.where(y.inside[:, None] & x.inside, value, 0)
        value = value.reshape(channels, size[0], rows.samples[r], size[1], columns.samples[r])
        out[r] = value.mean((2, 4)) if reduce == "mean" else value.max((2, 4))
    return out


def backward(
    grad: np.ndarray,
    rois: np.ndarray,
    *,
    shape: tuple[int, int, int, int],
    scale: float,
    ratio: int,
    aligned: bool,
) -> np.ndarray:
    """(R, C, PH, PW), (R, 5) -> (N, C, H, W): every sample gives its share to its corners."""
    image, boxes = split_rois(rois)
    size = grad.shape[2:]
    out = np.zeros(shape, grad.dtype)
    rows, columns = axes(boxes, size, scale, ratio, aligned)
    for r in range(len(boxes)):
        ny, nx = rows.samples[r], columns.samples[r]
        if ny == 0 or nx == 0:
            continue
        y = corners(rows, r, size[0], shape[2])
        x = corners(columns, r, size[1], shape[3])
        share = (grad[r] / (ny * nx)).repeat(ny, axis=1).repeat(nx, axis=2)  # (C, PH SY, PW SX)
        share = np.where(y.inside[:, None] & x.inside, share, 0)
        for row, weight_y in ((y.low, 1 - y.part), (y.high, y.part)):
            for column, weight_x in ((x.low, 1 - x.part), (x.high, x.part)):
                weighted = share * (weight_y[:, None] * weight_x)
                for c in range(shape[1]):
                    np.add.at(out[image[r], c], (row[:, None], column), weighted[c])
    return out


forward_pyramid = functools.partial(forward_each, forward)
backward_pyramid = functools.partial(backward_each, backward)
