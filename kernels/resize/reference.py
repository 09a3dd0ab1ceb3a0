"""Resizing as two matrices, one per axis: y = A x B'.  The gradient is A' dy B."""

from __future__ import annotations

import numpy as np

from minimask.kernels.resize.axes import taps


def matrix(length: int, new_length: int, mode: str, dtype: np.dtype) -> np.ndarray:
    """(new_length, length): row i holds the weights of output pixel i."""
    low, high, weight = taps(length, new_length, mode, dtype)
    rows = np.arange(new_length)
    a = np.zeros((new_length, length))
    a[rows, low] += 1 - weight
    a[rows, high] += weight
    return a.astype(dtype)


def _flags_unseen() -> np.errstate:
    """Products of small matrices fill only a part of BLAS's vector registers.

    What lies in the rest is multiplied too and now and then raises the flag of an invalid
    operation, which NumPy would report although no number of the result is concerned.
    """
    return np.errstate(invalid="ignore")


def resize(x: np.ndarray, *, size: tuple[int, int], mode: str) -> np.ndarray:
    """Y = A x B' for every image and channel."""
    a = matrix(x.shape[2], size[0], mode, x.dtype)
    b = matrix(x.shape[3], size[1], mode, x.dtype)
    with _flags_unseen():
        return a @ x @ b.T


def resize_backward(grad: np.ndarray, *, size: tuple[int, int], mode: str) -> np.ndarray:
    """Dx = A' dy B for every image and channel."""
    a = matrix(size[0], grad.shape[2], mode, grad.dtype)
    b = matrix(size[1], grad.shape[3], mode, grad.dtype)
    with _flags_unseen():
        return a.T @ grad @ b
