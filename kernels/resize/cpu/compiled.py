"""As `reference`, but compiled: every output value reads the one or four pixels that count.

One worker per image and channel.  Doubling with nearest neighbor, which a feature pyramid does at
every level, has loops of its own.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import numpy as np
from numba import njit, prange

from minimask.kernels.resize.axes import taps


def resize(x: np.ndarray, *, size: tuple[int, int], mode: str) -> np.ndarray:
    """Blend or copy the pixels that `taps` names."""
    n, c, h, w = x.shape
    y = np.empty((n, c, *size), x.dtype)
    if y.size:
        planes, out = np.ascontiguousarray(x).reshape(n * c, h, w), y.reshape(n * c, *size)
        if mode == "nearest" and size == (2 * h, 2 * w):
            _double(planes, out)
        elif mode == "nearest":
            _nearest(planes, *_axes((h, w), size, mode, x.dtype)[::3], out)
        else:
            _bilinear(planes, *_axes((h, w), size, mode, x.dtype), out)
    return y


def resize_backward(grad: np.ndarray, *, size: tuple[int, int], mode: str) -> np.ndarray:
    """Add every gradient to the pixels that `resize` read, in proportion to their weights."""
    n, c, h2, w2 = grad.shape
    double = mode == "nearest" and (h2, w2) == (2 * size[0], 2 * size[1])
    dx = (np.empty if double else np.zeros)((n, c, *size), grad.dtype)
    if dx.size:
        planes, out = np.ascontiguousarray(grad).reshape(n * c, h2, w2), dx.reshape(n * c, *size)
        if double:
            _double_backward(planes, out)
        else:
            _backward(planes, *_axes(size, (h2, w2), mode, grad.dtype), out)
    return dx


def _axes(
    size: tuple[int, int], new_size: tuple[int, int], mode: str, dtype: np.dtype
) -> tuple[np.ndarray, ...]:
    """(low, high, weight) of the vertical axis, then of the horizontal one."""
    found = []
    for length, new_length in zip(size, new_size, strict=True):
        low, high, weight = taps(length, new_length, mode, dtype)
        found += [low, high, weight]
    return tuple(found)


@njit(parallel=True, cache=True)
def _double(x, y):
    """Each pixel becomes a square of four."""
    for p in prange(x.shape[0]):
        for i in range(x.shape[1]):
            row, upper, lower = x[p, i], y[p, 2 * i], y[p, 2 * i + 1]
            for j in range(row.size):
                upper[2 * j] = row[j]
                upper[2 * j + 1] = row[j]
            for j in range(row.size):  # from the short row again: half as much to read
                lower[2 * j] = row[j]
                lower[2 * j + 1] = row[j]


@njit(parallel=True, cache=True)
def _double_backward(grad, dx):
    """Each pixel collects its square of four, in a fixed order."""
    for p in prange(dx.shape[0]):
        sums = np.empty(dx.shape[2], dx.dtype)
        for i in range(dx.shape[1]):
            upper, lower, row = grad[p, 2 * i], grad[p, 2 * i + 1], dx[p, i]
            for j in range(row.size):  # a loop for each row: one of both does not become vectors
                sums[j] = upper[2 * j] + upper[2 * j + 1]
            for j in range(row.size):
                row[j] = sums[j] + (lower[2 * j] + lower[2 * j + 1])


@njit(parallel=True, cache=True)
def _nearest(x, row, column, y):
    for p in prange(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                y[p, i, j] = x[p, row[i], column[j]]


@njit(parallel=True, cache=True)
def _bilinear(x, top, bottom, down, left, right, across, y):
    """Blend vertically into one row of the input's width, then horizontally."""
    for p in prange(y.shape[0]):
        row = np.empty(x.shape[2], x.dtype)
        for i in range(y.shape[1]):
            upper, lower, weight = x[p, top[i]], x[p, bottom[i]], down[i]
            for j in range(x.shape[2]):
                row[j] = upper[j] + weight * (lower[j] - upper[j])
            for j in range(y.shape[2]):
                y[p, i, j] = row[left[j]] + across[j] * (row[right[j]] - row[left[j]])


@njit(parallel=True, cache=True)
def _backward(grad, top, bottom, down, left, right, across, dx):
    """Spread horizontally into one row, then add that row to the two rows it came from."""
    for p in prange(grad.shape[0]):
        row = np.empty(dx.shape[2], dx.dtype)
        for i in range(grad.shape[1]):
            for j in range(row.size):
                row[j] = 0
            for j in range(grad.shape[2]):
                row[left[j]] += (1 - across[j]) * grad[p, i, j]
                row[right[j]] += across[j] * grad[p, i, j]
            for j in range(dx.shape[2]):
                dx[p, top[i], j] += (1 - down[i]) * row[j]
                dx[p, bottom[i], j] += down[i] * row[j]
