"""Bilinear resizing of 8-bit images in whole numbers, to the bit what OpenCV's INTER_LINEAR gives.

mmdetection prepares its images so, and its networks know no others.
"""

from __future__ import annotations

import numpy as np

ONE = 2048  # a weight of 1: 11 bits


def resize_bytes(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, C) uint8 -> (height, width, C) uint8."""
    left, right, to_left, to_right = _neighbours(image.shape[1], width, clamp=True)
    upper, lower, to_upper, to_lower = _neighbours(image.shape[0], height, clamp=False)
    pixels = image.astype(np.int32)
    rows = pixels[:, left] * to_left[:, None] + pixels[:, right] * to_right[:, None]
    rows >>= 4  # the product with the second weight has to fit in 32 bits
    total = (to_upper[:, None, None] * rows[upper] >> 16) + (
        to_lower[:, None, None] * rows[lower] >> 16
    )
    return np.clip((total + 2) >> 2, 0, 255).astype(np.uint8)


def _neighbours(
    before: int, after: int, *, clamp: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels along an axis that each new one lies between, and their weights.

    Beyond the border both are the last pixel; with `clamp` all weight is on the first of them, so
    that nothing is lost to the rounding of two weights.
    """
    place = ((np.arange(after) + 0.5) * (before / after) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    fraction = place - first.astype(np.float32)
    if clamp:
        fraction[(first < 0) | (first >= before - 1)] = 0
    one, whole = np.float32(1), np.float32(ONE)
    weights = [np.rint(share * whole).astype(np.int32) for share in (one - fraction, fraction)]
    low, high = (np.clip(first + i, 0, before - 1) for i in (0, 1))
    return low, high, weights[0], weights[1]
