"""Run lengths of all objects of a label image in one pass.

A mask of the whole image per object would take 300 times as long for 300 objects.
"""

# H W height and width of the image   N runs of equal values down the columns

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

SMALLEST = 25  # pixels of image for each object, at least; photographs have as many values
FEW = 256  # objects that are always taken


def objects_of_labels(labels: np.ndarray) -> dict[int, dict[str, Any]]:
    """COCO's compressed run lengths of each object of a label image.

    Args:
        labels: (H, W) whole numbers or bool; 0 is background, all pixels of one number are one
            object, connected or not.

    Returns:
        Number -> size [H, W] and counts (text), by number.

    Raises:
        ValueError: as many numbers as a photograph has values.
    """
    from pycocotools import mask as rle

    height, width = labels.shape
    if not labels.size:
        return {}
    columns = labels.T.ravel()  # as COCO counts: down the columns
    starts = np.concatenate([[0], np.flatnonzero(columns[1:] != columns[:-1]) + 1])  # (N,)
    ends = np.append(starts[1:], len(columns))
    values = columns[starts]
    inside = values != 0
    starts, ends, values = starts[inside], ends[inside], values[inside]
    order = np.argsort(values, kind="stable")
    starts, ends, values = starts[order], ends[order], values[order]
    found: dict[int, dict[str, Any]] = {}
    if not len(values):
        return found
    first = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1, [len(values)]])
    if len(first) - 1 > max(FEW, labels.size // SMALLEST):
        raise ValueError(
            f"{len(first) - 1} different values on {width} x {height} pixels, as a photograph has; "
            "expected object numbers"
        )
    for begin, stop in itertools.pairwise(first):
        borders = np.empty(2 * (stop - begin), np.int64)
        borders[::2], borders[1::2] = starts[begin:stop], ends[begin:stop]
        counts = np.diff(borders, prepend=0).tolist()
        if borders[-1] < len(columns):
            counts.append(int(len(columns) - borders[-1]))
        packed = rle.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        found[int(values[begin])] = {
            "size": [height, width],
            "counts": packed["counts"].decode("ascii"),
        }
    return found
