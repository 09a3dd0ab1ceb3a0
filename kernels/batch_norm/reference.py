"""Batch normalization as the formulas say, one array operation after another."""

from __future__ import annotations

import numpy as np

OVER = (0, 2, 3)  # images and positions


def _per_channel(vector: np.ndarray) -> np.ndarray:
    return vector[:, None, None]


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean squared deviation from it, accumulated in float64."""
    mean = x.mean(axis=OVER, dtype=np.float64)
    var = np.square(x - _per_channel(mean)).mean(axis=OVER)
    return mean.astype(x.dtype), var.astype(x.dtype)


def scale_shift(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    residual: np.ndarray | None,
    *,
    relu: bool,
) -> np.ndarray:
    """scale[c] x + shift[c] + residual, and its ReLU where asked."""
    y = _per_channel(scale) * x + _per_channel(shift)
    if residual is not None:
        y = y + residual
    return np.maximum(y, 0) if relu else y


def batch_norm_backward(
    grad: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, rstd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dx = weight rstd (grad - mean(grad) - x^ mean(grad x^)), dweight and dbias the sums."""
    normed = (x - _per_channel(mean)) * _per_channel(rstd)
    dbias = grad.sum(axis=OVER, dtype=np.float64).astype(grad.dtype)
    dweight = (grad * normed).sum(axis=OVER, dtype=np.float64).astype(grad.dtype)
    count = max(1, x.shape[0] * x.shape[2] * x.shape[3])
    centered = grad - _per_channel(dbias / count) - normed * _per_channel(dweight / count)
    return (_per_channel(weight * rstd) * centered).astype(grad.dtype), dweight, dbias
