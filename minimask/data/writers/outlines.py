"""Outlines of masks along the edges of their pixels, and several outlines as one."""

# n points of a ring   H W height and width of a mask

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_PAIRS = 4_000_000  # distances looked at to find the shortest line between two rings

Point = tuple[int, int]


def pixel_rings(mask: np.ndarray) -> list[np.ndarray]:
    """The borders of a mask's parts and holes.

    Args:
        mask: (H, W) bool.

    Returns:
        Rings (n, 2) of corners x y, whole numbers, not closed.  With the even-odd rule they
        cover exactly the mask.  Parts that touch at a corner only have rings of their own.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    # +1: the upper or left edge of a pixel, -1: its lower or right edge
    across = _edges(np.diff(padded, axis=0)[:, 1:-1])  # line y, from x to x
    down = _edges(np.diff(padded, axis=1)[1:-1].T)  # line x, from y to y
    # walked so that the mask lies to the right hand
    horizontal: dict[Point, list[Point]] = {}
    for y, x0, x1, sign in across:
        begin, end = ((x0, y), (x1, y)) if sign > 0 else ((x1, y), (x0, y))
        horizontal.setdefault(begin, []).append(end)
    vertical: dict[Point, list[Point]] = {}
    for x, y0, y1, sign in down:
        begin, end = ((x, y1), (x, y0)) if sign > 0 else ((x, y0), (x, y1))
        vertical.setdefault(begin, []).append(end)
    rings = []
    while horizontal:
        start = next(iter(horizontal))
        ring = [start]
        before, here = start, _leave(horizontal, start, start)
        while True:
            ring.append(here)
            before, here = here, _leave(vertical, before, here)
            if here == start:
                break
            ring.append(here)
            before, here = here, _leave(horizontal, before, here)
        rings.append(np.array(ring, float))
    return rings


def _edges(lines: np.ndarray) -> list[list[int]]:
    """Runs of equal values but 0 in each row: row, first, end, value."""
    padded = np.pad(lines, ((0, 0), (1, 1)))
    change = np.diff(padded, axis=1) != 0
    rows, begin = np.nonzero(change & (padded[:, 1:] != 0))
    _, end = np.nonzero(change & (padded[:, :-1] != 0))
    return np.stack([rows, begin, end, lines[rows, begin]], axis=1).tolist()


def _leave(edges: dict[Point, list[Point]], before: Point, here: Point) -> Point:
    """The end of the edge that begins here; of two, where parts touch, the one to the right."""
    ends = edges[here]
    chosen = 0
    if len(ends) == 2:
        dx, dy = here[0] - before[0], here[1] - before[1]
        # y points down: to the right of (dx, dy) lies (-dy, dx)
        right = [(x - here[0]) * -dy + (y - here[1]) * dx for x, y in ends]
        chosen = int(right[1] > right[0])
    end = ends.pop(chosen)
    if not ends:
        del edges[here]
    return end


def joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Several rings as one polygon: each is joined to those before by a line there and back.

    Args:
        rings: (n, 2) points of each.

    Returns:
        (n, 2) points; with the even-odd rule it covers what the rings cover.
    """
    whole = rings[0]
    for ring in rings[1:]:
        i, j = _closest(whole, ring)
        loop = np.concatenate([ring[j:], ring[: j + 1]])
        whole = np.concatenate([whole[: i + 1], loop, whole[i:]])
    return whole


def _closest(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Numbers of two points of two rings that lie close to each other."""
    step_a = step_b = 1
    if len(a) * len(b) > MOST_PAIRS:
        step_a, step_b = 1 + len(a) // 2000, 1 + len(b) // 2000
    some_a, some_b = a[::step_a], b[::step_b]
    distance = ((some_a[:, None] - some_b[None]) ** 2).sum(axis=2)
    i, j = np.unravel_index(distance.argmin(), distance.shape)
    return int(i) * step_a, int(j) * step_b
