"""Shapes as functions of the plane, their exact coverage of pixels, and the paint inside them.

A shape is a function f(x, y) that is negative inside, positive outside, and changes by at most the
distance moved.  So |f| at a pixel's center bounds the distance to the outline from below, and only
pixels with |f| < 0.71 can be cut by it.  Those are looked at with 8 x 8 sample points, which fit in
the 64 bits of one integer: covering one object by another is then a bitwise `and not`, exact to a
sample point even where two outlines run through one pixel.

Letters: H W height and width of a patch, S sample points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GRID = 8  # sample points along a pixel's side
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)  # every sample point of a pixel
HALF_DIAGONAL = 0.7072  # from a pixel's center to its corner

STEP = (np.arange(GRID, dtype=np.float32) + np.float32(0.5)) / GRID - np.float32(0.5)
STEP_X, STEP_Y = np.tile(STEP, GRID), np.repeat(STEP, GRID)  # of the sample points, from the center

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y) - np.float32(1)


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(np.sqrt(0.5))


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    side = np.float32(np.sqrt(0.75)) * np.abs(x) - np.float32(0.5) * y
    return np.maximum(side, y) - np.float32(0.5)


def _star(x: np.ndarray, y: np.ndarray, inner: float = 0.5) -> np.ndarray:
    """Five tips at radius 1, five notches at radius `inner`: folded onto one edge by mirrors."""
    cos, sin = np.float32(np.cos(np.pi / 5)), np.float32(np.sin(np.pi / 5))
    x = np.abs(x)
    beyond = 2 * np.maximum(cos * x - sin * y, 0)
    x, y = x - beyond * cos, y + beyond * sin
    beyond = 2 * np.maximum(-cos * x - sin * y, 0)
    x, y = np.abs(x + beyond * cos), y + beyond * sin
    # the edge from the tip (0, 1) to the notch (inner sin, inner cos)
    along_x, along_y = inner * float(sin), inner * float(cos) - 1
    length = np.hypot(along_x, along_y)
    return np.float32(-along_y / length) * x + np.float32(along_x / length) * (y - np.float32(1))


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.sqrt(x * x + y * y) - np.float32(0.775)) - np.float32(0.225)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    long, short = np.float32(0.94), np.float32(0.34)
    return np.minimum(np.maximum(x - long, y - short), np.maximum(x - short, y - long))


def _hexagon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    half, root = np.float32(0.5), np.float32(np.sqrt(0.75))
    return np.maximum(root * x + half * y, y) - root


def _moon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    bite = np.sqrt((x - np.float32(0.6)) ** 2 + y * y) - np.float32(0.8)
    return np.maximum(_circle(x, y), -bite)


# every shape fits in the unit circle
FIELDS: dict[str, Field] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "hexagon": _hexagon,
    "moon": _moon,
}


@dataclass
class Patch:
    """Sample points an object owns, in the rectangle of pixels around it.

    Attributes:
        top, left: the pixel of the image the patch starts at.
        bits: (H, W) uint64, one bit per sample point.
    """

    top: int
    left: int
    bits: np.ndarray

    @property
    def coverage(self) -> np.ndarray:
        """(H, W) float32 in [0, 1]: how much of each pixel the object owns."""
        return np.bitwise_count(self.bits).astype(np.float32) / np.float32(GRID * GRID)

    @property
    def points(self) -> int:
        """Number of sample points owned: the area in pixels times 64."""
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    def window(self) -> tuple[slice, slice]:
        """Where the patch lies in the image, as slices of rows and columns."""
        height, width = self.bits.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def clip(self, height: int, width: int) -> Patch:
        """The part of the patch inside an image."""
        rows, columns = self.window()
        top, left = max(rows.start, 0), max(columns.start, 0)
        bits = self.bits[
            top - rows.start : max(height - rows.start, 0),
            left - columns.start : max(width - columns.start, 0),
        ]
        return Patch(top, left, bits)

    def without(self, above: Patch) -> Patch:
        """What stays visible of this object under another one."""
        (rows, columns), (rows_above, columns_above) = self.window(), above.window()
        top, bottom = max(rows.start, rows_above.start), min(rows.stop, rows_above.stop)
        left = max(columns.start, columns_above.start)
        right = min(columns.stop, columns_above.stop)
        if top >= bottom or left >= right:
            return self
        bits = self.bits.copy()
        hidden = above.bits[
            top - above.top : bottom - above.top, left - above.left : right - above.left
        ]
        here = bits[top - self.top : bottom - self.top, left - self.left : right - self.left]
        here &= ~hidden
        return Patch(self.top, self.left, bits)


def rasterize(shape: str, x: float, y: float, radius: float, angle: float) -> Patch:
    """Which sample points a shape covers.

    Args:
        shape: a name in FIELDS.
        x: center, in pixels; pixel i covers [i, i + 1).
        y: the same, downwards.
        radius: of the circle around the shape, in pixels.
        angle: in radians.

    Returns:
        A patch that may reach outside the image.
    """
    field = FIELDS[shape]
    left, top = int(np.floor(x - radius)) - 1, int(np.floor(y - radius)) - 1
    right, bottom = int(np.ceil(x + radius)) + 1, int(np.ceil(y + radius)) + 1
    cos, sin = np.float32(np.cos(angle) / radius), np.float32(np.sin(angle) / radius)
    dx = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x)
    dy = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - y))[:, None]
    u, v = cos * dx + sin * dy, cos * dy - sin * dx  # the shape's own axes
    value = field(u, v)
    bits = np.where(value < 0, ALL, np.uint64(0))
    cut = np.nonzero(np.abs(value) < np.float32(HALF_DIAGONAL / radius))
    inside = (
        field(
            u[cut][:, None] + (cos * STEP_X + sin * STEP_Y),
            v[cut][:, None] + (cos * STEP_Y - sin * STEP_X),
        )
        < 0
    )
    bits[cut] = np.packbits(inside, axis=1).view(np.uint64)[:, 0]
    return Patch(top, left, bits)


def rasterize_field(field: Field, x0: float, y0: float, x1: float, y1: float) -> Patch:
    """Which sample points a field covers, given in the image's pixels.

    Args:
        field: negative inside; changes by at most the distance moved.
        x0: left border of what holds everything inside.
        y0: upper border.
        x1: right border.
        y1: lower border.

    Returns:
        A patch that may reach outside the image.
    """
    left, top = int(np.floor(x0)) - 1, int(np.floor(y0)) - 1
    right, bottom = int(np.ceil(x1)) + 1, int(np.ceil(y1)) + 1
    x = np.arange(left, right, dtype=np.float32) + np.float32(0.5)
    y = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5))[:, None]
    value = field(x, y)
    bits = np.where(value < 0, ALL, np.uint64(0))
    rows, columns = np.nonzero(np.abs(value) < np.float32(HALF_DIAGONAL))
    inside = field(x[columns][:, None] + STEP_X, y[rows] + STEP_Y) < 0
    bits[rows, columns] = np.packbits(inside, axis=1).view(np.uint64)[:, 0]
    return Patch(top, left, bits)


TEXTURES = ("plain", "gradient", "stripes", "dots")


def texture(
    kind: str, height: int, width: int, rng: np.random.Generator, scale: float = 1.0
) -> np.ndarray:
    """How far each pixel is painted with the second of two colors.

    Args:
        kind: one of TEXTURES.
        height: H, in pixels.
        width: W.
        rng: draws the direction, the period (5 to 16 pixels times `scale`) and the phase.
        scale: larger images want larger patterns.

    Returns:
        (H, W) float32 in [0, 1]; (1, 1) for "plain".
    """
    angle, period, phase = rng.random(3) * (2 * np.pi, 11 * scale, 2 * np.pi) + (0, 5 * scale, 0)
    if kind == "plain":
        return np.zeros((1, 1), np.float32)
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = cos * x + sin * y, cos * y - sin * x
    if kind == "gradient":
        low, high = along.min(), along.max()
        return (along - low) / max(high - low, np.float32(1))
    wave = np.sin(along * np.float32(2 * np.pi / period) + np.float32(phase))
    if kind == "dots":
        wave *= np.sin(across * np.float32(2 * np.pi / period))
    return np.clip(np.float32(0.5) + np.float32(1.5) * wave, 0, 1)


def paint(
    kind: str,
    first: np.ndarray,
    second: np.ndarray,
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: float = 1.0,
) -> np.ndarray:
    """A rectangle painted with a texture of two colors.

    Args:
        kind: one of TEXTURES.
        first: (3,) float32, RGB in [0, 255].
        second: (3,) the other color.
        height: H, in pixels.
        width: W.
        rng: draws the texture.
        scale: of the texture.

    Returns:
        (H, W, 3) float32, or (1, 1, 3) for "plain".
    """
    weight = texture(kind, height, width, rng, scale)[:, :, None]
    return first + weight * (second - first)
