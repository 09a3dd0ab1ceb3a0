"""What the pictures share: figures in one style, images in panels, boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

INK, QUIET, LINE = "#1c2330", "#5a6475", "#d8dde5"
BLUE, GREEN, ORANGE, RED, PURPLE = "#1f5fbf", "#18794e", "#d07a00", "#b3261e", "#7a3fb0"
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE)


def panels(
    columns: int, rows: int = 1, *, width: float = 2.5, height: float = 2.6
) -> tuple[Figure, list[Axes]]:
    """A figure of panels, row by row; sizes of each in inches."""
    figure = Figure(figsize=(width * columns, height * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for each in axes.flat:
        each.tick_params(labelsize=8, colors=QUIET)
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(QUIET)
        each.xaxis.label.set(size=8.5, color=INK)
        each.yaxis.label.set(size=8.5, color=INK)
    return figure, list(axes.flat)


def title(axes: Axes, text: str) -> None:
    """A line or two above a panel."""
    axes.set_title(text, fontsize=9, color=INK)


def show(axes: Axes, image: np.ndarray, text: str = "", **options: Any) -> None:
    """An image in a panel, pixel i covering [i, i + 1), without axes."""
    height, width = image.shape[:2]
    options = {"cmap": "gray", "interpolation": "nearest", **options}
    axes.imshow(image, extent=(0, width, height, 0), **options)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    title(axes, text)


def colored(masks: Sequence[np.ndarray], background: int = 245) -> np.ndarray:
    """Masks (H, W) as an image (H, W, 3) uint8, each in its own color."""
    image = np.full((*masks[0].shape, 3), background, np.uint8)
    for i, mask in enumerate(masks):
        color = SERIES[i % len(SERIES)]
        image[mask] = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
    return image


def frame(axes: Axes, box: Sequence[float] | np.ndarray, color: str, **options: Any) -> None:
    """The outline of a box x0 y0 x1 y1."""
    x0, y0, x1, y1 = (float(v) for v in box)
    options = {"linewidth": 1.6, **options}
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, **options))


def grid(axes: Axes, rows: int, columns: int) -> None:
    """An empty grid of cells, the first at the upper left."""
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_aspect("equal")
    axes.set_xticks(range(columns + 1), [])
    axes.set_yticks(range(rows + 1), [])
    axes.tick_params(length=0)
    axes.grid(color=LINE, linewidth=0.7)
    axes.spines[:].set_visible(False)


def legend(axes: Axes, **options: Any) -> None:
    """Names of the lines, small and without a frame."""
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, **options)


def bars(
    axes: Axes,
    names: Sequence[str],
    values: Sequence[float],
    form: str = "{:g}",
    colors: Sequence[str] = SERIES,
) -> None:
    """Horizontal bars with their values, the first on top; colors are used in turn."""
    places = np.arange(len(names))[::-1]
    drawn = axes.barh(
        places, values, color=[colors[i % len(colors)] for i in range(len(names))], height=0.6
    )
    axes.bar_label(drawn, [form.format(v) for v in values], fontsize=8, padding=3, color=INK)
    axes.set_yticks(places, names, fontsize=8.5, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.18)
