"""The compiled search for the highest pixel of an enlarged heat map, which is never made whole.

A value between two rows of the map is a weighted mean of the four nearest, where the outer two
have weights from 0 down to -0.094 each; so it exceeds the larger of the inner two by no more than
0.1875 times what the outer two lie lower.  The rows between which the highest values may be are
looked at first, and the others not at all once something higher than they may hold is found.

One thread: kernels that use all of them go through `kernels.dispatch`, which keeps two threads of
Python from starting them at once.

Letters: R boxes, P keypoints, S side of a heat map, W width of a box in whole pixels.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import numpy as np
from numba import njit

OVERSHOOT = np.float32(0.1875)  # sum of the outer weights halfway between two pixels, negated
ROUNDING = np.float32(1e-5)  # of float32 sums of a few terms, with a margin


@njit(cache=True)
def find_peaks(maps, before_x, weights_x, starts_x, before_y, weights_y, starts_y, peaks):
    """(R, P, S, S), taps of both axes -> column, row, value in (R, P, 3)."""
    for r in range(len(maps)):
        x0, x1, y0, y1 = starts_x[r], starts_x[r + 1], starts_y[r], starts_y[r + 1]
        for p in range(maps.shape[1]):
            wide = _widen(maps[r, p], before_x[x0:x1], weights_x[x0:x1])
            _find_peak(wide, before_y[y0:y1], weights_y[y0:y1], peaks[r, p])


@njit(cache=True)
def _find_peak(wide, before, weights, peak):
    """(S, W) and the taps of the rows -> column, row, value in (3,)."""
    size = len(wide)
    first = np.searchsorted(before, np.arange(-1, size + 1))  # the first row after each map row
    bounds = np.empty(size + 1, np.float32)
    for gap in range(size + 1):  # between map rows gap - 1 and gap
        bounds[gap] = _bound(wide, gap - 1)
    peak[:] = np.nan
    place = -1
    for gap in np.argsort(-bounds):
        if place >= 0 and bounds[gap] < peak[2]:
            break
        for i in range(first[gap], first[gap + 1]):
            place = _search_row(wide, gap - 1, weights[i], i, place, peak)


@njit(cache=True)
def _widen(rows, before, weights):
    """Every row of a map as wide as the box: (S, S) -> (S, W)."""
    last = len(rows) - 1
    wide = np.empty((len(rows), len(before)), np.float32)
    for i in range(len(rows)):
        row, out = rows[i], wide[i]
        for j in range(len(before)):
            at, w = before[j], weights[j]
            a, b, c, d = max(at - 1, 0), max(at, 0), min(at + 1, last), min(at + 2, last)
            out[j] = row[a] * w[0] + row[b] * w[1] + row[c] * w[2] + row[d] * w[3]
    return wide


@njit(cache=True)
def _four_rows(wide, at):
    """Row `at`, the one before it and the two after; beyond the map its outermost again."""
    last = len(wide) - 1
    return wide[max(at - 1, 0)], wide[max(at, 0)], wide[min(at + 1, last)], wide[min(at + 2, last)]


@njit(cache=True)
def _bound(wide, at):
    """What no value between row `at` and the next exceeds; minus infinity if none is a number."""
    a, b, c, d = _four_rows(wide, at)
    bound = np.float32(-np.inf)
    for j in range(len(a)):
        inner, outer = max(b[j], c[j]), min(a[j], d[j])
        top = inner + OVERSHOOT * max(inner - outer, np.float32(0))
        top += ROUNDING * (abs(inner) + abs(outer))
        if top > bound:
            bound = top
    return bound


@njit(cache=True)
def _search_row(wide, at, w, i, place, peak):
    """Look for a higher value in row i of the enlarged map; the place of the highest so far."""
    a, b, c, d = _four_rows(wide, at)
    width = len(a)
    for j in range(width):
        value = a[j] * w[0] + b[j] * w[1] + c[j] * w[2] + d[j] * w[3]
        here = i * width + j
        if value > peak[2] or (value == peak[2] and here < place) or (place < 0 and value == value):
            peak[0], peak[1], peak[2] = j, i, value
            place = here
    return place
