"""Which input pixels one axis of a resized image reads, and with which weights."""

from __future__ import annotations

import numpy as np


def taps(length: int, new_length: int, mode: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per output pixel: two input pixels (low, high) and the weight of `high`, in float64.

    Nearest neighbor is the case low = high, weight 0.
    """
    if mode == "nearest":
        low = np.arange(new_length) * length // new_length
        return low, low, np.zeros(new_length)
    center = (np.arange(new_length) + 0.5) * (length / new_length) - 0.5
    center = np.clip(center, 0, length - 1)  # constant beyond the outermost pixel centers
    low = np.floor(center).astype(np.int64)
    return low, np.minimum(low + 1, length - 1), center - low
