"""What people draw (rectangles, ellipses, bitmaps in a box) as polygons and masks.

Coordinates are those of COCO: x to the right, y down, pixel i covers [i, i + 1).  Every function
raises ValueError with a phrase that says what is wrong, to be put behind the object's place.
"""

# N points   H W height and width of an image

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import eq
from typing import Any

import numpy as np

from minimask.data.annotations import NoArea
from minimask.data.json_files import kind_of
from minimask.data.segmentation import decode, is_number, segmentation_problem

CURVE = 0.05  # pixels: how far a polygon may be from the curve it stands for
LISTS, NUMBERS = {list, tuple}, {int, float, str}  # types that are taken at once
MOST_PIXELS = 1 << 28  # of an image with bitmaps, which are laid out in memory as a whole

Part = list[float] | np.ndarray  # a polygon x0 y0 x1 y1 ..., or an (H, W) bool mask


def number(value: Any, name: str) -> float:
    """A coordinate, from a JSON number or from text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{name}: expected a number, got {value[:40]!r}") from None
    if not is_number(value):
        shown = value if isinstance(value, float | int) and abs(value) > 1e9 else kind_of(value)
        shown = f"{shown:g}" if isinstance(shown, float) else str(shown)[:40]
        raise ValueError(f"{name}: expected a number below 1e9, got {shown}")
    return float(value)


def point(value: Any, name: str) -> list[float]:
    """A point [x, y]."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name}: expected a point [x, y], got {kind_of(value)}")
    return [number(value[0], name), number(value[1], name)]


def coordinates(points: Any, name: str = "points") -> list[float]:
    """The numbers x0 y0 x1 y1 ... of N points [x, y], all at once where they are sound."""
    if not isinstance(points, list | tuple):
        raise ValueError(f"{name}: expected a list of points, got {kind_of(points)}")
    if set(map(type, points)) <= LISTS and set(map(len, points)) == {2}:
        flat = numbers([value for pair in points for value in pair])
        if flat is not None:
            return flat
    return [value for i, one in enumerate(points) for value in point(one, f"{name}[{i}]")]


def numbers(values: Sequence[Any]) -> list[float] | None:
    """The numbers, or None where `number` has something to say about one of them."""
    if not set(map(type, values)) <= NUMBERS:
        return None
    try:
        flat = list(map(float, values))
    except (ValueError, OverflowError):
        return None
    # sums of what is not finite are not finite either
    return flat if flat and math.isfinite(sum(flat)) and max(map(abs, flat)) < 1e9 else None


def polygon(points: Any, name: str = "points") -> list[float]:
    """A polygon x0 y0 x1 y1 ... from N points [x, y]: see `outline`."""
    return outline(coordinates(points, name))


def outline(flat: list[float]) -> list[float]:
    """A polygon without points that repeat the one before, and a last that repeats the first."""
    pairs = list(zip(flat[0::2], flat[1::2], strict=True))
    if len(pairs) > 1 and (pairs[0] == pairs[-1] or any(map(eq, pairs, pairs[1:]))):
        pairs = [
            pair for pair, before in zip(pairs, [None, *pairs], strict=False) if pair != before
        ]
        if len(pairs) > 1 and pairs[0] == pairs[-1]:
            pairs.pop()
        flat = [value for pair in pairs for value in pair]
    if len(pairs) < 3:
        raise NoArea(f"{len(pairs)} different points, so no area")
    return flat


def closes(points: Any) -> bool:
    """Whether a line of at least three points ends where it begins: then it is a polygon."""
    return isinstance(points, list | tuple) and len(points) >= 4 and points[0] == points[-1]


