"""RoIPool in compiled loops: a cell's channels side by side, a vector instruction for all of them.

Forward, one task owns as many channels as a vector register has numbers and some windows: parts of
the map with the RoIs in them.  It turns a window so that these channels lie side by side, and then
compares a bin cell by cell; the largest values and their places stay in two registers.  Features
of fewer channels go to planes.py.  Backward, one task owns a feature plane and walks the RoIs of
its image, so that no two tasks write the same number and the sums have one order.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from minimask.kernels.roi_pool.cpu.planes import pool_planes
from minimask.kernels.roi_pool.cpu.registers import largest, largest_or_nan
from minimask.kernels.roi_pool.geometry import Bins, bins
from minimask.kernels.rois import by_image, split_rois
from minimask.kernels.vectors import lanes, transpose_block

PARTS = 16  # tasks to be had at least, so that every core gets some


class Windows(NamedTuple):
    """Parts of the map, each turned once for all of its RoIs."""

    box: np.ndarray  # (V, 5) int64: image, top, left, height, width
    first: np.ndarray  # (V + 1,) int64: where in the sorted RoIs those of each window begin
    group: np.ndarray  # (tasks of a block of channels + 1,) int64: where its windows begin


def forward(
    features: np.ndarray,
    rois: np.ndarray,
    *,
    size: tuple[int, int],
    scale: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C, H, W), (R, 5) -> output and argmax, (R, C, PH, PW) each."""
    image, boxes = split_rois(rois)
    images, channels, height, width = features.shape
    out = np.empty((len(boxes), channels, *size), features.dtype)
    argmax = np.empty(out.shape, np.int32)
    if not out.size:
        return out, argmax
    features, together = np.ascontiguousarray(features), lanes(features.itemsize)
    rows, columns = bins(boxes, size, scale, height, width)
    order, first = by_image(image, images)
    if channels < together:
        pool_planes(features, order, first, rows, columns, out, argmax)
    else:
        blocks = -(-channels // together)
        parts = -(-PARTS // (blocks * images))
        extent = _extent(image, rows, columns)[order]
        windows = _windows(extent, first, parts, min(together, width), width)
        room = int((windows.box[:, 3] * windows.box[:, 4]).max())
        _pool(features, windows, order, rows, columns, together, room, out, argmax)
    return out, argmax


def backward(
    grad: np.ndarray, rois: np.ndarray, argmax: np.ndarray, *, shape: tuple[int, int, int, int]
) -> np.ndarray:
    """(R, C, PH, PW), (R, 5), (R, C, PH, PW) -> (N, C, H, W)."""
    image, _ = split_rois(rois)
    out = np.zeros(shape, grad.dtype)
    if grad.size:
        argmax = np.ascontiguousarray(argmax, np.int32)
        _to_winners(np.ascontiguousarray(grad), *by_image(image, shape[0]), argmax, out)
    return out


def _extent(image: np.ndarray, rows: Bins, columns: Bins) -> np.ndarray:
    """(R, 5) int64: image, first and end row, first and end column of every RoI, on the map."""
    sides = [rows.begin[:, 0], rows.end[:, -1], columns.begin[:, 0], columns.end[:, -1]]
    return np.stack([image, *sides], axis=1)


def _windows(extent: np.ndarray, first: np.ndarray, parts: int, least: int, width: int) -> Windows:
    """A window for all RoIs of an image, or one for each RoI: whichever has fewer cells to turn.

    Args:
        extent: (R, 5) of RoIs sorted by image.
        first: (N + 1,) where those of each image begin.
        parts: windows to cut an image's RoIs into, so that there are enough tasks.
        least: the narrowest a window may be, at most `width`: what is turned at a time.
        width: of the map.
    """
    cuts = [np.linspace(a, b, parts + 1).astype(np.int64) for a, b in itertools.pairwise(first)]
    shared = np.unique(np.concatenate(cuts))
    choices = []
    for starts in (shared, np.arange(len(extent) + 1)):
        box = np.empty((len(starts) - 1, 5), np.int64)
        box[:, 0] = extent[starts[:-1], 0]
        box[:, 1:3] = np.minimum.reduceat(extent[:, 1::2], starts[:-1])
        box[:, 3:] = np.maximum.reduceat(extent[:, 2::2], starts[:-1]) - box[:, 1:3]
        box[:, 3:] = box[:, 3:].clip((0, least))
        box[:, 2] = np.minimum(box[:, 2], width - box[:, 4])
        group = np.linspace(0, len(box), min(len(box), PARTS) + 1).astype(np.int64)
        choices.append(Windows(box, starts, group))
    return min(choices, key=lambda windows: int((windows.box[:, 3] * windows.box[:, 4]).sum()))


@njit(parallel=True, cache=True)
def _pool(features, windows, order, rows, columns, together, room, out, argmax):
    groups = windows.group.size - 1
    for task in prange((features.shape[1] + together - 1) // together * groups):
        cells = np.empty(room * together, features.dtype)
        block, group = task // groups, task % groups
        which = range(windows.group[group], windows.group[group + 1])
        _pool_block(
            features, windows, which, order, rows, columns, block, together, cells, out, argmax
        )


@njit(cache=True)
def _pool_block(
    features, windows, which, order, rows, columns, block, together, cells, out, argmax
):
    """One task: a block of channels in some of the windows."""
    mine = block * together
    begin = min(mine, features.shape[1] - together)  # the last block holds some channels again
    crop = out.shape[2] * out.shape[3] * together
    pooled, places = np.empty(crop, features.dtype), np.empty(crop, np.int32)
    for v in which:
        n, top, left, height, width = windows.box[v]
        window = (top, left, height, width)
        nan = _turn(features[n], begin, window, together, cells)
        for s in range(windows.first[v], windows.first[v + 1]):
            r = order[s]
            y, x = (rows.begin[r], rows.end[r]), (columns.begin[r], columns.end[r])
            _compare(cells, nan, y, x, window, features.shape[3], together, pooled, places)
            _by_channel(pooled, together, out[r, mine : begin + together])
            _by_channel(places, together, argmax[r, mine : begin + together])


@njit(cache=True)
def _turn(planes, begin, window, together, cells):
    """Copy a window with `together` channels of each cell side by side; whether it has a NaN."""
    top, left, height, width = window
    nan = 0
    plane, values = planes[0].size, planes.ravel()
    for y in range(height):
        at = begin * plane + (top + y) * planes.shape[2] + left
        to = y * width * together
        if width >= together:
            for x in range(0, width, together):
                x = min(x, width - together)  # the last square may overlap the one before
                transpose_block(values, at + x, plane, cells, to + x * together, together)
        else:
            for x in range(width):
                for c in range(together):
                    cells[to + x * together + c] = values[at + c * plane + x]
        for i in range(to, to + width * together):
            nan |= cells[i] != cells[i]
    return nan != 0


@njit(cache=True)
def _compare(cells, nan, rows, columns, window, map_width, together, pooled, places):
    """The largest value of every bin of a RoI, and its place in the plane."""
    (row_begin, row_end), (column_begin, column_end) = rows, columns
    top, left, _, width = window
    to = 0
    for p in range(row_begin.size):
        y, height = row_begin[p], row_end[p] - row_begin[p]
        for q in range(column_begin.size):
            x, across = column_begin[q], column_end[q] - column_begin[q]
            at, step = ((y - top) * width + x - left) * together, width * together
            place = y * map_width + x
            if height <= 0 or across <= 0:
                pooled[to : to + together], places[to : to + together] = 0, -1
            elif nan:
                largest_or_nan(
                    cells, at, height, across, step, place, map_width, pooled, places, to
                )
            else:
                largest(cells, at, height, across, step, place, map_width, pooled, places, to)
            to += together


@njit(cache=True)
def _by_channel(crop, together, out):
    """Bins with their channels side by side -> (channels, PH, PW), the last of the channels."""
    to = out.ravel()
    count, skipped = out.shape[1] * out.shape[2], together - out.shape[0]
    for c in range(out.shape[0]):
        for i in range(count):
            to[c * count + i] = crop[i * together + skipped + c]


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
