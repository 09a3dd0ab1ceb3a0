"""IoU in compiled loops: the pair's six numbers stay in registers, so writing is what is left.

`box_iou`: one task owns a run of up to `RUN` boxes of B against one box of A.  The coordinates of B
are split into four arrays first, so that eight neighbors load at once.

`best_overlaps` writes no pairs at all.  One task owns `BLOCK` boxes of B against all of A, and
leaves out each box of A that lies beside all of them: anchors of a block are neighbors.  A second
pass looks for the boxes of B that are closest to a box of A, in the blocks where its best IoU was.

Letters: A boxes in the first list, B in the second.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import numpy as np
from numba import njit, prange

RUN = 4096  # 16 KiB of results a task: also one box against very many uses every core
BLOCK = 512  # with all that is known of them, 16 KiB in float32: they stay in the nearest cache


def box_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """(A, 4), (B, 4) -> (A, B)."""
    out = np.empty((len(boxes_a), len(boxes_b)), boxes_a.dtype)
    if out.size:
        _all_pairs(np.ascontiguousarray(boxes_a), np.ascontiguousarray(boxes_b.T), out)
    return out


def best_overlaps(
    boxes_a: np.ndarray, boxes_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, 4), (B, 4) -> nearest (B,) int64, overlap (B,), closest (B,)."""
    count = len(boxes_b)
    nearest = np.full(count, 0 if len(boxes_a) else -1, np.int64)
    overlap, closest = np.zeros(count, boxes_b.dtype), np.zeros(count, boxes_b.dtype)
    if count and len(boxes_a):
        a, b = np.ascontiguousarray(boxes_a), np.ascontiguousarray(boxes_b)
        best = np.zeros((-(-count // BLOCK), len(a)), a.dtype)
        _nearest(a, b, nearest, overlap, best)
        _closest(a, b, best, best.max(axis=0), closest)
    return nearest, overlap, closest


# No fast-math: the comparisons drop a NaN coordinate, but the area keeps it, up to the last line.
@njit(cache=True, error_model="numpy")
def _iou(ax0, ay0, ax1, ay1, area_a, bx0, by0, bx1, by1, area_b):
    """IoU of a pair; numbers instead of arrays, so that it melts into the loops that call it."""
    zero = type(area_a)(0)  # a plain 0.0 would turn float32 into float64
    left = ax0 if ax0 > bx0 else bx0
    top = ay0 if ay0 > by0 else by0
    right = ax1 if ax1 < bx1 else bx1
    bottom = ay1 if ay1 < by1 else by1
    width = right - left if right > left else zero
    height = bottom - top if bottom > top else zero
    overlap = width * height
    ratio = overlap / (area_a + area_b - overlap)
    return ratio if ratio > 0 else zero


@njit(parallel=True, cache=True, error_model="numpy")
def _all_pairs(boxes_a, boxes_b, out):
    count = boxes_b.shape[1]
    runs = (count + RUN - 1) // RUN
    area_b = np.empty(count, boxes_a.dtype)
    for j in range(count):
        area_b[j] = (boxes_b[2, j] - boxes_b[0, j]) * (boxes_b[3, j] - boxes_b[1, j])
    for task in prange(boxes_a.shape[0] * runs):
        i = task // runs
        begin = task % runs * RUN
        end = min(begin + RUN, count)
        x0, y0, x1, y1 = boxes_a[i]
        area = (x1 - x0) * (y1 - y0)
        bx0, by0 = boxes_b[0, begin:end], boxes_b[1, begin:end]
        bx1, by1 = boxes_b[2, begin:end], boxes_b[3, begin:end]
        areas, row = area_b[begin:end], out[i, begin:end]
        for j in range(end - begin):
            row[j] = _iou(x0, y0, x1, y1, area, bx0[j], by0[j], bx1[j], by1[j], areas[j])


@njit(cache=True, error_model="numpy")
def _one_row(box, boxes, areas, row):
    """IoU of one box (4,) with the boxes of a block, as `_split` gives them."""
    x0, y0, x1, y1 = box
    area = (x1 - x0) * (y1 - y0)
    bx0, by0, bx1, by1 = boxes[0], boxes[1], boxes[2], boxes[3]
    for j in range(row.size):
        row[j] = _iou(x0, y0, x1, y1, area, bx0[j], by0[j], bx1[j], by1[j], areas[j])


@njit(parallel=True, cache=True, error_model="numpy")
def _nearest(boxes_a, boxes_b, nearest, overlap, best):
    """For each box of B the box of A it overlaps most; for each of A the best of every block."""
    for block in prange(best.shape[0]):
        begin, end = block * BLOCK, min(block * BLOCK + BLOCK, boxes_b.shape[0])
        boxes, areas = _split(boxes_b[begin:end])
        around = _around(boxes)
        row, held = np.empty(end - begin, boxes_a.dtype), overlap[begin:end]
        winner = np.zeros(end - begin, np.int32)
        for i in range(boxes_a.shape[0]):
            if _beside(boxes_a[i], around):
                continue
            _one_row(boxes_a[i], boxes, areas, row)
            for j in range(row.size):
                larger = row[j] > held[j]
                held[j] = row[j] if larger else held[j]
                winner[j] = np.int32(i) if larger else winner[j]
            best[block, i] = _largest(row)
        nearest[begin:end] = winner


@njit(parallel=True, cache=True, error_model="numpy")
def _closest(boxes_a, boxes_b, best, best_of, closest):
    """Mark the boxes of B whose IoU with a box of A is the best it has."""
    for block in prange(best.shape[0]):
        begin, end = block * BLOCK, min(block * BLOCK + BLOCK, boxes_b.shape[0])
        _mark(boxes_a, boxes_b[begin:end], best[block], best_of, closest[begin:end])


@njit(cache=True, error_model="numpy")
def _mark(boxes_a, boxes_b, best, best_of, mark):
    """`_closest` in one block, whose best IoU with every box of A is known."""
    here = np.flatnonzero((best_of > 0) & (best == best_of))
    if not here.size:
        return
    boxes, areas = _split(boxes_b)
    row = np.empty(len(boxes_b), boxes_a.dtype)
    for i in here:
        _one_row(boxes_a[i], boxes, areas, row)
        for j in range(row.size):
            wins = (row[j] == best_of[i]) & (mark[j] < best_of[i])
            mark[j] = best_of[i] if wins else mark[j]


@njit(cache=True)
def _split(boxes):
    """(count, 4) -> the coordinates as (4, count), and the areas."""
    split, areas = np.empty((4, len(boxes)), boxes.dtype), np.empty(len(boxes), boxes.dtype)
    for j in range(len(boxes)):
        x0, y0, x1, y1 = boxes[j]
        split[0, j], split[1, j], split[2, j], split[3, j] = x0, y0, x1, y1
        areas[j] = (x1 - x0) * (y1 - y0)
    return split, areas


@njit(cache=True)
def _around(boxes):
    """The box around boxes given as (4, count).  NaN counts for nothing: it overlaps nothing."""
    x0, y0, x1, y1 = np.inf, np.inf, -np.inf, -np.inf
    for j in range(boxes.shape[1]):
        x0 = boxes[0, j] if boxes[0, j] < x0 else x0
        y0 = boxes[1, j] if boxes[1, j] < y0 else y0
        x1 = boxes[2, j] if boxes[2, j] > x1 else x1
        y1 = boxes[3, j] if boxes[3, j] > y1 else y1
    return x0, y0, x1, y1


@njit(cache=True)
def _beside(box, around):
    """Whether a box has nothing in common with what `around` encloses, so that every IoU is 0."""
    x0, y0, x1, y1 = around
    return not (box[0] < x1 and box[1] < y1 and box[2] > x0 and box[3] > y0)


@njit(cache=True, fastmath={"nnan", "nsz"})  # an IoU is no NaN, so this maximum may take any order
def _largest(row):
    largest = row[0]
    for j in range(1, row.size):
        largest = row[j] if row[j] > largest else largest
    return largest
