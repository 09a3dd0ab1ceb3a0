"""How far the bins that are read lie from the bins that are meant, in pixels of the image.

Only the geometry counts here: a bin's place is the center of what it reads, of RoIPool the center
of the cells it looks at.  The largest value in it, and a map's border, add to that.

Letters: R boxes, P bins.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from minimask.kernels.roi_align import geometry as align_geometry
from minimask.kernels.roi_pool import geometry as pool_geometry
from minimask.kernels.rois import quantize_rois
from minimask.tools.textbook.explore.operations import OPERATIONS, Operation
from minimask.tools.textbook.explore.scene import STRIDES

SIDES = (32.0, 512.0)  # of the boxes, in pixels, all alike likely
AREA = 1024.0  # pixels; boxes begin anywhere in it
ENDLESS = 2**24  # cells: no box reaches the border
SHARE = 0.95
# RoIPool, 7 x 7 bins: the deviation by stride as measured before, with other code and other boxes
BEFORE = {4: 1.39, 8: 2.78, 16: 5.48, 32: 10.98}


@dataclass(frozen=True)
class Row:
    """One operation at one stride; in pixels.

    Attributes:
        operation: its name.
        stride: pixels a cell.
        mean: of place read - place meant.
        std: its standard deviation over all bins of all boxes.
        jitter: the same when every bin of the grid has its own mean taken off: what no network can
            learn, since it is another one for every box.
        within: 95 % of bins lie so close to the mean.
    """

    operation: str
    stride: int
    mean: float
    std: float
    jitter: float
    within: float


@dataclass(frozen=True)
class Misalignment:
    """The table, how many boxes are behind it, and the seconds it took."""

    rows: tuple[Row, ...]
    boxes: int
    size: int
    seconds: float


def measure(boxes: int = 20000, size: int = 7, seed: int = 0) -> Misalignment:
    """Measure all operations at all strides on the same random boxes.

    Args:
        boxes: how many.
        size: P, bins a side.
        seed: of the boxes.
    """
    began = time.perf_counter()
    drawn = random_boxes(boxes, seed)
    rows = []
    for operation in OPERATIONS:
        for stride in STRIDES:
            off = offsets(operation, drawn, 1 / stride, size) * stride
            rows.append(_row(operation, stride, off))
    return Misalignment(tuple(rows), boxes, size, time.perf_counter() - began)


def _row(operation: Operation, stride: int, off: np.ndarray) -> Row:
    mean = float(off.mean())
    jitter = float((off - off.mean(axis=0)).std())
    within = float(np.quantile(np.abs(off - mean), SHARE))
    return Row(operation.name, stride, mean, float(off.std()), jitter, within)


def random_boxes(count: int, seed: int = 0) -> np.ndarray:
    """(R, 4) float64, corners anywhere, sides of 32 to 512 pixels."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, AREA, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(*SIDES, (count, 2))], axis=1)


def offsets(operation: Operation, boxes: np.ndarray, scale: float, size: int) -> np.ndarray:
    """(R, 2, P): of the rows and of the columns, place read - place meant, in cells."""
    meant = []
    for low, high in ((1, 3), (0, 2)):
        step = (boxes[:, high] - boxes[:, low]) / size
        meant.append(scale * (boxes[:, low, None] + (np.arange(size) + 0.5) * step[:, None]))
    return np.stack(places(operation, boxes, scale, size), 1) - np.stack(meant, 1)


def places(
    operation: Operation, boxes: np.ndarray, scale: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, (R, P) each: the center of what every bin reads, in cells."""
    pair = (size, size)
    if operation.kind == "pool":
        bins = pool_geometry.bins(boxes, pair, scale, ENDLESS, ENDLESS)
        return (bins[0].begin + bins[0].end) / 2, (bins[1].begin + bins[1].end) / 2
    if operation.kind == "warp":
        rois = np.concatenate([np.zeros((len(boxes), 1)), boxes], axis=1)
        boxes, scale = quantize_rois(rois, scale)[:, 1:], 1.0
    rows, columns = align_geometry.axes(boxes, pair, scale, 2, operation.aligned)
    return _centers(rows, size), _centers(columns, size)


def _centers(axis: align_geometry.Axis, size: int) -> np.ndarray:
    """Samples lie evenly about a bin's center; the kernels count from the center of cell 0."""
    return axis.start[:, None] + (np.arange(size) + 0.5) * axis.size[:, None] + 0.5


def table(measured: Misalignment) -> str:
    """The measurement as text."""
    name = max(len(row.operation) for row in measured.rows)
    lines = [
        f"Where a bin reads, from where it should, in pixels: {measured.boxes} boxes, sides 32 to "
        f"512, {measured.size} x {measured.size} bins, {measured.seconds:.1f} s",
        "",
        f"{'operation':<{name}}  {'stride':>6}  {'mean':>6}  {'std':>6}  {'before':>6}  "
        f"{'jitter':>6}  {'95 % within':>11}",
    ]
    for row in measured.rows:
        known = row.operation == "RoIPool" and measured.size == 7
        before = f"{BEFORE[row.stride]:.2f}" if known else ""
        mean = round(row.mean, 2) + 0.0  # no minus before a zero
        lines.append(
            f"{row.operation:<{name}}  {row.stride:>6}  {mean:>6.2f}  {row.std:>6.2f}  "
            f"{before:>6}  {row.jitter:>6.2f}  {row.within:>11.1f}"
        )
    lines += [
        "",
        "before: RoIPool's std as measured earlier on other boxes.  jitter: std without the mean",
        "of each bin of the grid, which is the same for every box and can be learned.",
    ]
    return "\n".join(lines)
