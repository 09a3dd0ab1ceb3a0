"""Regions: growing them, filling them, taking them apart, numbering them.

Letters: H W height and width in pixels.
"""

from __future__ import annotations

import numpy as np

from minimask.classical.extra import need


def grow(start: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """(H, W) bool: the allowed pixels that are connected with the start, side by side."""
    region = start & allowed
    while True:
        larger = region.copy()
        larger[1:] |= region[:-1]
        larger[:-1] |= region[1:]
        larger[:, 1:] |= region[:, :-1]
        larger[:, :-1] |= region[:, 1:]
        larger &= allowed
        if (larger == region).all():
            return region
        region = larger


def enclosed(edge: np.ndarray) -> np.ndarray:
    """(H, W) bool: what cannot be reached from the image's border without crossing an edge."""
    border = np.zeros_like(edge)
    border[0] = border[-1] = True
    border[:, 0] = border[:, -1] = True
    return ~grow(border, ~edge)


def components(mask: np.ndarray) -> list[np.ndarray]:
    """The connected parts of a mask (H, W) bool, from top to bottom."""
    parts, rest = [], mask.copy()
    while rest.any():
        start = np.zeros_like(rest)
        start[np.unravel_index(rest.argmax(), rest.shape)] = True
        parts.append(grow(start, rest))
        rest &= ~parts[-1]
    return parts


def object_side(mask: np.ndarray) -> np.ndarray:
    """The mask or its opposite: that which has less of the image's border.

    A threshold parts an image in two and does not say which part is the object; ground usually
    runs all around it.

    Args:
        mask: (H, W) bool.
    """
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return ~mask if border.mean() > 0.5 else mask


def number_regions(classes: np.ndarray, smallest: int = 1) -> np.ndarray:
    """Number the connected parts of every class, by SciPy: pixels touch side by side.

    Args:
        classes: (H, W) whole numbers, 0: background, which is not numbered.
        smallest: parts of fewer pixels become background.

    Returns:
        (H, W) int64: 0, or the part's number from 1.

    Raises:
        ImportError: SciPy is not installed.
    """
    ndimage = need("scipy.ndimage", "numbering regions")
    numbers, count = np.zeros(classes.shape, np.int64), 0
    for value in np.unique(classes[classes > 0]):
        parts, found = ndimage.label(classes == value)
        numbers += np.where(parts > 0, parts + count, 0)
        count += found
    large = np.bincount(numbers.ravel(), minlength=count + 1) >= smallest
    large[0] = False
    return np.where(large, np.cumsum(large), 0)[numbers]
