"""A picture to draw on with matplotlib's shapes, pixel for pixel."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

DPI = 64  # a power of two: inches times DPI gives back the exact number of pixels


def open_canvas(picture: np.ndarray, image_size: tuple[int, int]) -> tuple[Any, Any]:
    """An Agg canvas that shows the picture pixel by pixel, and axes in the image's pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = picture.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    figure.figimage(picture, origin="upper", zorder=-1)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, image_size[1])
    axes.set_ylim(image_size[0], 0)
    return canvas, axes


def points(pixels: float) -> float:
    """A length in pixels as matplotlib's unit for lines and text."""
    return pixels * 72 / DPI


def pixels_of(canvas: Any) -> np.ndarray:
    """What was drawn, (H, W, 3) uint8."""
    with quiet():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def quiet() -> warnings.catch_warnings:
    """Matplotlib's own words on missing glyphs are not needed: `fonts.drawable` saw to them."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
