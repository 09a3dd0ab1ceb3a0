"""Edges: where brightness changes fast; what they enclose is a segment.

Letters: H W height and width in pixels.
"""

from __future__ import annotations

import numpy as np

from minimask.classical.extra import need


def sobel(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes down and to the right of (H, W) values, smoothed by Sobel's windows; border 0."""
    down, right = np.zeros_like(gray), np.zeros_like(gray)
    for shift, weight in ((-1, 1.0), (0, 2.0), (1, 1.0)):
        rows = slice(1 + shift, gray.shape[0] - 1 + shift)
        columns = slice(1 + shift, gray.shape[1] - 1 + shift)
        down[1:-1, 1:-1] += weight * (gray[2:, columns] - gray[:-2, columns])
        right[1:-1, 1:-1] += weight * (gray[rows, 2:] - gray[rows, :-2])
    return down, right


def edges(gray: np.ndarray, share: float = 0.3) -> np.ndarray:
    """(H, W) bool: pixels whose slope is at least a share of the steepest."""
    steepness = np.hypot(*sobel(gray))
    return (steepness >= share * steepness.max()) & (steepness > 0)


def canny(gray: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """(H, W) bool: Canny's edges, one pixel wide and joined, by scikit-image.

    Args:
        gray: (H, W), 0 to 255.
        sigma: of the Gaussian that smooths first, in pixels.

    Raises:
        ImportError: scikit-image is not installed.
    """
    feature = need("skimage.feature", "canny")
    found: np.ndarray = feature.canny(gray / 255, sigma=sigma)  # its thresholds are for 0 to 1
    return found
