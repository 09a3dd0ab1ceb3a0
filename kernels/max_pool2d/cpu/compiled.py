"""As `reference`, but compiled: a window is read where it lies, and no copy of it is made.

One worker per image and channel: windows overlap, so their gradients add up to the same pixel, but
never across channels.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import numpy as np
from numba import njit, prange

from minimask.kernels.max_pool2d.windows import Pair, Windows, output_shape


def max_pool2d(
    x: np.ndarray, *, window: Pair, stride: Pair, padding: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Output = max over the window; argmax = where in the image that was."""
    n, c, h, w = x.shape
    output = np.empty(output_shape(x.shape, Windows(window, stride, padding)), x.dtype)
    argmax = np.empty(output.shape, np.int32)
    if output.size:
        planes = np.ascontiguousarray(x).reshape(n * c, h, w)
        shape = (n * c, *output.shape[2:])
        _pool(planes, window, stride, padding, output.reshape(shape), argmax.reshape(shape))
    return output, argmax


def max_pool2d_backward(
    grad: np.ndarray,
    argmax: np.ndarray,
    *,
    input_shape: tuple[int, ...],
    windows: Windows | None = None,  # argmax says it all
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


@njit(cache=True, error_model="numpy")
def _keep_larger(source, step, at, best, argmax):
    """Where the value is larger than the best so far, or the first NaN, it takes its place.

    Without branches, so that it runs on vectors of windows.
    """
    for j in range(best.size):
        value, old, position = source[np.uintp(step * j)], best[j], argmax[j]
        better = (not (value <= old)) & (old == old)
        best[j] = value if better else old
        argmax[j] = np.int32(at + step * j) if better else position


@njit(cache=True, error_model="numpy")
def _pool_plane(x, window, stride, padding, output, argmax):
    """One plane, row by row; each pixel of the window for all windows of a row at once."""
    height, width = x.shape
    count = output.shape[1]
    for i in range(output.shape[0]):
        top = max(0, i * stride[0] - padding[0])
        best, argbest = output[i], argmax[i]
        for j in range(count):
            left = max(0, j * stride[1] - padding[1])
            best[j] = x[top, left]
            argbest[j] = top * width + left
        for h in range(top, min(height, i * stride[0] - padding[0] + window[0])):
            for v in range(window[1]):
                shift = v - padding[1]
                first = max(0, -(shift // stride[1]))
                end = min(count, (width - 1 - shift) // stride[1] + 1)
                if first >= end:
                    continue
                start = first * stride[1] + shift
                source, at = x[h, start:], h * width + start
                if stride[1] == 2:  # a constant, for the compiler to load pairs
                    _keep_larger(source, 2, at, best[first:end], argbest[first:end])
                else:
                    _keep_larger(source, stride[1], at, best[first:end], argbest[first:end])


@njit(parallel=True, cache=True)
def _pool(x, window, stride, padding, output, argmax):
    """One worker per plane."""
    for p in prange(x.shape[0]):
        _pool_plane(x[p], window, stride, padding, output[p], argmax[p])


@njit(parallel=True, cache=True)
def _unpool(grad, argmax, dx):
    """One worker per plane."""
    for p in prange(grad.shape[0]):
        dx[p] = 0
        for i in range(grad.shape[1]):
            dx[p, argmax[p, i]] += grad[p, i]
