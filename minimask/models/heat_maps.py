"""The highest point of a heat map that is enlarged to its box.

Between its pixels the map is a bicubic surface, of which the peak is looked for at the pixels of
the enlarged map: that of a box 300 pixels high and 200 wide has 60000.  `heat_map_loops` computes
few of them.

Letters: R boxes, P keypoints, S side of a heat map, H W height and width of a box in whole pixels.
"""

# compiled functions are typed by Numba, on their first call
# mypy: disable-error-code="call-arg"
from __future__ import annotations

import numpy as np

SHARPNESS = np.float32(-0.75)  # the cubic's slope at distance 1, as image libraries choose it


def bicubic_taps(length: int, new_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels a bicubic enlargement of an axis blends, and with which weights.

    Output pixel i has its center at (i + 0.5) length / new_length; beyond the outermost centers
    the axis continues constant.

    Returns:
        (new_length,) int64, the pixel before each center, from -1; (new_length, 4) float32, the
        weights of the one before it, itself, and the two after.
    """
    scale = np.float32(length / new_length)
    centers = (np.arange(new_length, dtype=np.float32) + np.float32(0.5)) * scale
    centers -= np.float32(0.5)
    before = np.floor(centers)
    t = centers - before
    weights = np.stack([_far(t + 1), _near(t), _near(1 - t), _far(2 - t)], axis=1)
    return before.astype(np.int64), weights.astype(np.float32)


def _near(x: np.ndarray) -> np.ndarray:
    """The weight of a pixel at distance 0 .. 1."""
    a = SHARPNESS
    return ((a + 2) * x - (a + 3)) * x * x + 1


def _far(x: np.ndarray) -> np.ndarray:
    """The weight of a pixel at distance 1 .. 2."""
    a = SHARPNESS
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def find_peaks(maps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The highest pixel of each map enlarged to its box; of equal ones the first, row by row.

    Args:
        maps: (R, P, S, S) float32.
        boxes: (R, 4); a side below one pixel counts as one, and so does one that is not finite.

    Returns:
        (R, P, 3) float32: x and y of the pixel's center in the frame of the boxes, its value; NaN
        where the map has no numbers.
    """
    boxes = np.asarray(boxes, np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    sides = np.where(np.isfinite(sides), np.maximum(sides, 1), 1).astype(np.float32)
    pixels = np.ceil(sides).astype(np.int64)  # (R, 2): W, H
    peaks = np.empty((*maps.shape[:2], 3), np.float32)
    if peaks.size:
        from minimask.models.heat_map_loops import find_peaks as search  # Numba, when needed

        maps = np.ascontiguousarray(maps)
        taps = (*_all_taps(maps, pixels[:, 0]), *_all_taps(maps, pixels[:, 1]))
        search(maps, *taps, peaks)
    shrunk = sides / pixels.astype(np.float32)  # whole pixels are as long as the side together
    peaks[:, :, :2] = (peaks[:, :, :2] + np.float32(0.5)) * shrunk[:, None] + boxes[:, None, :2]
    return peaks


def _all_taps(maps: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, ...]:
    """The taps of one axis of every box after each other, and where each box's begin: (R + 1,)."""
    before, weights = zip(*(bicubic_taps(maps.shape[3], length) for length in lengths), strict=True)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return np.concatenate(before), np.concatenate(weights), starts


def peak_probabilities(maps: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """exp(height of the peak) over the sum of exp of the map: (R, P, S, S), (R, P) -> (R, P)."""
    return 1 / np.exp(maps - heights[:, :, None, None]).sum(axis=(2, 3))
