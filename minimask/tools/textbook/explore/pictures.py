"""The pictures of the figure and of the animation, each drawn into axes of Matplotlib.

Letters: H W height and width of the feature map, P pooled size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.tools.textbook.explore import bins
from minimask.tools.textbook.explore.operations import Operation, pool
from minimask.tools.textbook.explore.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

MARGIN = 1.8  # cells shown around the box
LEAST = 5.0  # cells shown along an axis, however small the box
MOST_NUMBERS = 8  # bins a side up to which their values are written
MOST_DOTS = 4000
MEANT = "black"  # color of the box that is meant

Side = tuple[float, float]


def view_of(scene: Scene) -> tuple[Side, Side]:
    """The part of the map to show, in cells: rows, columns.  It always has some of the map."""
    x0, y0, x1, y1 = (value * scene.scale for value in scene.box)
    height, width = scene.shape
    return _side(y0, y1, height), _side(x0, x1, width)


def _side(a: float, b: float, length: int) -> Side:
    low, high = min(a, b) - MARGIN, max(a, b) + MARGIN
    grow = max(LEAST - (high - low), 0) / 2
    low, high = max(low - grow, -1.0), min(high + grow, length + 1.0)
    if high - low < LEAST:  # at the border, or outside
        low = min(max(low, -1.0), length + 1 - LEAST)
        high = low + LEAST
    return low, high


def show_bins(ax: Axes, scene: Scene, operation: Operation) -> None:
    """The box that is meant, and the bins and samples as they are read, over the map."""
    values = scene.features()[0, 0]
    # the lighter part of the grays, so that the bins stand out
    low, high = float(values.min()), float(values.max())
    show_map(ax, values, "gray", view_of(scene), low - 0.8 * (high - low), high)
    rows, columns = bins.of_scene(scene, operation)
    for y0, y1 in rows.edges:
        for x0, x1 in columns.edges:
            rectangle(ax, (x0, y0, x1, y1), operation.color, facecolor=operation.color, alpha=0.18)
            rectangle(ax, (x0, y0, x1, y1), operation.color, linewidth=1.6, fill=False)
    rectangle(ax, in_cells(scene), MEANT, linewidth=1.8, linestyle=(0, (3, 2)), fill=False)
    _show_samples(ax, rows.samples.ravel(), columns.samples.ravel(), operation, 9)


def show_weights(ax: Axes, scene: Scene, operation: Operation) -> None:
    """The middle bin alone: how much each cell counts for it, and where its samples lie.

    The weights are what comes back when that bin receives 1: of RoIPool, all to the largest cell.
    """
    from matplotlib.patheffects import withStroke

    rows, columns = bins.of_scene(scene, operation)
    p = (scene.size - 1) // 2
    only = np.zeros((scene.size, scene.size))
    only[p, p] = 1
    weights = pool(scene, operation, grad=only).gradient
    (y0, y1), (x0, x1) = rows.edges[p], columns.edges[p]
    view = _near((y0, y1), scene.shape[0]), _near((x0, x1), scene.shape[1])
    show_map(ax, weights, "Blues", view, high=max(2 * weights.max(), 1e-9))
    for row, column in np.argwhere(weights >= 0.005):
        if _holds(view[0], row + 0.5) and _holds(view[1], column + 0.5):
            text = f"{weights[row, column]:.2f}"
            ax.text(
                column + 0.5,
                row + 0.5,
                text,
                ha="center",
                va="center",
                fontsize=8,
                zorder=4,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
    rectangle(ax, (x0, y0, x1, y1), operation.color, linewidth=1.8, fill=False)
    exact_x = bins.exact_edges(scene.box[0], scene.box[2], scene.scale, scene.size)[p]
    exact_y = bins.exact_edges(scene.box[1], scene.box[3], scene.scale, scene.size)[p]
    meant = (exact_x[0], exact_y[0], exact_x[1], exact_y[1])
    rectangle(ax, meant, MEANT, linewidth=1.8, linestyle=(0, (3, 2)), fill=False)
    _show_samples(ax, rows.samples[p], columns.samples[p], operation, 22)


def show_values(ax: Axes, scene: Scene, operation: Operation) -> None:
    """The pooled values, in the colors of the map."""
    values = scene.features()
    low, high = float(values.min()), float(values.max())
    _show_numbers(ax, pool(scene, operation).values, "viridis", low, high)


def show_ramp_error(ax: Axes, scene: Scene, operation: Operation) -> None:
    """On the map that is x itself the right value is the bin's center; what is off, in pixels."""
    error = pool(scene, operation, "ramp").values - bins.ideal(scene, "ramp")
    _show_numbers(ax, error, "RdBu_r", -2.5 * scene.stride, 2.5 * scene.stride)
    ax.set_xlabel(f"mean {_signed(error.mean())}, std {error.std():.2f}", fontsize=8.5)


