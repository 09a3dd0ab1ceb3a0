"""What indexing does to a mask that is kept as a crop: its place, its pixels, the axes of an index.

Letters: R objects, H W height and width of the image, h w of one object's box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Corner = tuple[int, int]  # row and column of a crop's upper left pixel
NOTHING = np.zeros((0, 0), bool)


def tight(mask: np.ndarray) -> tuple[np.ndarray, Corner]:
    """The part of a mask (H, W) inside its tight box, and row and column where it begins.

    What is cut out is copied, so that the whole can be forgotten; a mask without a pixel gives
    (0, 0) pixels at row 0 and column 0.
    """
    rows: np.ndarray = np.any(mask, axis=1)
    if not rows.any():
        return NOTHING, (0, 0)
    y0, y1 = int(rows.argmax()), len(rows) - int(rows[::-1].argmax())
    columns: np.ndarray = np.any(mask[y0:y1], axis=0)
    x0, x1 = int(columns.argmax()), len(columns) - int(columns[::-1].argmax())
    if (y1 - y0, x1 - x0) == mask.shape:
        return mask, (0, 0)
    return mask[y0:y1, x0:x1].copy(), (y0, x0)


def places_by_axis(
    key: tuple[Any, ...], shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None] | None:
    """The places that an index takes along each axis; of rows and columns None: all as they are.

    None altogether: the index does not pick each axis by itself.
    """
    if len(key) > 3 or not all(isinstance(k, slice | list | np.ndarray) for k in key):
        return None
    whole = (slice(None),) * (3 - len(key))
    indices = [k if isinstance(k, slice) else np.asarray(k) for k in (*key, *whole)]
    arrays = [k for k in indices if not isinstance(k, slice)]
    single = len(arrays) == 1 and arrays[0].ndim == 1
    if arrays and not single and not _is_open_mesh(indices):
        return None  # points, one from each array, or a bool for every pixel
    places: list[np.ndarray | None] = []
    for axis, (index, size) in enumerate(zip(indices, shape, strict=True)):
        if axis and isinstance(index, slice) and index == slice(None):
            places.append(None)
            continue
        if not isinstance(index, slice):
            index = index.ravel() if index.size else index.ravel().astype(np.int64)
        places.append(np.arange(size)[index])
    objects, rows, columns = places
    assert objects is not None
    return objects, rows, columns


def _is_open_mesh(indices: Sequence[Any]) -> bool:
    """Whether the arrays of an index stand across each other, as np.ix_ makes them.

    Array k of n then has length 1 along all of the n axes but its own, and no slice stands
    between two arrays, which would change the order of the axes.
    """
    where = [i for i, index in enumerate(indices) if not isinstance(index, slice)]
    arrays = [indices[i] for i in where]
    if not where or where[-1] - where[0] + 1 != len(where) or any(k.dtype == bool for k in arrays):
        return False
    count = len(arrays)
    shapes = [(1,) * (count - k.ndim) + k.shape for k in arrays]
    return all(
        len(shape) == count and shape[:i] + shape[i + 1 :] == (1,) * (count - 1)
        for i, shape in enumerate(shapes)
    )


def pick(
    crop: np.ndarray, corner: Corner, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, Corner]:
    """A crop after its image was indexed with `rows` and `columns`, and its new corner."""
    starts = []
    for axis, places in ((0, rows), (1, columns)):
        begin, end = corner[axis], corner[axis] + crop.shape[axis]
        inside = (places >= begin) & (places < end)
        found = np.flatnonzero(inside)
        if not len(found):
            return NOTHING, (0, 0)
        first, last = int(found[0]), int(found[-1]) + 1
        starts.append(first)
        taken = places[first:last] - begin
        if last - first == len(found):
            crop = crop.take(taken, axis)
        else:  # what lies between comes from outside the crop
            crop = crop.take(np.clip(taken, 0, crop.shape[axis] - 1), axis)
            crop[(slice(None),) * axis + (~inside[first:last],)] = False
    return crop, (starts[0], starts[1])
