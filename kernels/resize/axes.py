"""Which input pixels one axis of a resized image reads, and with which weights."""

from __future__ import annotations

import numpy as np


def taps(
    length: int, new_length: int, mode: str, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per output pixel: two input pixels (low, high) and the weight of `high`, in `dtype`.

    Nearest neighbor is the case low = high, weight 0.  Positions are computed in the precision of
    the image, as PyTorch does: with float64 positions, a network that starts with a resized
    float32 image differs from PyTorch's in the fifth digit of its input.
    """
    number = np.dtype(dtype).type
    if mode == "nearest":
        low = np.arange(new_length) * length // new_length
        return low, low, np.zeros(new_length, dtype)
    scale = number(length) / number(new_length)
    center = (np.arange(new_length, dtype=dtype) + number(0.5)) * scale - number(0.5)
    center = np.clip(center, 0, length - 1)  # constant beyond the outermost pixel centers
    low = np.floor(center).astype(np.int64)
    return low, np.minimum(low + 1, length - 1), center - low.astype(dtype)
