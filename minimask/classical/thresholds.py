"""Thresholds: one gray value parts an image in two.

Letters: H W height and width in pixels, B bins of a histogram.
"""

from __future__ import annotations

import numpy as np


def otsu(values: np.ndarray, bins: int = 256) -> float:
    """The threshold that parts values into two groups of least variance inside (Otsu 1979).

    The variance of all values is that inside the groups plus that between them, so it is also the
    threshold of most variance between.  Every border of two bins is tried.

    Args:
        values: any shape; whole numbers have a bin for each, other numbers `bins` bins.
        bins: of the histogram.

    Returns:
        A number between two bins: the upper group is `values > threshold`.  Of values that are all
        the same, this value.
    """
    counts, borders = _histogram(values, bins)
    if np.count_nonzero(counts) < 2:
        return float(np.max(values))
    between = between_class_variance(counts, (borders[:-1] + borders[1:]) / 2)
    return float(borders[1 + between.argmax()])


def between_class_variance(counts: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """How far apart the two groups are, for each border of two bins.

    With shares w of the values and means m of the groups below and above the border it is
    w_below w_above (m_below - m_above)^2 (Otsu 1979, eq. 14).

    Args:
        counts: (B,) of a histogram.
        centers: (B,) values of the bins.

    Returns:
        (B - 1,) float64; 0 where a group has no values.
    """
    counts = counts / counts.sum()
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * centers)[:-1]
    above, total = 1 - below, float((counts * centers).sum())
    both = (np.cumsum(counts)[:-1] > 0) & (np.cumsum(counts[::-1])[::-1][1:] > 0)
    below, above = np.where(both, below, 1), np.where(both, above, 1)
    distance = sums / below - (total - sums) / above
    return np.where(both, below * above * distance**2, 0.0)


def _histogram(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts (B,) and borders (B + 1,) of the bins."""
    values = np.asarray(values)
    if values.size == 0:
        raise ValueError("values: expected at least one, got none")
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        counts = np.bincount((values.ravel() - low).astype(np.int64), minlength=high - low + 1)
        return counts, np.arange(low, high + 2) - 0.5
    return np.histogram(values, bins=bins)


def valley(gray: np.ndarray) -> tuple[float, bool]:
    """The lowest place between the histogram's two peaks, and whether the object is above it.

    The larger peak is taken for the background and the smaller for the object, which is wrong for
    an object that covers more than half of the image.

    Args:
        gray: (H, W).

    Returns:
        The gray value of the valley, and True where the smaller peak is the brighter one.
    """
    counts, borders = np.histogram(gray, bins=32)
    smooth = np.convolve(counts, (0.25, 0.5, 0.25), mode="same")
    first = int(smooth.argmax())
    away = np.abs(np.arange(len(smooth)) - first)
    second = int((smooth * (away > 4)).argmax())  # a peak's own slopes are no second peak
    low, high = sorted((first, second))
    return float(borders[low + int(smooth[low : high + 1].argmin())]), second > first


def smaller_peak(gray: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels of the histogram's second peak, the largest being background."""
    if gray.min() == gray.max():  # no second peak
        return np.zeros(gray.shape, bool)
    border, brighter = valley(gray)
    return gray > border if brighter else gray < border
