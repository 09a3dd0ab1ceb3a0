"""RoIAlign in compiled loops, as rows first and columns second (out = A F B^T).

The samples of a bin read few distinct rows and columns, and neighboring samples share them: their
weights are merged once per RoI into `Taps` (on random RoIs 6 instead of 16 reads a bin), for all
channels together.  One task owns one feature plane (image, channel) and walks the RoIs of that
image: the plane stays in the core's cache, reads run along x, and in the backward pass no two
tasks write the same number, so the sums have one order.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import njit, prange, uint32, uint64

from minimask.kernels.roi_align.geometry import Axis, axes
from minimask.kernels.roi_align.levels import backward_each, forward_each
from minimask.kernels.rois import by_image, split_rois

GROUP = 4  # taps worked on together; a bin's taps are padded to a multiple with weight 0
FAST = {"contract", "reassoc", "nsz"}  # may reorder sums, but NaN and infinity stay what they are


class Taps(NamedTuple):
    """Along one axis: which cells each bin reads, and with what weight."""

    first: np.ndarray  # (R P + 1,) uint32, where each bin's taps begin
    cell: np.ndarray  # (taps,) uint32, counted from the RoI's first cell
    weight: np.ndarray  # (taps,) in the features' type
    low: np.ndarray  # (R,) uint32, the first cell the RoI reads
    width: np.ndarray  # (R,) uint32, cells from there to the last it reads


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
    features = np.ascontiguousarray(features)
    out = np.empty((len(boxes), features.shape[1], *size), features.dtype)
    if not out.size:
        return out
    rows, columns = axes(boxes, size, scale, ratio, aligned)
    order, first = by_image(image, features.shape[0])
    if reduce == "max":
        _pool_max(features, order, first, rows, columns, out)
    else:
        y = merge_taps(rows, size[0], features.shape[2], features.dtype)
        x = merge_taps(columns, size[1], features.shape[3], features.dtype)
        _pool(features, order, first, y, x, out)
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
    """(R, C, PH, PW), (R, 5) -> (N, C, H, W)."""
    image, boxes = split_rois(rois)
    out = np.zeros(shape, grad.dtype)
    if not grad.size:
        return out
    rows, columns = axes(boxes, grad.shape[2:], scale, ratio, aligned)
    y = merge_taps(rows, grad.shape[2], shape[2], grad.dtype)
    x = merge_taps(columns, grad.shape[3], shape[3], grad.dtype)
    _spread(np.ascontiguousarray(grad), *by_image(image, shape[0]), y, x, out)
    return out


forward_pyramid = functools.partial(forward_each, forward)
backward_pyramid = functools.partial(backward_each, backward)


def merge_taps(axis: Axis, bins: int, length: int, dtype: np.dtype) -> Taps:
    """The cells and weights of every bin of every RoI, along an axis of `length` cells."""
    # ascending samples read each cell a bin touches once; those of an inverted box may repeat it
    touched = np.minimum(np.floor(np.abs(axis.size)) + 3, length)
    most = np.where(axis.size < 0, 2 * axis.samples, np.minimum(2 * axis.samples, touched))
    cell = np.empty(int((most + GROUP).sum()) * bins, np.uint32)
    weight = np.empty(cell.size)
    first = np.zeros(len(axis.start) * bins + 1, np.uint32)
    low, count = np.zeros((2, len(axis.start)), np.uint32)
    _merge(*axis, bins, length, first, cell, weight, low, count)
    taps = int(first[-1])
    return Taps(first, cell[:taps], weight[:taps].astype(dtype), low, count)


@njit(cache=True, error_model="numpy")
def _merge(start, size, samples, bins, length, first, cell, weight, low, count):
    taps = 0
    for r in range(start.size):
        begin_roi = taps
        lowest, highest = length, -1
        for p in range(bins):
            begin = taps
            n = samples[r]
            skip, stop = _samples_inside(start[r], size[r], n, p, length)
            for i in range(skip, stop):
                position = start[r] + (p + (i + 0.5) / n) * size[r]
                if not (position >= -1 and position <= length):
                    continue
                position = min(max(position, 0.0), length - 1.0)
                near = int(position)
                far = min(near + 1, length - 1)
                part = position - near
                lowest, highest = min(lowest, near), max(highest, far)
                for target, share in ((near, (1 - part) / n), (far, part / n)):
                    k = taps - 1
                    while k >= begin and cell[k] > target:
                        k -= 1
                    if k >= begin and cell[k] == target:
                        weight[k] += share
                    else:
                        cell[taps], weight[taps] = target, share
                        taps += 1
            while (taps - begin) % GROUP:  # a repeated cell: a NaN elsewhere is not read
                cell[taps], weight[taps] = cell[begin], 0.0
                taps += 1
            first[r * bins + p + 1] = taps
        if taps > begin_roi:
            low[r], count[r] = lowest, highest + 1 - lowest
            for k in range(begin_roi, taps):
                cell[k] -= low[r]


@njit(cache=True, error_model="numpy")
def _samples_inside(start, size, n, p, length):
    """Which samples of bin `p` can lie on the map: a huge box must not cost its size."""
    if n <= 64 or size == 0:
        return 0, n
    a = ((-1 - start) / size - p) * n
    b = ((length - start) / size - p) * n
    return int(min(max(min(a, b) - 2, 0), n)), int(min(max(max(a, b) + 2, 0), n))


# Indices are unsigned throughout the loops: a signed one costs a test for Python's negative index.
@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _pool(features, order, first, y, x, out):
    images, width = features.shape[0], uint64(features.shape[3])
    ph, pw = uint64(out.shape[2]), uint64(out.shape[3])
    for task in prange(images * features.shape[1]):
        n, c = task % images, task // images
        plane = features[n, c].ravel()
        strips = np.empty(ph * width, features.dtype)  # A F: row p of the RoI, before columns
        for s in range(first[n], first[n + 1]):
            r = uint64(order[s])
            corner, count = uint64(y.low[r]) * width + uint64(x.low[r]), uint64(x.width[r])
            for p in range(ph):
                strip = strips[p * width : p * width + count]
                strip[:] = 0
                bin_y = r * ph + p
                for k in range(y.first[bin_y], y.first[bin_y + uint64(1)], uint32(GROUP)):
                    w0, w1, w2, w3 = y.weight[k], y.weight[k + 1], y.weight[k + 2], y.weight[k + 3]
                    c0, c1 = corner + y.cell[k] * width, corner + y.cell[k + 1] * width
                    c2, c3 = corner + y.cell[k + 2] * width, corner + y.cell[k + 3] * width
                    f0, f1 = plane[c0 : c0 + count], plane[c1 : c1 + count]
                    f2, f3 = plane[c2 : c2 + count], plane[c3 : c3 + count]
                    for j in range(count):
                        strip[j] += w0 * f0[j] + w1 * f1[j] + w2 * f2[j] + w3 * f3[j]
            crop = out[r, c].ravel()
            crop[:] = 0
            for q in range(pw):
                bin_x = r * pw + q
                for k in range(x.first[bin_x], x.first[bin_x + uint64(1)], uint32(GROUP)):
                    w0, w1, w2, w3 = x.weight[k], x.weight[k + 1], x.weight[k + 2], x.weight[k + 3]
                    c0, c1, c2, c3 = x.cell[k], x.cell[k + 1], x.cell[k + 2], x.cell[k + 3]
                    for p in range(ph):
                        row = strips[p * width : p * width + width]
                        value = w0 * row[c0] + w1 * row[c1] + w2 * row[c2] + w3 * row[c3]
                        crop[p * pw + q] += value


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _spread(grad, order, first, y, x, out):
    images, width = out.shape[0], uint64(out.shape[3])
    ph, pw = uint64(grad.shape[2]), uint64(grad.shape[3])
    for task in prange(images * out.shape[1]):
        n, c = task % images, task // images
        plane = out[n, c].ravel()
        strips = np.empty(ph * width, out.dtype)  # G B: row p of the RoI, spread over columns
        for s in range(first[n], first[n + 1]):
            r = uint64(order[s])
            corner, count = uint64(y.low[r]) * width + uint64(x.low[r]), uint64(x.width[r])
            crop = grad[r, c].ravel()
            for p in range(ph):
                strips[p * width : p * width + count] = 0
            for q in range(pw):
                bin_x = r * pw + q
                for k in range(x.first[bin_x], x.first[bin_x + uint64(1)]):
                    weight, cell = x.weight[k], uint64(x.cell[k])
                    if weight != 0:  # padding
                        for p in range(ph):
                            strips[p * width + cell] += weight * crop[p * pw + q]
            for p in range(ph):
                strip = strips[p * width : p * width + count]
                bin_y = r * ph + p
                for k in range(y.first[bin_y], y.first[bin_y + uint64(1)]):
                    weight, at = y.weight[k], corner + y.cell[k] * width
                    if weight != 0:
                        row = plane[at : at + count]
                        for j in range(count):
                            row[j] += weight * strip[j]


@njit(parallel=True, cache=True, error_model="numpy")
def _pool_max(features, order, first, y, x, out):
    images, ph, pw = features.shape[0], out.shape[2], out.shape[3]
    for task in prange(images * features.shape[1]):
        n, c = task % images, task // images
        for s in range(first[n], first[n + 1]):
            r = order[s]
            for p in range(ph):
                for q in range(pw):
                    out[r, c, p, q] = _largest_sample(features[n, c], y, x, r, p, q)


@njit(cache=True, error_model="numpy")
def _largest_sample(plane, y, x, r, p, q):
    height, width = plane.shape
    ny, nx = y.samples[r], x.samples[r]
    top, bottom = _samples_inside(y.start[r], y.size[r], ny, p, height)
    left, right = _samples_inside(x.start[r], x.size[r], nx, q, width)
    some_outside = bottom - top < ny or right - left < nx
    best = 0.0 if some_outside or ny * nx == 0 else -np.inf
    for i in range(top, bottom):
        row = y.start[r] + (p + (i + 0.5) / ny) * y.size[r]
        for j in range(left, right):
            column = x.start[r] + (q + (j + 0.5) / nx) * x.size[r]
            value = 0.0
            if row >= -1 and row <= height and column >= -1 and column <= width:
                value = _interpolate(plane, row, column)
            if value > best or value != value:  # a NaN stays: nothing is greater than it
                best = value
    return best


@njit(cache=True, error_model="numpy")
def _interpolate(plane, row, column):
    row = min(max(row, 0.0), plane.shape[0] - 1.0)
    column = min(max(column, 0.0), plane.shape[1] - 1.0)
    y, x = int(row), int(column)
    below, right = min(y + 1, plane.shape[0] - 1), min(x + 1, plane.shape[1] - 1)
    v, u = row - y, column - x
    above = plane[y, x] * (1 - u) + plane[y, right] * u
    return above * (1 - v) + (plane[below, x] * (1 - u) + plane[below, right] * u) * v
