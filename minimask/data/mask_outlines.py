"""The polygons that masks were drawn from, where they are known: they move as the masks do.

detectron2 draws the targets of its mask head from them, not from pixels.  An `Outline` is the
union of its polygons, each (V, 2) float64: x y of V corners in pixels, pixel i covering [i, i + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Outline = tuple[np.ndarray, ...]  # the polygons of one object


def outline_of(segmentation: Any) -> Outline | None:
    """The outline that a checked COCO segmentation says; None: it says pixels."""
    if not isinstance(segmentation, list):
        return None
    return tuple(np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation)


def moved(
    outlines: Sequence[Outline | None],
    x: tuple[float, float] = (1.0, 0.0),
    y: tuple[float, float] = (1.0, 0.0),
) -> list[Outline | None]:
    """Outlines with each coordinate multiplied by its first number and moved by its second."""
    factor, way = np.array([x[0], y[0]]), np.array([x[1], y[1]])
    return [o if o is None else tuple(p * factor + way for p in o) for o in outlines]


def swapped(outlines: Sequence[Outline | None]) -> list[Outline | None]:
    """Outlines with x and y exchanged."""
    return [o if o is None else tuple(p[:, ::-1] for p in o) for o in outlines]


def along_slice(index: Any, size: int) -> tuple[float, float] | None:
    """Factor and way of a coordinate on an axis of `size` pixels that a slice was taken of.

    None: the index does more than to cut off and to reverse.
    """
    if not isinstance(index, slice):
        return None
    start, _, step = index.indices(size)
    if step == 1:
        return 1.0, -float(start)
    return (-1.0, start + 1.0) if step == -1 else None
