"""Segmentation as it was before networks, each method in a few lines of NumPy.

Letters: H W height and width in pixels, K groups, C values of a pixel.
"""

from __future__ import annotations

import numpy as np


def otsu(values: np.ndarray) -> float:
    """The threshold that parts values (any shape) into two groups of least variance inside."""
    counts, edges = np.histogram(values, bins=128)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * centers)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + np.nanargmax(between[:-1])])


def k_means(
    points: np.ndarray, groups: int, rng: np.random.Generator, rounds: int = 20
) -> tuple[np.ndarray, list[float]]:
    """Lloyd's algorithm from centers chosen far apart (k-means++).

    Args:
        points: (R, C) float.
        groups: K.
        rng: draws the first centers.
        rounds: at most so many; it stops where nothing changes.

    Returns:
        (R,) the group of each point, and the inertia after every round.
    """
    centers = points[rng.integers(len(points))][None]
    while len(centers) < groups:
        nearest = ((points[:, None] - centers) ** 2).sum(axis=2).min(axis=1)
        index = rng.choice(len(points), p=nearest / nearest.sum())
        centers = np.concatenate([centers, points[index][None]])
    inertia: list[float] = []
    for _ in range(rounds):
        squares = ((points[:, None] - centers) ** 2).sum(axis=2)
        group = squares.argmin(axis=1)
        inertia.append(float(squares.min(axis=1).sum()))
        if len(inertia) > 1 and inertia[-1] == inertia[-2]:
            break
        members = [points[group == k] for k in range(groups)]
        centers = np.stack(
            [m.mean(axis=0) if len(m) else c for m, c in zip(members, centers, strict=True)]
        )
    return group, inertia


def smaller_peak(gray: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels of the histogram's second peak, the largest being background."""
    counts, edges = np.histogram(gray, bins=32)
    counts = np.convolve(counts, (0.25, 0.5, 0.25), mode="same")
    first = int(counts.argmax())
    away = np.abs(np.arange(len(counts)) - first)
    second = int((counts * (away > 4)).argmax())
    low, high = sorted((first, second))
    valley = edges[low + int(counts[low : high + 1].argmin())]
    return gray > valley if second > first else gray < valley


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
    return steepness >= share * steepness.max()


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
