"""IoU in compiled loops: the pair's six numbers stay in registers, so writing is what is left.

One task owns a run of up to `RUN` boxes of B against one box of A.  The coordinates of B are
split into four arrays first, so that eight neighbors load at once.

Letters: A boxes in the first list, B in the second.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import numpy as np
from numba import njit, prange

RUN = 4096  # 16 KiB of results a task: also one box against very many uses every core


def box_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """(A, 4), (B, 4) -> (A, B)."""
    out = np.empty((len(boxes_a), len(boxes_b)), boxes_a.dtype)
    if out.size:
        _all_pairs(np.ascontiguousarray(boxes_a), np.ascontiguousarray(boxes_b.T), out)
    return out


# No fast-math: the comparisons drop a NaN coordinate, but the area keeps it, up to the last line.
@njit(parallel=True, cache=True, error_model="numpy")
def _all_pairs(boxes_a, boxes_b, out):
    zero = boxes_a.dtype.type(0)  # a plain 0.0 would turn float32 into float64
    count = boxes_b.shape[1]
    runs = (count + RUN - 1) // RUN
    area_b = np.empty(count, boxes_a.dtype)
    for j in range(count):
        area_b[j] = (boxes_b[2, j] - boxes_b[0, j]) * (boxes_b[3, j] - boxes_b[1, j])
    for task in prange(boxes_a.shape[0] * runs):
        i = task // runs
        begin = task % runs * RUN
        end = min(begin + RUN, count)
        ax0, ay0, ax1, ay1 = boxes_a[i]
        area_a = (ax1 - ax0) * (ay1 - ay0)
        bx0, by0 = boxes_b[0, begin:end], boxes_b[1, begin:end]
        bx1, by1 = boxes_b[2, begin:end], boxes_b[3, begin:end]
        areas, row = area_b[begin:end], out[i, begin:end]
        for j in range(end - begin):
            left = ax0 if ax0 > bx0[j] else bx0[j]
            top = ay0 if ay0 > by0[j] else by0[j]
            right = ax1 if ax1 < bx1[j] else bx1[j]
            bottom = ay1 if ay1 < by1[j] else by1[j]
            width = right - left if right > left else zero
            height = bottom - top if bottom > top else zero
            overlap = width * height
            ratio = overlap / (area_a + areas[j] - overlap)
            row[j] = ratio if ratio > 0 else zero
