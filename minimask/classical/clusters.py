"""Clustering: pixels that are alike form a group.

Letters: R points, C values of a point, K groups, H W height and width in pixels.
"""

from __future__ import annotations

import numpy as np

MOST = 20_000  # pixels that centers are learned from: more change them little


def k_means(
    points: np.ndarray, groups: int, rng: np.random.Generator, rounds: int = 20
) -> tuple[np.ndarray, list[float]]:
    """Lloyd's algorithm from centers chosen far apart (k-means++).

    Each round gives every point to its nearest center, then moves every center to the mean of its
    points.  Neither step can raise the sum of the squared distances, so it ends.

    Args:
        points: (R, C) float.
        groups: K.
        rng: draws the first centers.
        rounds: at most so many; it stops where nothing changes.

    Returns:
        (R,) the group of each point, and after every round the sum of squared distances.

    Raises:
        ValueError: no points, or no groups.
    """
    group, inertia, _ = _lloyd(points, groups, rng, rounds)
    return group, inertia


def color_and_position(
    image: np.ndarray, groups: int, rng: np.random.Generator, position: float = 0.3
) -> np.ndarray:
    """Group the pixels of an image by color and place.

    Args:
        image: (H, W, 3) uint8.
        groups: K.
        rng: draws the pixels that centers are learned from, and the first centers.
        position: what a step across the whole image counts, where black to white in one channel
            counts 1; 0: color alone.

    Returns:
        (H, W) int64: the group of each pixel, 0 .. K - 1.
    """
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width] * (position / max(height, width))
    points = np.dstack([image / 255, rows, columns]).reshape(-1, 5)
    some = points
    if len(points) > MOST:
        some = points[rng.choice(len(points), MOST, replace=False)]
    _, _, centers = _lloyd(some, groups, rng, 20)
    return _squares(points, centers).argmin(axis=1).reshape(height, width)


def _lloyd(
    points: np.ndarray, groups: int, rng: np.random.Generator, rounds: int
) -> tuple[np.ndarray, list[float], np.ndarray]:
    """Groups, the sums of the rounds, and the centers (K, C)."""
    if not len(points) or groups < 1:
        raise ValueError(f"k-means: {groups} groups of {len(points)} points: expected one or more")
    centers = _far_apart(points, groups, rng)
    inertia: list[float] = []
    for _ in range(rounds):
        squares = _squares(points, centers)
        group = squares.argmin(axis=1)
        inertia.append(float(squares.min(axis=1).sum()))
        if len(inertia) > 1 and inertia[-1] == inertia[-2]:
            break
        members = [points[group == k] for k in range(groups)]
        centers = np.stack(
            [m.mean(axis=0) if len(m) else c for m, c in zip(members, centers, strict=True)]
        )
    return group, inertia, centers


def _far_apart(points: np.ndarray, groups: int, rng: np.random.Generator) -> np.ndarray:
    """First centers (K, C): each a point, drawn the more often the farther it is from the others.

    This is k-means++ (Arthur and Vassilvitskii 2007).
    """
    centers = points[rng.integers(len(points))][None]
    while len(centers) < groups:
        nearest = _squares(points, centers).min(axis=1)
        far = nearest.sum()
        index = rng.choice(len(points), p=nearest / far if far > 0 else None)
        centers = np.concatenate([centers, points[index][None]])
    return centers


def _squares(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The squared distance of each point from each center: (R, K)."""
    return np.stack([((points - center) ** 2).sum(axis=1) for center in centers], axis=1)
