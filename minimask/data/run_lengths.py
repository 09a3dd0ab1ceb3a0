"""COCO's run lengths of one object, without an array of the whole image's size.

Run lengths go down the columns, one column after the other, first the zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minimask.data.segmentation import unpack_counts


def decode_columns(counts: str | bytes, height: int, width: int) -> tuple[np.ndarray, int]:
    """The columns in which an object lies.

    Args:
        counts: compressed run lengths.
        height: of the image.
        width: the same.

    Returns:
        (height, w) bool from the first column that it touches to the last, and the first's number.

    Raises:
        ValueError: no run lengths, or not of so many pixels.
    """
    runs = unpack_counts(counts.decode("ascii") if isinstance(counts, bytes) else counts)
    if runs is None or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"counts: no run lengths of {height} x {width} pixels")
    ends = np.cumsum(runs)
    begin, end = ends[: len(ends) // 2 * 2 : 2], ends[1::2]
    begin, end = begin[end > begin], end[end > begin]
    if not len(begin):
        return np.zeros((height, 0), bool), 0
    left, right = int(begin[0]) // height, (int(end[-1]) - 1) // height + 1
    borders = np.empty(2 * len(begin) + 1, np.int64)
    borders[0:-1:2], borders[1::2] = begin, end
    borders[-1] = right * height
    lengths = np.diff(borders, prepend=left * height)
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(right - left, height).T, left


def encode_crop(crop: np.ndarray, y: int, x: int, height: int, width: int) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask that is kept as a crop.

    Args:
        crop: (h, w) bool.
        y: row of its upper left pixel.
        x: column of it.
        height: of the image.
        width: the same.

    Returns:
        size [height, width] and counts (bytes), as pycocotools makes them of the whole mask.
    """
    from pycocotools import mask as rle

    columns = np.zeros((crop.shape[1], height), bool)
    columns[:, y : y + crop.shape[0]] = crop.T
    change = np.flatnonzero(np.diff(columns.ravel().view(np.int8), prepend=np.int8(0))) + x * height
    if len(change) % 2 and columns.size:  # it ends in the last pixel of its last column
        change = np.append(change, (x + crop.shape[1]) * height)
    counts = np.diff(np.concatenate([[0], change, [height * width]]))
    counts = counts if counts[-1] else counts[:-1]  # it ends in the last pixel of the image
    runs = {"size": [height, width], "counts": counts.tolist()}
    encoded: dict[str, Any] = rle.frPyObjects(runs, height, width)
    return encoded
