"""As `cpu`, but with the channels of a cell side by side: a vector instruction for all of them.

`cpu` puts neighbors in a row into the lanes of a vector.  A RoI is rarely as wide as a vector, and
its columns cannot be worked on that way at all.  Here one task owns as many channels of an image
as a vector has numbers, turns their planes so that each cell holds them side by side, and walks the
RoIs: every sum, of rows and of columns, runs over whole vectors.  Results are turned back on
writing.  Turning costs one pass over the map, which many RoIs repay; few RoIs, and features of few
channels, go to `cpu`.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns), L lanes.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, prange, uint32

from minimask.kernels.checks import Shape
from minimask.kernels.roi_align.cpu import compiled
from minimask.kernels.roi_align.cpu.compiled import GROUP, Taps, merge_taps
from minimask.kernels.roi_align.cpu.registers import add_four, add_one
from minimask.kernels.roi_align.geometry import axes
from minimask.kernels.rois import by_image, split_rois
from minimask.kernels.vectors import lanes, transpose_block


def forward(
    features: np.ndarray, rois: np.ndarray, *, size: tuple[int, int], reduce: str, **options: Any
) -> np.ndarray:
    """(N, C, H, W), (R, 5) -> (R, C, PH, PW)."""
    if reduce == "max":
        return compiled.forward(features, rois, size=size, reduce=reduce, **options)
    out = np.empty((len(rois), features.shape[1], *size), features.dtype)
    _forward_into(features, rois, np.arange(len(rois)), out, **options)
    return out


def forward_pyramid(
    features: tuple[np.ndarray, ...],
    rois: np.ndarray,
    levels: np.ndarray,
    *,
    size: tuple[int, int],
    scales: Sequence[float],
    **options: Any,
) -> np.ndarray:
    """L times (N, C, H, W), (R, 5), (R,) -> (R, C, PH, PW)."""
    out = np.empty((len(rois), features[0].shape[1], *size), features[0].dtype)
    for i, (level, scale) in enumerate(zip(features, scales, strict=True)):
        here = np.flatnonzero(levels == i)
        _forward_into(level, rois[here], here, out, scale=scale, **options)
    return out


def _forward_into(
    features: np.ndarray,
    rois: np.ndarray,
    places: np.ndarray,
    out: np.ndarray,
    *,
    scale: float,
    ratio: int,
    aligned: bool,
) -> None:
    """Write the crop of each RoI to its place in `out`."""
    if not len(rois) or not out.size:
        return
    image, boxes = split_rois(rois)
    features, size = np.ascontiguousarray(features), out.shape[2:]
    rows, columns = axes(boxes, size, scale, ratio, aligned)
    y = merge_taps(rows, size[0], features.shape[2], features.dtype)
    x = merge_taps(columns, size[1], features.shape[3], features.dtype)
    order, first = by_image(image, features.shape[0])
    together = lanes(features.itemsize)
    if features.shape[1] >= together and _repays(y, x, features.shape):
        _pool(features, order, first, y, x, places, out, together)
    else:
        whole = len(places) == len(out)  # then they are all, in order
        crops = out if whole else np.empty((len(rois), *out.shape[1:]), out.dtype)
        compiled._pool(features, order, first, y, x, crops)
        if not whole:
            out[places] = crops


def backward(
    grad: np.ndarray, rois: np.ndarray, *, shape: tuple[int, int, int, int], **options: Any
) -> np.ndarray:
    """(R, C, PH, PW), (R, 5) -> (N, C, H, W)."""
    return _backward_of(np.ascontiguousarray(grad), rois, np.arange(len(rois)), shape, **options)


def backward_pyramid(
    grad: np.ndarray,
    rois: np.ndarray,
    levels: np.ndarray,
    *,
    shapes: Sequence[Shape],
    scales: Sequence[float],
    **options: Any,
) -> tuple[np.ndarray, ...]:
    """(R, C, PH, PW), (R, 5), (R,) -> L times (N, C, H, W)."""
    grad, out = np.ascontiguousarray(grad), []
    for i, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
        here = np.flatnonzero(levels == i)
        out.append(_backward_of(grad, rois[here], here, shape, scale=scale, **options))
    return tuple(out)


def _backward_of(
    grad: np.ndarray,
    rois: np.ndarray,
    places: np.ndarray,
    shape: Shape,
    *,
    scale: float,
    ratio: int,
    aligned: bool,
) -> np.ndarray:
    """The gradient of one level, from those of its RoIs at their places in `grad`."""
    if not len(rois) or not grad.size:
        return np.zeros(shape, grad.dtype)
    image, boxes = split_rois(rois)
    rows, columns = axes(boxes, grad.shape[2:], scale, ratio, aligned)
    y = merge_taps(rows, grad.shape[2], shape[2], grad.dtype)
    x = merge_taps(columns, grad.shape[3], shape[3], grad.dtype)
    order, first = by_image(image, shape[0])
    together = lanes(grad.itemsize)
    if shape[1] >= together and _repays(y, x, shape):
        out = np.empty(shape, grad.dtype)
        _spread(grad, order, first, y, x, places, out, together)
    else:
        out = np.zeros(shape, grad.dtype)
        crops = grad if len(places) == len(grad) else grad[places]
        compiled._spread(crops, order, first, y, x, out)
    return out


def _repays(y: Taps, x: Taps, shape: tuple[int, ...]) -> bool:
    """Whether the RoIs read enough cells that turning all cells of the maps for them repays.

    Turning a cell costs about an eighth of what `cpu` needs to work on one.
    """
    return 8 * int(y.width.astype(np.int64) @ x.width) > shape[0] * shape[2] * shape[3]


@njit(cache=True)
def _turn(x, at, step, out, to, out_step, rows, columns, together):
    """out[j, i] = x[i, j] for `rows` x `columns` numbers, one of them as many as there are lanes.

    Squares as wide as a vector; the last one overlaps the one before.
    """
    if rows == together and columns >= together:
        for j in range(0, columns, together):
            first = min(j, columns - together)
            transpose_block(x, at + first, step, out, to + first * out_step, out_step)
    elif columns == together and rows >= together:
        for i in range(0, rows, together):
            first = min(i, rows - together)
            transpose_block(x, at + first * step, step, out, to + first, out_step)
    else:
        for i in range(rows):
            for j in range(columns):
                out[to + j * out_step + i] = x[at + i * step + j]


@njit(cache=True)
def _turn_planes(planes, at, channels, area, cells, together):
    """cells[cell, lane] = planes[lane, cell]; lanes beyond the channels are 0."""
    if channels < together:
        cells[:] = 0
    _turn(planes, at, area, cells, 0 * at, together, channels, area, together)


@njit(cache=True, error_model="numpy")
def _pool_roi(r, cells, width, y, x, strips, crop, ph, pw, together):
    """crop[p, q, lane]: rows first, into `strips`, then columns."""
    corner = (np.int64(y.low[r]) * width + x.low[r]) * together
    length, line = np.int64(x.width[r]) * together, width * together
    for p in range(ph):
        begin, end = y.first[r * ph + p], y.first[r * ph + p + 1]
        to = p * line
        if begin == end:
            strips[to : to + length] = 0
        for k in range(begin, end, uint32(GROUP)):
            add_four(
                cells, corner + y.cell[k] * line, corner + y.cell[k + 1] * line,
                corner + y.cell[k + 2] * line, corner + y.cell[k + 3] * line,
                y.weight[k], y.weight[k + 1], y.weight[k + 2], y.weight[k + 3],
                strips, to, length, k > begin,
            )  # fmt: skip
    for q in range(pw):
        begin, end = x.first[r * pw + q], x.first[r * pw + q + 1]
        if begin == end:
            for p in range(ph):
                crop[(p * pw + q) * together : (p * pw + q + 1) * together] = 0
        for k in range(begin, end, uint32(GROUP)):
            c0, c1 = np.int64(x.cell[k]) * together, np.int64(x.cell[k + 1]) * together
            c2, c3 = np.int64(x.cell[k + 2]) * together, np.int64(x.cell[k + 3]) * together
            w0, w1, w2, w3 = x.weight[k], x.weight[k + 1], x.weight[k + 2], x.weight[k + 3]
            for p in range(ph):
                at = p * line
                add_four(
                    strips, at + c0, at + c1, at + c2, at + c3, w0, w1, w2, w3,
                    crop, (p * pw + q) * together, together, k > begin,
                )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _spread_roi(r, crop, width, y, x, strips, cells, ph, pw, together):
    """The transpose of `_pool_roi`: columns first, into `strips`, then rows, added to the cells."""
    corner = (np.int64(y.low[r]) * width + x.low[r]) * together
    length, line = np.int64(x.width[r]) * together, width * together
    for p in range(ph):
        strips[p * line : p * line + length] = 0
    for q in range(pw):
        for k in range(x.first[r * pw + q], x.first[r * pw + q + 1]):
            weight, cell = x.weight[k], np.int64(x.cell[k]) * together
            if weight != 0:  # padding
                for p in range(ph):
                    at = (p * pw + q) * together
                    add_one(crop, at, weight, strips, p * line + cell, together)
    for p in range(ph):
        for k in range(y.first[r * ph + p], y.first[r * ph + p + 1]):
            weight = y.weight[k]
            if weight != 0:
                add_one(strips, p * line, weight, cells, corner + y.cell[k] * line, length)


@njit(cache=True, error_model="numpy")
def _pool_share(features, at, channels, order, y, x, places, out, to, together):
    """All RoIs of one image, for some channels: `at` in the flat features, `to` in the crops."""
    ph, pw = out.shape[2], out.shape[3]
    all_channels, height, width = features.shape[1], features.shape[2], features.shape[3]
    area, bins = height * width, ph * pw
    flat, result = features.ravel(), out.ravel()
    cells = np.empty(area * together, features.dtype)
    strips = np.empty(ph * width * together, features.dtype)
    crop = np.empty(bins * together, features.dtype)
    _turn_planes(flat, at, channels, area, cells, together)
    for r in order:
        _pool_roi(r, cells, width, y, x, strips, crop, ph, pw, together)
        place = (places[r] * all_channels + to) * bins
        if channels == together:
            _turn(crop, 0 * place, together, result, place, bins, bins, together, together)
        else:
            for c in range(channels):
                for i in range(bins):
                    result[place + c * bins + i] = crop[i * together + c]


@njit(cache=True, error_model="numpy")
def _spread_share(grad, at, channels, order, y, x, places, out, to, together):
    """All RoIs of one image, for some channels: `at` in the crops, `to` in the flat map."""
    ph, pw = grad.shape[2], grad.shape[3]
    all_channels, height, width = out.shape[1], out.shape[2], out.shape[3]
    area, bins = height * width, ph * pw
    flat, result = grad.ravel(), out.ravel()
    cells = np.zeros(area * together, grad.dtype)
    strips = np.empty(ph * width * together, grad.dtype)
    crop = np.zeros(bins * together, grad.dtype)
    for r in order:
        place = (places[r] * all_channels + at) * bins
        _turn(flat, place, bins, crop, 0 * place, together, channels, bins, together)
        _spread_roi(r, crop, width, y, x, strips, cells, ph, pw, together)
    if channels == together:
        _turn(cells, 0 * to, together, result, to, area, area, together, together)
    else:
        for c in range(channels):
            for i in range(area):
                result[to + c * area + i] = cells[i * together + c]


@njit(parallel=True, cache=True, error_model="numpy")
def _pool(features, order, first, y, x, places, out, together):
    images, channels = features.shape[:2]
    area, blocks = features.shape[2] * features.shape[3], (channels + together - 1) // together
    for task in prange(images * blocks):
        n, c = task % images, np.int64(task // images * together)
        mine = order[first[n] : first[n + 1]]
        if mine.size:
            at = (n * channels + c) * area
            some = min(together, channels - c)
            _pool_share(features, np.int64(at), some, mine, y, x, places, out, c, together)


@njit(parallel=True, cache=True, error_model="numpy")
def _spread(grad, order, first, y, x, places, out, together):
    images, channels = out.shape[:2]
    area, blocks = out.shape[2] * out.shape[3], (channels + together - 1) // together
    for task in prange(images * blocks):
        n, c = task % images, np.int64(task // images * together)
        mine = order[first[n] : first[n + 1]]
        to = (n * channels + c) * area
        some = min(together, channels - c)
        _spread_share(grad, c, some, mine, y, x, places, out, np.int64(to), together)
