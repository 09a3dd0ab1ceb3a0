"""Bilinear resizing as scikit-image's `resize(order=1, mode="constant")` does it, to the bit.

Outside the image everything is 0, so the outermost pixels of an enlarged image are dimmed; nothing
is smoothed before an image shrinks.  Matterport's code resizes images and small masks so.
"""

from __future__ import annotations

import numpy as np


def resize_floats(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) or (H, W, C) numbers -> (height, width) or (height, width, C) float64.

    The four neighbours are weighted and added in this order; in another the last bit differs.
    """
    pixels = image.astype(np.float64)
    upper, share_below = _places(image.shape[0], height)
    left, share_right = _places(image.shape[1], width)
    columns_first = (1, -1) + (1,) * (image.ndim - 2)
    rows_first = (-1, 1) + (1,) * (image.ndim - 2)
    total = np.zeros((height, width, *image.shape[2:]))
    for down, by_row in ((0, 1 - share_below), (1, share_below)):
        for right, by_column in ((0, 1 - share_right), (1, share_right)):
            rows, in_rows = _inside(upper + down, image.shape[0])
            columns, in_columns = _inside(left + right, image.shape[1])
            inside = in_rows.reshape(rows_first) & in_columns.reshape(columns_first)
            neighbour = pixels[rows][:, columns] * inside
            total += neighbour * by_row.reshape(rows_first) * by_column.reshape(columns_first)
    return total


def resize_bytes(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, C) uint8 -> (height, width, C) uint8: cut to whole numbers, not rounded."""
    return resize_floats(image, height, width).astype(np.uint8)


def _places(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new pixel of an axis the old one before it, and how far it is on to the next."""
    place = (np.arange(after) + 0.5) * (before / after) - 0.5
    first = np.floor(place).astype(np.int64)
    return first, place - first


def _inside(index: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices moved into an axis, and which of them were there before."""
    return np.clip(index, 0, length - 1), (index >= 0) & (index < length)
