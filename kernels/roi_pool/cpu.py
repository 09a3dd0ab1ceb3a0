"""RoIPool in compiled loops: one task owns one feature plane and walks the RoIs of its image.

The plane stays in the core's cache, and in the backward pass no two tasks write the same number,
so the sums have one order.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from minimask.kernels.roi_pool.geometry import bins
from minimask.kernels.rois import by_image


def forward(
    features: np.ndarray,
    image: np.ndarray,
    boxes: np.ndarray,
    *,
    size: tuple[int, int],
    scale: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C, H, W), (R,), (R, 4) -> output and argmax, (R, C, PH, PW) each."""
    out = np.empty((len(boxes), features.shape[1], *size), features.dtype)
    argmax = np.empty(out.shape, np.int32)
    if out.size:
        rows, columns = bins(boxes, size, scale, *features.shape[2:])
        order, first = by_image(image, features.shape[0])
        _largest(np.ascontiguousarray(features), order, first, rows, columns, out, argmax)
    return out, argmax


def backward(
    grad: np.ndarray, image: np.ndarray, argmax: np.ndarray, *, shape: tuple[int, int, int, int]
) -> np.ndarray:
    """(R, C, PH, PW), (R,), (R, C, PH, PW) -> (N, C, H, W)."""
    out = np.zeros(shape, grad.dtype)
    if grad.size:
        argmax = np.ascontiguousarray(argmax, np.int32)
        _to_winners(np.ascontiguousarray(grad), *by_image(image, shape[0]), argmax, out)
    return out


@njit(parallel=True, cache=True)
def _largest(features, order, first, rows, columns, out, argmax):
    images, width = features.shape[0], features.shape[3]
    for task in prange(images * features.shape[1]):
        n, c = task % images, task // images
        plane = features[n, c]
        for s in range(first[n], first[n + 1]):
            r = order[s]
            for p in range(out.shape[2]):
                for q in range(out.shape[3]):
                    left, right = columns.begin[r, q], columns.end[r, q]
                    best, where = plane[0, 0], -1
                    for y in range(rows.begin[r, p], rows.end[r, p]):
                        row = plane[y]
                        for x in range(left, right):
                            value = row[x]
                            # a NaN wins, and stays: nothing is greater than it
                            if where < 0 or value > best or (value != value and best == best):
                                best, where = value, y * width + x
                    out[r, c, p, q] = best if where >= 0 else 0
                    argmax[r, c, p, q] = where


@njit(parallel=True, cache=True)
def _to_winners(grad, order, first, argmax, out):
    images = out.shape[0]
    for task in prange(images * out.shape[1]):
        n, c = task % images, task // images
        plane = out[n, c].ravel()
        for s in range(first[n], first[n + 1]):
            r = order[s]
            values, winners = grad[r, c].ravel(), argmax[r, c].ravel()
            for i in range(winners.size):
                if winners[i] >= 0:
                    plane[winners[i]] += values[i]