def show_gradient(ax: Axes, scene: Scene, operation: Operation) -> None:
    """What comes back to each cell when every bin receives 1."""
    gradient = pool(scene, operation).gradient
    show_map(ax, gradient, "magma_r", view_of(scene), high=1.3 * float(gradient.max()) + 1e-9)
    rectangle(ax, in_cells(scene), MEANT, linewidth=1.8, linestyle=(0, (3, 2)), fill=False)
    ax.set_xlabel(f"{np.count_nonzero(gradient)} cells, sum {gradient.sum():.2f}", fontsize=8.5)


def show_map(
    ax: Axes,
    values: np.ndarray,
    colors: str,
    view: tuple[Side, Side],
    low: float = 0.0,
    high: float = 1.0,
) -> None:
    """Values of cells (H, W) with the grid's lines; cell i covers i to i + 1.

    Args:
        ax: where.
        values: one for each cell.
        colors: a color map of Matplotlib.
        view: rows and columns to show.
        low: the value of the first color.
        high: that of the last.
    """
    height, width = values.shape
    extent = (0, width, height, 0)
    ax.imshow(values, cmap=colors, extent=extent, vmin=low, vmax=high, interpolation="nearest")
    (top, bottom), (left, right) = view
    lines_x = [x for x in range(width + 1) if left <= x <= right]
    lines_y = [y for y in range(height + 1) if top <= y <= bottom]
    thin: dict[str, Any] = {"color": "0.45", "linewidth": 0.4}
    ax.vlines(lines_x, max(top, 0), min(bottom, height), **thin)
    ax.hlines(lines_y, max(left, 0), min(right, width), **thin)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    _bare(ax)


def _show_numbers(ax: Axes, values: np.ndarray, colors: str, low: float, high: float) -> None:
    image = ax.imshow(values, cmap=colors, vmin=low, vmax=high)
    if len(values) <= MOST_NUMBERS:
        size = 9 if len(values) <= 5 else 6.5
        for (row, column), value in np.ndenumerate(values):
            red, green, blue, _ = image.cmap(image.norm(value))
            ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
            text = _signed(value) if low < 0 else _number(value)
            ax.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
    _bare(ax)


def _show_samples(
    ax: Axes, rows: np.ndarray, columns: np.ndarray, operation: Operation, size: float
) -> None:
    """A dot at each sample, smaller where there are many; none where they would hide the map."""
    if not 0 < rows.size * columns.size <= MOST_DOTS:
        return
    x, y = np.meshgrid(columns, rows)
    area = size if x.size <= 400 else 2
    ax.scatter(x, y, s=area, color=operation.color, edgecolors="white", linewidths=0.5, zorder=3)


def _near(edges: Side, length: int) -> Side:
    middle = min(max((edges[0] + edges[1]) / 2, 0.0), float(length))
    half = min(max(abs(edges[1] - edges[0]) / 2 + 1, 2.0), 4.5)
    return middle - half, middle + half


def _holds(side: Side, position: float) -> bool:
    """Whether a number of half a cell's width at that place is within the picture."""
    return side[0] + 0.35 < position < side[1] - 0.35


def in_cells(scene: Scene) -> tuple[float, float, float, float]:
    """The box that is meant."""
    x0, y0, x1, y1 = (value * scene.scale for value in scene.box)
    return x0, y0, x1, y1


def rectangle(
    ax: Axes, corners: tuple[float, float, float, float], color: str, **look: Any
) -> Rectangle:
    """Draw a rectangle x0 y0 x1 y1, corners in any order, in cells."""
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = corners
    patch = Rectangle((x0, y0), x1 - x0, y1 - y0, **{"edgecolor": color, **look})
    ax.add_patch(patch)
    return patch


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:.0f}"


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}" if abs(value) >= 0.05 else "0.0"
