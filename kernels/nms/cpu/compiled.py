"""Suppression that asks each box only about the boxes kept so far.

The boxes lie sorted by group and score, one array a coordinate.  The kept ones are packed to the
front of their group's stretch, so a box is held against them `RUN` at a time with eight to
sixteen comparisons an instruction, and the first run that suppresses it ends its search.  One
task owns one group.  Letters: R boxes.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import numpy as np
from numba import njit, prange

from minimask.kernels.nms.reference import pad

RUN = 64  # kept boxes compared before asking whether one suppresses


def nms(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray | None = None, *, threshold: float
) -> np.ndarray:
    """(R, 4), (R,), (R,) -> (kept,) int64, by falling score, ties by index."""
    by_score = np.argsort(-scores, kind="stable")
    if groups is None:
        order, first = by_score, np.array([0, len(boxes)])
    else:
        ranked = groups[by_score]
        order = by_score[np.argsort(ranked, kind="stable")]
        edges = np.flatnonzero(np.diff(groups[order])) + 1
        first = np.concatenate([[0], edges, [len(boxes)]])
    if not len(boxes):
        return order.astype(np.int64, copy=False)
    kept = np.empty(len(boxes), bool)
    columns = np.ascontiguousarray(boxes[order].T)
    alive = _walk(columns, first, boxes.dtype.type(threshold))
    kept[order] = alive
    return by_score[kept[by_score]].astype(np.int64, copy=False)


def nms_padded(
    boxes: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    threshold: float,
    limit: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(R, 4), (R,), (R,) -> (limit,) int64 padded with -1, and (1,) int32, how many are kept."""
    return pad(nms(boxes, scores, groups, threshold=threshold), limit)


# No fast-math: a NaN coordinate lives on in the area, and IoUs must round as in the reference.
@njit(parallel=True, cache=True, error_model="numpy")
def _walk(columns, first, threshold):
    zero = columns.dtype.type(0)  # a plain 0.0 would turn float32 into float64
    count = columns.shape[1]
    alive = np.zeros(count, np.bool_)
    areas = np.empty(count, columns.dtype)
    for group in prange(first.size - 1):
        start, stop = first[group], first[group + 1]
        kept = 0
        x0, y0 = columns[0, start:stop], columns[1, start:stop]
        x1, y1 = columns[2, start:stop], columns[3, start:stop]
        area = areas[start:stop]
        for i in range(stop - start):
            left, top, right, bottom = x0[i], y0[i], x1[i], y1[i]
            own = (right - left) * (bottom - top)
            suppressed = False
            for begin in range(0, kept, RUN):
                end = min(begin + RUN, kept)
                ax0, ay0, ax1, ay1 = x0[begin:end], y0[begin:end], x1[begin:end], y1[begin:end]
                aa = area[begin:end]
                hits = np.int32(0)
                for j in range(end - begin):
                    w = (right if right < ax1[j] else ax1[j]) - (left if left > ax0[j] else ax0[j])
                    h = (bottom if bottom < ay1[j] else ay1[j]) - (top if top > ay0[j] else ay0[j])
                    overlap = (w if w > zero else zero) * (h if h > zero else zero)
                    hits += np.int32(overlap / (own + aa[j] - overlap) > threshold)
                if hits > 0:
                    suppressed = True
                    break
            if not suppressed:
                alive[start + i] = True
                x0[kept], y0[kept], x1[kept], y1[kept] = left, top, right, bottom
                area[kept] = own
                kept += 1
    return alive
