"""The edges of masks as smooth polygons, finer than pixels."""

# h, w height and width of a crop around one object

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.data.masks import ObjectMasks


def mask_paths(crop: np.ndarray, corner: tuple[int, int]) -> Iterator[Any]:
    """The outline of a mask, as matplotlib paths with holes.

    Args:
        crop: (h, w) bool, or float probabilities: the outline is then where they are 0.5.
        corner: x and y of the crop's upper left pixel.

    Yields:
        A `matplotlib.path.Path` for each connected part, in pixels of the image.
    """
    from contourpy import contour_generator
    from matplotlib.path import Path

    if not crop.size or crop.max() < 0.5:
        return
    field = np.pad(np.asarray(crop, np.float32), 1)  # so that outlines close at the border
    # pixel i's center is i + 0.5, and the padding put one pixel in front
    x = np.arange(field.shape[1]) + corner[0] - 0.5
    y = np.arange(field.shape[0]) + corner[1] - 0.5
    level = 0.5 if crop.dtype == bool else 0.49999  # a probability of exactly 0.5 is inside
    generator: Any = contour_generator(x, y, field, fill_type="OuterOffset")
    points_of, offsets_of = generator.filled(level, np.inf)
    for points, offsets in zip(points_of, offsets_of, strict=True):
        rings = [points[a:b] for a, b in itertools.pairwise(offsets)]
        if crop.dtype == bool:
            rings = [_rounded(ring) for ring in rings]
        codes = [
            code
            for ring in rings
            for code in (Path.MOVETO, *[Path.LINETO] * (len(ring) - 2), Path.CLOSEPOLY)
        ]
        yield Path(np.concatenate(rings), codes)


def _rounded(ring: np.ndarray) -> np.ndarray:
    """A closed ring of pixel edges without the stairs: each point moves towards its neighbors."""
    points = ring[:-1]
    for _ in range(2):
        points = 0.25 * np.roll(points, 1, 0) + 0.5 * points + 0.25 * np.roll(points, -1, 0)
    return np.concatenate([points, points[:1]])


def crop_of_mask(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of a full-size mask (H, W) that is not empty, and its corner x, y."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros((0, 0), bool), (0, 0)
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return crop.astype(bool), (int(columns[0]), int(rows[0]))


def crops_of_masks(
    masks: np.ndarray | ObjectMasks,
) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """`crop_of_mask` of each of the masks (R, H, W)."""
    if isinstance(masks, ObjectMasks):
        kept = map(masks.crop, range(len(masks)))
        return [(crop, (x, y)) for crop, (y, x) in kept]
    return [crop_of_mask(mask) for mask in masks]
