"""RoIAlign as two small matrix products: out = A F B^T, for each RoI and channel.

Bilinear interpolation treats rows and columns apart, and so does the mean over a bin's grid of
samples.  Row p of A (PH, H) therefore holds the weight of each feature row in bin p, B (PW, W)
the same for columns, and the gradient is A^T G B.  Second witness for the reference: it shares
where samples lie, nothing else.  For `max` the matrices have a row for every sample instead.

Only the rows and columns some sample reads take part, so that a NaN elsewhere stays there; one
that is read spreads over the RoI's whole output (0 times NaN is NaN).

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns), S samples a bin along one axis.
"""

from __future__ import annotations

import functools

import numpy as np

from minimask.kernels.roi_align.geometry import Axis, axes, corners
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
        ny, nx = rows.samples[r], columns.samples[r]
        if ny == 0 or nx == 0:
            continue
        a, y = sample_weights(rows, r, size[0], height)
        b, x = sample_weights(columns, r, size[1], width)
        crop = features[image[r]][:, y[:, None], x]
        if reduce == "max":
            samples = a @ crop @ b.T
            out[r] = samples.reshape(channels, size[0], ny, size[1], nx).max((2, 4))
        else:
            out[r] = bin_mean(a, ny) @ crop @ bin_mean(b, nx).T
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
    """(R, C, PH, PW), (R, 5) -> (N, C, H, W): the sum of A^T G B over the RoIs."""
    image, boxes = split_rois(rois)
    size = grad.shape[2:]
    out = np.zeros(shape, grad.dtype)
    rows, columns = axes(boxes, size, scale, ratio, aligned)
    for r in range(len(boxes)):
        ny, nx = rows.samples[r], columns.samples[r]
        if ny == 0 or nx == 0:
            continue
        a, y = sample_weights(rows, r, size[0], shape[2])
        b, x = sample_weights(columns, r, size[1], shape[3])
        out[image[r]][:, y[:, None], x] += bin_mean(a, ny).T @ grad[r] @ bin_mean(b, nx)
    return out


forward_pyramid = functools.partial(forward_each, forward)
backward_pyramid = functools.partial(backward_each, backward)


def sample_weights(axis: Axis, r: int, bins: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """What each cell weighs in each sample of RoI `r`, (P S, cells read), and those cells."""
    near = corners(axis, r, bins, length)
    weights = np.zeros((near.low.size, length))
    sample = np.arange(near.low.size)
    weights[sample, near.low] += np.where(near.inside, 1 - near.part, 0)
    weights[sample, near.high] += np.where(near.inside, near.part, 0)
    cells = np.flatnonzero(weights.any(0))
    return weights[:, cells], cells


def bin_mean(weights: np.ndarray, samples: int) -> np.ndarray:
    """(P S, cells) -> (P, cells): the mean over each bin's samples."""
    return weights.reshape(len(weights) // samples, samples, weights.shape[1]).mean(1)
