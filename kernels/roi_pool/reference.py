"""RoIPool as its definition reads: cut each bin out and take the argmax, all channels at once.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

from __future__ import annotations

import itertools

import numpy as np

from minimask.kernels.roi_pool.geometry import bins
from minimask.kernels.rois import split_rois


def forward(
    features: np.ndarray,
    rois: np.ndarray,
    *,
    size: tuple[int, int],
    scale: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C, H, W), (R, 5) -> output and argmax, (R, C, PH, PW) each."""
    image, boxes = split_rois(rois)
    channels, height, width = features.shape[1:]
    out = np.zeros((len(boxes), channels, *size), features.dtype)
    argmax = np.full(out.shape, -1, np.int32)
    rows, columns = bins(boxes, size, scale, height, width)
    for r, p, q in itertools.product(range(len(boxes)), range(size[0]), range(size[1])):
        top, bottom = rows.begin[r, p], rows.end[r, p]
        left, right = columns.begin[r, q], columns.end[r, q]
        if top < bottom and left < right:
            count = (bottom - top) * (right - left)
            cells = features[image[r], :, top:bottom, left:right].reshape(channels, count)
            best = cells.argmax(1)  # the first of equals; NaN counts as the largest
            out[r, :, p, q] = cells[np.arange(channels), best]
            y, x = np.divmod(best, right - left)
            argmax[r, :, p, q] = (top + y) * width + left + x
    return out, argmax


def backward(
    grad: np.ndarray, rois: np.ndarray, argmax: np.ndarray, *, shape: tuple[int, int, int, int]
) -> np.ndarray:
    """(R, C, PH, PW), (R, 5), (R, C, PH, PW) -> (N, C, H, W)."""
    image, _ = split_rois(rois)
    out = np.zeros((*shape[:2], shape[2] * shape[3]), grad.dtype)
    r, c, p, q = np.nonzero(argmax >= 0)
    np.add.at(out, (image[r], c, argmax[r, c, p, q]), grad[r, c, p, q])
    return out.reshape(shape)
