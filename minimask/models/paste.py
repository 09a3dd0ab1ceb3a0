"""Drawing small square masks into the full image: three systems, three ways.

The network predicts, for each detected box, an M x M grid of probabilities. They differ in where a
grid cell lies in the image:

* "torchvision": the grid, with a border of zeros, is stretched over the box grown by the same
  factor and cut to whole pixels, both ends included.
* "detectron2": every pixel's center is looked up in the grid over the exact box; outside is 0.
* "matterport": the grid is stretched over the box rounded to whole pixels; outside is 0.

On perfect masks the second loses least (about half a point of mask AP).

Letters: H W height and width of the image, M side of the grid.
"""

from __future__ import annotations

import numpy as np

THRESHOLD = 0.5  # Mask R-CNN, section 3.1: "binarized at a threshold of 0.5"


def paste_crop(
    probs: np.ndarray, box: np.ndarray, height: int, width: int, way: str = "torchvision"
) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of the image that a mask can touch: its probabilities, and where it lies.

    Args:
        probs: (M, M) probability that a cell's center belongs to the object.
        box: (4,) x0 y0 x1 y1 in pixels of the image.
        height: of the image.
        width: of the image.
        way: "torchvision", "detectron2" or "matterport".

    Returns:
        (h, w) float32 and (x, y) of its upper left pixel; h or w is 0 when the box lies outside.
    """
    if way not in _WAYS:
        raise ValueError(f"paste: expected one of {', '.join(_WAYS)}, got {way!r}")
    if not np.isfinite(box).all():
        return np.zeros((0, 0), np.float32), (0, 0)
    rows, columns, grid, outside = _WAYS[way](probs, box, height, width)
    (y, at_y), (x, at_x) = rows, columns
    crop = _lerp(_lerp(grid, at_y, outside).T, at_x, outside).T
    return np.ascontiguousarray(crop, np.float32), (x, y)


def paste_mask(
    probs: np.ndarray, box: np.ndarray, height: int, width: int, way: str = "torchvision"
) -> np.ndarray:
    """Draw a small square mask into a full image.

    Arguments as for `paste_crop`; returns (H, W) float32, 0 away from the box.
    """
    crop, (x, y) = paste_crop(probs, box, height, width, way)
    image = np.zeros((height, width), np.float32)
    image[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return image


_Axis = tuple[int, np.ndarray]  # the first pixel, and for each pixel its position in the grid
_Plan = tuple[_Axis, _Axis, np.ndarray, str]


def _torchvision(probs: np.ndarray, box: np.ndarray, height: int, width: int) -> _Plan:
    """A zero border keeps the outermost row of the grid from being smeared to the box's edge."""
    grid = np.pad(np.asarray(probs, np.float32), 1)
    cells = len(grid)
    grown = np.float32(cells / (cells - 2))
    box = np.asarray(box, np.float32)
    half = (box[2:] - box[:2]) * np.float32(0.5) * grown
    center = (box[2:] + box[:2]) * np.float32(0.5)
    first = np.trunc(center - half).astype(np.int64)
    count = np.maximum(np.trunc(center + half).astype(np.int64) - first + 1, 1)

    def axis(start: int, length: int, limit: int) -> _Axis:
        pixels = np.arange(max(start, 0), max(min(start + length, limit), max(start, 0)))
        position = (pixels - start + 0.5) * (cells / length) - 0.5
        return (int(pixels[0]) if len(pixels) else 0), np.maximum(position, 0)

    x, y = axis(first[0], count[0], width), axis(first[1], count[1], height)
    return y, x, grid, "edge"


def _detectron2(probs: np.ndarray, box: np.ndarray, height: int, width: int) -> _Plan:
    cells = len(probs)

    def axis(low: float, high: float, limit: int) -> _Axis:
        start = int(np.clip(np.floor(low) - 1, 0, limit))
        end = int(np.clip(np.ceil(high) + 1, start, limit))
        side = max(float(high) - float(low), 1e-6)  # a box without width covers no pixel's center
        return start, (np.arange(start, end) + 0.5 - float(low)) / side * cells - 0.5

    return axis(box[1], box[3], height), axis(box[0], box[2], width), np.asarray(probs), "zero"


def _matterport(probs: np.ndarray, box: np.ndarray, height: int, width: int) -> _Plan:
    cells = len(probs)
    whole = np.round(box).astype(np.int64)

    def axis(low: int, high: int, limit: int) -> _Axis:
        start, end = max(low, 0), max(min(high, limit), max(low, 0))
        position = (np.arange(start, end) - low + 0.5) * (cells / max(high - low, 1)) - 0.5
        return (start if end > start else 0), position

    x, y = axis(whole[0], whole[2], width), axis(whole[1], whole[3], height)
    return y, x, np.asarray(probs), "zero"


_WAYS = {"torchvision": _torchvision, "detectron2": _detectron2, "matterport": _matterport}


def _lerp(grid: np.ndarray, at: np.ndarray, outside: str) -> np.ndarray:
    """Rows of the grid between its rows: (M, C) at (P,) fractional positions -> (P, C)."""
    cells = len(grid)
    low = np.floor(at).astype(np.int64)
    share = (at - low).astype(np.float32)[:, None]
    above, below = grid[np.clip(low, 0, cells - 1)], grid[np.clip(low + 1, 0, cells - 1)]
    if outside == "zero":
        above = above * ((low >= 0) & (low < cells))[:, None]
        below = below * ((low >= -1) & (low < cells - 1))[:, None]
    return above * (1 - share) + below * share
