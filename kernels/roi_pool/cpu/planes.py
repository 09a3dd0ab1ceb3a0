"""RoIPool of few channels in compiled loops: a vector instruction for neighbors in a row.

Where a cell has fewer channels than a vector register has numbers, as masks have, some lanes of
cpu.py's loops would be idle.  Here one task owns a feature plane and walks the RoIs of its image.
A maximum is separable: each bin's rows are reduced to one first, for all columns at once.

Letters: N images, C channels, R regions of interest, P pooled size (PH rows, PW columns).
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True)
def pool_planes(features, order, first, rows, columns, out, argmax):
    """Fill output and argmax, (R, C, PH, PW) each, for RoIs that `order` sorts by image."""
    images, width = features.shape[0], features.shape[3]
    ph, pw = out.shape[2], out.shape[3]
    for task in prange(images * features.shape[1]):
        n, c = task % images, task // images
        plane = features[n, c]
        best, best_row = np.empty(width, features.dtype), np.empty(width, np.int32)
        for s in range(first[n], first[n + 1]):
            r = order[s]
            left, right = columns.begin[r, 0], columns.end[r, pw - 1]
            for p in range(ph):
                top, bottom = rows.begin[r, p], rows.end[r, p]
                if top < bottom and left < right:
                    _down(plane, top, bottom, left, best[: right - left], best_row)
                for q in range(pw):
                    begin, end = columns.begin[r, q], columns.end[r, q]
                    if top < bottom and begin < end:
                        j = _across(best[begin - left : end - left], best_row[begin - left :])
                        j += begin - left
                        out[r, c, p, q] = best[j]
                        argmax[r, c, p, q] = best_row[j] * width + left + j
                    else:
                        out[r, c, p, q], argmax[r, c, p, q] = 0, -1


@njit(cache=True)
def _down(plane, top, bottom, left, best, best_row):
    """The first largest value of each column, and its row: eight columns an instruction."""
    for x in range(best.size):
        best[x], best_row[x] = plane[top, left + x], top
    for y in range(top + 1, bottom):
        row = plane[y][left:]
        for x in range(best.size):
            # larger, or the first NaN: nothing is larger than a NaN
            wins = (not row[x] <= best[x]) & (best[x] == best[x])
            best[x] = row[x] if wins else best[x]
            best_row[x] = np.int32(y) if wins else best_row[x]


@njit(cache=True)
def _across(best, best_row):
    """Which of the columns holds the largest value, the upper one of equals, then the left one."""
    winner, held, held_row = 0, best[0], best_row[0]
    for x in range(1, best.size):  # without branches: which one wins cannot be predicted
        value, row = best[x], best_row[x]
        equal = (value == held) | ((value != value) & (held != held))
        larger = (value > held) | ((value != value) & (held == held))
        wins = larger | (equal & (row < held_row))
        winner = x if wins else winner
        held = value if wins else held
        held_row = row if wins else held_row
    return winner
