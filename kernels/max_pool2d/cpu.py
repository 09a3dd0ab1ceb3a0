"""As `reference`, but compiled: a window is read where it lies, and no copy of it is made.

One worker per image and channel: windows overlap, so their gradients add up to the same pixel, but
never across channels.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import numpy as np
from numba import njit, prange

Pair = tuple[int, int]


def max_pool2d(
    x: np.ndarray, *, window: Pair, stride: Pair, padding: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Output = max over the window; argmax = where in the image that was."""
    n, c, h, w = x.shape
    out_h = (h + 2 * padding[0] - window[0]) // stride[0] + 1
    out_w = (w + 2 * padding[1] - window[1]) // stride[1] + 1
    output = np.empty((n, c, out_h, out_w), x.dtype)
    argmax = np.empty((n, c, out_h, out_w), np.int32)
    if output.size:
        planes = np.ascontiguousarray(x).reshape(n * c, h, w)
        shape = (n * c, out_h, out_w)
        _pool(planes, window, stride, padding, output.reshape(shape), argmax.reshape(shape))
    return output, argmax


def max_pool2d_backward(
    grad: np.ndarray, argmax: np.ndarray, *, input_shape: tuple[int, ...]
) -> np.ndarray:
    """dx[argmax] += grad, image by image and channel by channel."""
    n, c, h, w = input_shape
    dx = np.empty(input_shape, grad.dtype)
    if dx.size:
        out = grad.shape[2] * grad.shape[3]
        _unpool(
            np.ascontiguousarray(grad).reshape(n * c, out),
            np.ascontiguousarray(argmax, np.int32).reshape(n * c, out),
            dx.reshape(n * c, h * w),
        )
    return dx


@njit(parallel=True, cache=True)
def _pool(x, window, stride, padding, output, argmax):
    """One worker per plane; row by row, so that neighboring windows read neighboring pixels."""
    planes, height, width = x.shape
    for p in prange(planes):
        for i in range(output.shape[1]):
            top = i * stride[0] - padding[0]
            bottom = min(top + window[0], height)
            top = max(top, 0)
            for j in range(output.shape[2]):
                left = j * stride[1] - padding[1]
                right = min(left + window[1], width)
                left = max(left, 0)
                best = x[p, top, left]
                at = top * width + left
                for h in range(top, bottom):
                    for w in range(left, right):
                        value = x[p, h, w]
                        # the first NaN wins over every number and stays
                        if value > best or (value != value and best == best):
                            best = value
                            at = h * width + w
                output[p, i, j] = best
                argmax[p, i, j] = at


@njit(parallel=True, cache=True)
def _unpool(grad, argmax, dx):
    """One worker per plane."""
    for p in prange(grad.shape[0]):
        dx[p] = 0
        for i in range(grad.shape[1]):
            dx[p, argmax[p, i]] += grad[p, i]
