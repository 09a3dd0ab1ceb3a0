"""Where each operation reads: bins, sample points and weights, for drawing.

Both axes are alike, so everything here is about one of them.  Positions are in cells of the feature
map, and cell i covers [i, i + 1): its value sits at its center i + 0.5.  The kernels count from
that center instead, so theirs are half a cell less.

What is read is right for every option; with aligned=False it lies half a cell beside the bin that
is meant, which is that option's error.

Letters: P bins, S samples in a bin, L cells along the axis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minimask.kernels.roi_align import geometry as align_geometry
from minimask.kernels.roi_pool import geometry as pool_geometry
from minimask.tools.textbook.explore.operations import Operation
from minimask.tools.textbook.explore.scene import Scene


class AxisBins(NamedTuple):
    """One axis of a box's bins.

    Attributes:
        edges: (P, 2), where each bin begins and ends as it is read; end <= begin: it is empty.
        samples: (P, S), the sample points; for RoIPool none, S is 0.
        weights: (P, L), how much each cell counts.  Of RoIPool, whose largest cell counts alone,
            every cell it looks at alike.
    """

    edges: np.ndarray
    samples: np.ndarray
    weights: np.ndarray


def of_scene(scene: Scene, operation: Operation) -> tuple[AxisBins, AxisBins]:
    """The rows and the columns of the bins that `operation` reads."""
    rois, scale = operation.region(scene)
    boxes, size = rois[:, 1:], (scene.size, scene.size)
    height, width = scene.shape
    if operation.kind == "pool":
        rows, columns = pool_geometry.bins(boxes, size, scale, height, width)
        return _whole_cells(rows, height), _whole_cells(columns, width)
    axes = align_geometry.axes(boxes, size, scale, scene.ratio, operation.aligned)
    return _sampled(axes[0], scene.size, height), _sampled(axes[1], scene.size, width)


def _whole_cells(bins: pool_geometry.Bins, length: int) -> AxisBins:
    begin, end = bins.begin[0, :, None], bins.end[0, :, None]
    cell = np.arange(length)
    read = (cell >= begin) & (cell < end)
    weights = read / np.maximum(read.sum(axis=1, keepdims=True), 1)
    edges = np.concatenate([begin, end], axis=1).astype(np.float64)
    return AxisBins(edges, np.zeros((len(edges), 0)), weights)


def _sampled(axis: align_geometry.Axis, bins: int, length: int) -> AxisBins:
    start, size, count = float(axis.start[0]), float(axis.size[0]), int(axis.samples[0])
    begin = start + np.arange(bins) * size + 0.5
    edges = np.stack([begin, begin + size], axis=1)
    within = (np.arange(count) + 0.5) / max(count, 1)
    samples = start + (np.arange(bins)[:, None] + within) * size + 0.5
    near = align_geometry.corners(axis, 0, bins, length)
    weights = np.zeros((bins, length))
    bin_of_sample = np.arange(bins).repeat(count)
    share = near.inside / max(count, 1)
    np.add.at(weights, (bin_of_sample, near.low), share * (1 - near.part))
    np.add.at(weights, (bin_of_sample, near.high), share * near.part)
    return AxisBins(edges, samples, weights)


def exact_edges(low: float, high: float, scale: float, size: int) -> np.ndarray:
    """The bins that are meant, (P, 2): the box cut in P equal parts, nothing rounded."""
    edges = scale * (low + (high - low) * np.arange(size + 1) / size)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def exact_weights(edges: np.ndarray, length: int) -> np.ndarray:
    """Weights (P, L) of the mean over whole bins, as infinitely many samples would give it.

    The map is read as linear between the centers of its cells and constant beyond the outermost.
    A bin without width is a single sample.
    """
    begin, end = edges[:, :1] - 0.5, edges[:, 1:] - 0.5
    width = end - begin
    cell = np.arange(length)
    safe = np.where(width == 0, 1, width)
    mean = (_hat_integral(end, cell, length) - _hat_integral(begin, cell, length)) / safe
    position = begin.clip(0, length - 1)
    point = (1 - np.abs(position - cell)).clip(0)
    return np.where(width == 0, point, mean)


def _hat_integral(position: np.ndarray, cell: np.ndarray, length: int) -> np.ndarray:
    """The integral up to `position` of each cell's hat, 1 at its center and 0 at the next ones."""
    first, last = cell == 0, cell == length - 1
    t = (position - cell).clip(np.where(first, 0, -1), np.where(last, 0, 1))
    area = np.where(t < 0, (1 + t) ** 2 / 2, 1 - (1 - t) ** 2 / 2)
    area = area + np.where(first, np.minimum(position, 0), 0)  # they go on beyond the map
    return area + np.where(last, np.maximum(position - (length - 1), 0), 0)


def ideal(scene: Scene, map: str | None = None) -> np.ndarray:
    """(P, P), the mean of the map over each bin that is meant; on a ramp the bin's center.

    That holds where the bins lie between the centers of the outermost cells.
    """
    height, width = scene.shape
    x0, y0, x1, y1 = scene.box
    rows = exact_weights(exact_edges(y0, y1, scene.scale, scene.size), height)
    columns = exact_weights(exact_edges(x0, x1, scene.scale, scene.size), width)
    return rows @ scene.features(map)[0, 0] @ columns.T


def places_read(bins: AxisBins) -> np.ndarray:
    """(P,), the center of what each bin reads, in cells; NaN for a bin that reads nothing."""
    total = bins.weights.sum(axis=1)
    centers = np.arange(bins.weights.shape[1]) + 0.5
    with np.errstate(invalid="ignore"):
        return (bins.weights @ centers) / np.where(total > 0, total, np.nan)
