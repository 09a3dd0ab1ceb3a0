"""What is explored: one box on a small image, and the feature map over it.

The image always has the same size, so that a larger stride means a coarser map under the same box.
`page.js` has the same maps, which a test compares.

Letters: H W height and width of the feature map, P pooled size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

HEIGHT, WIDTH = 192, 256  # of the image, in pixels: whole cells at every stride
STRIDES = (4, 8, 16, 32)
MOST_BINS = 14
MOST_SAMPLES = 8  # a side of a bin
FARTHEST = 1e4  # pixels; the samples of a box grow with its area


@dataclass(frozen=True)
class Scene:
    """A box, a feature map, and how the box is pooled.

    Attributes:
        box: x0 y0 x1 y1 in pixels of the image, which has 256 x 192; may leave it.
        stride: of the feature map: pixels a cell, 4, 8, 16 or 32.
        size: P, bins a side.
        ratio: samples a side of a bin; 0: one for every cell begun.
        map: the feature map's name, one of `MAPS`.

    Raises:
        ValueError: one of these is out of range.
    """

    box: tuple[float, float, float, float] = (60.4, 41.7, 171.3, 139.9)
    stride: int = 16
    size: int = 4
    ratio: int = 2
    map: str = "noise"

    def __post_init__(self) -> None:
        rules = [
            ("box", len(self.box) == 4, "four numbers x0 y0 x1 y1"),
            (
                "box",
                all(math.isfinite(x) and abs(x) <= FARTHEST for x in self.box),
                f"numbers within {FARTHEST:g} pixels",
            ),
            ("stride", self.stride in STRIDES, f"one of {', '.join(map(str, STRIDES))}"),
            ("size", 1 <= self.size <= MOST_BINS, f"1 to {MOST_BINS} bins"),
            ("ratio", 0 <= self.ratio <= MOST_SAMPLES, f"0 to {MOST_SAMPLES} samples"),
            ("map", self.map in MAPS, f"one of {', '.join(MAPS)}"),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise ValueError(f"{name}: expected {expected}, got {getattr(self, name)!r}")

    @property
    def scale(self) -> float:
        """Cells a pixel."""
        return 1 / self.stride

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the feature map."""
        return HEIGHT // self.stride, WIDTH // self.stride

    def features(self, name: str | None = None) -> np.ndarray:
        """The map of this name, or the scene's own: (1, 1, H, W) float64."""
        height, width = self.shape
        center_y = (np.arange(height) + 0.5)[:, None] * self.stride
        center_x = (np.arange(width) + 0.5)[None, :] * self.stride
        values = MAPS[name or self.map](center_y, center_x)
        return np.broadcast_to(values, self.shape).astype(np.float64)[None, None]

    def rois(self) -> np.ndarray:
        """The box as the kernels take it: (1, 5) float64."""
        return np.array([[0.0, *self.box]])

    def moved(self, x: float = 0.0, y: float = 0.0) -> Scene:
        """The same with the box moved by so many pixels."""
        x0, y0, x1, y1 = self.box
        return replace(self, box=(x0 + x, y0 + y, x1 + x, y1 + y))


def _checkerboard(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (np.arange(y.size)[:, None] + np.arange(x.size)[None, :]) % 2


def _noise(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A linear congruential generator (Numerical Recipes' constants), as easy in JavaScript."""
    state = 1
    values = []
    for _ in range(y.size * x.size):
        state = (1664525 * state + 1013904223) % 2**32
        values.append(state / 2**32)
    return np.array(values).reshape(y.size, x.size)


def _blob(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A round hill, 40 pixels wide, in the middle of the image."""
    return np.exp(-((x - WIDTH / 2) ** 2 + (y - HEIGHT / 2) ** 2) / (2 * 40**2))


# name -> values at cell centers, given as (H, 1) and (1, W) in pixels; ramps are in pixels too
MAPS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ramp": lambda y, x: x,
    "ramp-y": lambda y, x: y,
    "checkerboard": _checkerboard,
    "noise": _noise,
    "blob": _blob,
}
