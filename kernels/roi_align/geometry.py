"""Where RoIAlign samples: the part that every variant shares.

The box is scaled, shifted and divided into samples in the type of `rois`, because the number of
samples is a ceiling: computed in float32 as other systems do, 14.1 - 0.1 is 14 and gives 2
samples a bin; in float64 the same float32 numbers give 3.  Positions are float64 afterwards.

Letters: R regions of interest, P pooled size, S samples a bin along one axis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_SAMPLES = 2**31 - 1


class Axis(NamedTuple):
    """One axis (rows or columns) of every RoI, in cells of the feature map."""

    start: np.ndarray  # (R,) float64, where the first bin begins; cell i is centered at i
    size: np.ndarray  # (R,) float64, of one bin; negative for an inverted box
    samples: np.ndarray  # (R,) int64, in one bin; 0: the bins are empty


def axes(
    boxes: np.ndarray, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> tuple[Axis, Axis]:
    """The rows and the columns of every RoI.

    Args:
        boxes: (R, 4) x0 y0 x1 y1.
        size: (PH, PW), bins along each axis.
        scale: feature cells per box unit.
        ratio: samples a bin along each axis; 0: one for every cell begun, ceil(side / P).
        aligned: shift by half a cell, so that cell i's value sits at its center; otherwise
            no shift, and a side below one cell is widened to one.
    """
    rows = _axis(boxes[:, 1], boxes[:, 3], size[0], scale, ratio, aligned)
    return rows, _axis(boxes[:, 0], boxes[:, 2], size[1], scale, ratio, aligned)


def _axis(
    low: np.ndarray, high: np.ndarray, bins: int, scale: float, ratio: int, aligned: bool
) -> Axis:
    with np.errstate(all="ignore"):  # a box may be infinite or NaN: it gets no samples
        start = low * scale - (0.5 if aligned else 0.0)
        side = high * scale - (0.5 if aligned else 0.0) - start
        finite = np.isfinite(start) & np.isfinite(side)
        if not aligned:
            side = np.maximum(side, 1)
        samples = np.full(side.shape, float(ratio)) if ratio else np.ceil(side / bins)
        samples = np.where(finite, np.clip(samples, 0, MOST_SAMPLES), 0)
        start, side = (np.where(finite, x, 0).astype(np.float64) for x in (start, side))
    return Axis(start, side / bins, samples.astype(np.int64))


class Corners(NamedTuple):
    """Along one axis, the two cells each sample of one RoI lies between."""

    low: np.ndarray  # (P S,) int64
    high: np.ndarray  # (P S,) int64, low + 1 except at the last cell
    part: np.ndarray  # (P S,) float64, how far from low to high, 0 to 1
    inside: np.ndarray  # (P S,) bool; a sample outside reads as 0


def corners(axis: Axis, r: int, bins: int, length: int) -> Corners:
    """The cells around each sample of RoI `r`, along an axis of `length` cells.

    A sample up to one cell beyond the first or last center reads the nearest cell; farther out
    (below -1 or above `length`) it is outside.
    """
    n = axis.samples[r]
    steps = np.arange(bins)[:, None] + (np.arange(n) + 0.5) / max(n, 1)
    position = (axis.start[r] + steps * axis.size[r]).ravel()
    inside = (position >= -1) & (position <= length)
    position = position.clip(0, length - 1)
    low = position.astype(np.int64)
    return Corners(low, np.minimum(low + 1, length - 1), position - low, inside)
