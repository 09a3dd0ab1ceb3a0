"""As `reference`, but compiled: one worker per channel, and no arrays in between.

Sums are taken in float64 in a fixed order: a float32 sum over a million values loses the last
three digits.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import numpy as np
from numba import njit, prange

# Sums may be taken in another order than written (which lets them run in vector registers), and a
# product may be fused with a sum; NaN and infinity keep their meaning.
SUMS = {"reassoc", "contract", "nsz"}


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean squared deviation from it."""
    mean, var = np.empty((2, x.shape[1]), x.dtype)
    _moments(_planes(x), mean, var)
    return mean, var


def scale_shift(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    residual: np.ndarray | None,
    *,
    relu: bool,
) -> np.ndarray:
    """scale[c] x + shift[c] + residual, and its ReLU where asked."""
    y = np.empty(x.shape, x.dtype)
    if y.size:
        other = _planes(x if residual is None else residual)  # of no meaning if there is none
        vectors = np.ascontiguousarray(scale), np.ascontiguousarray(shift)
        _scale_shift(_planes(x), *vectors, other, residual is not None, relu, _planes(y))
    return y


def batch_norm_backward(
    grad: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, rstd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dx = weight rstd (grad - mean(grad) - x^ mean(grad x^)), dweight and dbias the sums."""
    dx = np.empty(grad.shape, grad.dtype)
    dweight, dbias = np.zeros((2, grad.shape[1]), grad.dtype)
    if dx.size:
        vectors = [np.ascontiguousarray(v) for v in (weight, mean, rstd)]
        _backward(_planes(grad), _planes(x), *vectors, _planes(dx), dweight, dbias)
    return dx, dweight, dbias


def _planes(x: np.ndarray) -> np.ndarray:
    """(N, C, H W), contiguous."""
    n, c, h, w = x.shape
    return np.ascontiguousarray(x).reshape(n, c, h * w)


@njit(parallel=True, cache=True, fastmath=SUMS)
def _moments(x, mean, var):
    """Two passes: the mean first, because mean(x^2) - mean^2 cancels where the mean is large."""
    images, channels, pixels = x.shape
    for c in prange(channels):
        total = 0.0
        for n in range(images):
            for i in range(pixels):
                total += x[n, c, i]
        center = total / (images * pixels)
        square = 0.0
        for n in range(images):
            for i in range(pixels):
                d = x[n, c, i] - center
                square += d * d
        mean[c] = center
        var[c] = square / (images * pixels)


@njit(cache=True)
def _scale_shift_plane(x, a, b, residual, add, relu, y):
    """One channel of one image; a loop of its own for each form, so that each runs in vectors."""
    zero = x.dtype.type(0)
    if add and relu:
        for i in range(x.size):
            value = a * x[i] + b + residual[i]
            y[i] = zero if value < zero else value  # NaN is not less
    elif add:
        for i in range(x.size):
            y[i] = a * x[i] + b + residual[i]
    elif relu:
        for i in range(x.size):
            value = a * x[i] + b
            y[i] = zero if value < zero else value
    else:
        for i in range(x.size):
            y[i] = a * x[i] + b


@njit(parallel=True, cache=True)
def _scale_shift(x, scale, shift, residual, add, relu, y):
    images, channels = x.shape[:2]
    for p in prange(images * channels):
        n, c = p // channels, p % channels
        _scale_shift_plane(x[n, c], scale[c], shift[c], residual[n, c], add, relu, y[n, c])


@njit(parallel=True, cache=True, fastmath=SUMS)
def _backward(grad, x, weight, mean, rstd, dx, dweight, dbias):
    """First pass the two sums, second pass dx = a grad + b x + c with three numbers per channel."""
    images, channels, pixels = x.shape
    for c in prange(channels):
        center = mean[c]
        total, product = 0.0, 0.0
        for n in range(images):
            for i in range(pixels):
                total += grad[n, c, i]
                product += grad[n, c, i] * (x[n, c, i] - center)
        product *= rstd[c]
        dbias[c], dweight[c] = total, product
        count = images * pixels
        a = weight[c] * rstd[c]
        b = dx.dtype.type(-a * rstd[c] * product / count)
        d = dx.dtype.type(-a * total / count)
        for n in range(images):
            for i in range(pixels):
                dx[n, c, i] = a * grad[n, c, i] + b * (x[n, c, i] - center) + d