def rectangle(
    x0: float, y0: float, x1: float, y1: float, turn: float = 0, about: str = "centre"
) -> list[float]:
    """A rectangle by two opposite corners in any order.

    Args:
        x0: left or right, in pixels.
        y0: top or bottom.
        x1: the other.
        y1: the other.
        turn: degrees, clockwise as seen.
        about: the point that stays: "centre", or "corner" for (x0, y0).
    """
    if x0 == x1 or y0 == y1:
        raise NoArea(f"{abs(x1 - x0):g} x {abs(y1 - y0):g} pixels, so no area")
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    if about == "centre":
        centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    else:
        centre = (x0, y0)
    return [value for corner in corners for value in _turned(corner, centre, turn)]


def ellipse(cx: float, cy: float, rx: float, ry: float, turn: float = 0) -> list[float]:
    """An ellipse as a polygon that is nowhere farther than `CURVE` from it.

    Args:
        cx: of the centre, in pixels.
        cy: the same.
        rx: radius along x, before turning.
        ry: radius along y.
        turn: degrees about the centre, clockwise as seen.
    """
    if rx <= 0 or ry <= 0:
        raise NoArea(f"radii {rx:g} and {ry:g}, so no area")
    # of a regular polygon with n corners, the middle of a side is r (1 - cos(pi / n)) inside
    n = math.ceil(math.pi / math.acos(max(0.5, 1 - CURVE / max(rx, ry))))
    n = min(max(n, 12), 2000)
    points: list[float] = []
    for i in range(n):
        t = 2 * math.pi * i / n
        points += _turned((cx + rx * math.cos(t), cy + ry * math.sin(t)), (cx, cy), turn)
    return [round(value, 3) for value in points]


def _turned(
    point: tuple[float, float], centre: tuple[float, float], turn: float
) -> tuple[float, float]:
    """A point turned about a centre, in degrees, clockwise where y points down."""
    if turn % 360 == 0:
        return point
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    dx, dy = point[0] - centre[0], point[1] - centre[1]
    return (round(centre[0] + c * dx - s * dy, 6), round(centre[1] + s * dx + c * dy, 6))


def row_runs(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    """A bitmap from run lengths along the rows, zeros first.

    Returns:
        (height, width) bool.
    """
    check_pixels(height, width)
    if any(count < 0 for count in counts):
        raise ValueError("run lengths: expected whole numbers, none negative")
    if sum(counts) != height * width:
        raise ValueError(
            f"run lengths: {sum(counts)} pixels in all, but the box has "
            f"{width} x {height} = {height * width}"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, np.asarray(counts, np.int64)).reshape(height, width)


def placed(bitmap: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    """A bitmap laid into an empty image; what lies outside is cut off.

    Args:
        bitmap: (h, w) bool.
        left: column of the image where its first column lies.
        top: the same for rows.
        height: of the image.
        width: of the image.

    Returns:
        (height, width) bool.
    """
    check_pixels(height, width)
    mask = np.zeros((height, width), bool)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + bitmap.shape[0], height), min(left + bitmap.shape[1], width)
    if y0 < y1 and x0 < x1:
        mask[y0:y1, x0:x1] = bitmap[y0 - top : y1 - top, x0 - left : x1 - left]
    if not mask.any():
        raise NoArea("an empty mask")
    return mask


def check_pixels(height: int, width: int) -> None:
    """Refuse what would fill the memory."""
    if height * width > MOST_PIXELS:
        raise ValueError(f"a mask of {width} x {height} pixels, too many to be real")


def union(parts: Sequence[Part], height: int, width: int) -> list[list[float]] | np.ndarray:
    """Parts of one object put together: polygons where all are, else a mask.

    Args:
        parts: polygons and (H, W) bool masks.
        height: of the image.
        width: the same.
    """
    masks = [part for part in parts if isinstance(part, np.ndarray)]
    polygons = [part for part in parts if not isinstance(part, np.ndarray)]
    if not masks:
        return polygons
    mask = np.logical_or.reduce(masks)
    if polygons:
        problem = segmentation_problem(polygons, height, width)
        if problem:
            raise ValueError(f"outline{problem}")
        mask |= decode(polygons, height, width)
    return mask
