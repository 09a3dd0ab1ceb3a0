"""Which cells each bin of a RoI holds: the part that every variant shares.

Letters: H W height and width, R regions of interest, P pooled size (PH rows, PW columns).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FAR = 2.0**30  # beyond any map, and products of it with P still fit an integer


class Bins(NamedTuple):
    """Along one axis, the cells of every bin: `begin` up to, not including, `end`."""

    begin: np.ndarray  # (R, P) int64, 0 to length
    end: np.ndarray  # (R, P) int64, 0 to length; at or below `begin`: no cell


def bins(
    boxes: np.ndarray, size: tuple[int, int], scale: float, height: int, width: int
) -> tuple[Bins, Bins]:
    """The rows and the columns of every bin of `boxes`, (R, 4) x0 y0 x1 y1."""
    with np.errstate(all="ignore"):  # a box may be infinite or NaN: it gets no cells
        corner = np.floor(boxes * scale + 0.5)
    finite: np.ndarray = np.all(np.isfinite(corner), axis=1)
    corner = np.where(finite[:, None], corner.clip(-FAR, FAR), 0).astype(np.int64)
    rows = _axis(corner[:, 1], corner[:, 3], finite, size[0], height)
    return rows, _axis(corner[:, 0], corner[:, 2], finite, size[1], width)


def _axis(low: np.ndarray, high: np.ndarray, finite: np.ndarray, count: int, length: int) -> Bins:
    side = np.maximum(high - low + 1, 1)[:, None]
    p = np.arange(count)
    begin = low[:, None] + p * side // count
    end = low[:, None] - (p + 1) * -side // count  # minus the floor of minus: the ceiling
    end = np.where(finite[:, None], end, begin)
    return Bins(begin.clip(0, length), end.clip(0, length))
