"""The animation: the box moves to the right, and each operation's bins and values follow or jump.

Letters: P pooled size.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.system.files import write_whole
from minimask.tools.textbook.explore import bins, pictures
from minimask.tools.textbook.explore.operations import OPERATIONS, Operation, pool
from minimask.tools.textbook.explore.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELLS = 2.0  # the box moves so far
FRAMES = 64  # about; steps are whole tenths of a pixel
MILLISECONDS = 110  # a frame is shown
LAST = 1200  # milliseconds, before it begins again
MOST_DOTS = 400  # more would hide the map
COLORS = 96  # of the palette


@dataclass(frozen=True)
class Trace:
    """The middle bin while the box moves.

    Attributes:
        scenes: one for each frame.
        values: (operations, frames), what each makes of it.
        ideal: (frames,), the mean of the map over the bin that is meant.
    """

    scenes: list[Scene]
    values: np.ndarray
    ideal: np.ndarray

    @property
    def pixels(self) -> np.ndarray:
        """(frames,), how far the box has moved."""
        start = self.scenes[0].box[0]
        return np.array([scene.box[0] - start for scene in self.scenes])


def trace(scene: Scene, frames: int = FRAMES) -> Trace:
    """Move the box to the right by two cells, in equal steps of whole tenths of a pixel.

    Args:
        scene: where it begins.
        frames: as many as fit, at most; at least 2.
    """
    tenths = round(CELLS * scene.stride * 10)
    step = -(-tenths // max(frames - 1, 1))
    scenes = [scene.moved(x=tenth / 10) for tenth in range(0, tenths + 1, step)]
    p = (scene.size - 1) // 2
    values = [[pool(s, operation).values[p, p] for s in scenes] for operation in OPERATIONS]
    return Trace(scenes, np.array(values), np.array([bins.ideal(s)[p, p] for s in scenes]))


def write(path: str | os.PathLike[str], scene: Scene, frames: int = FRAMES) -> None:
    """Write the animation as a GIF that repeats.

    Args:
        path: of the file; replaced when it exists.
        scene: where the box begins.
        frames: at most.

    Raises:
        OSError: the file cannot be written.
    """
    from PIL import Image

    frames_drawn = [Image.fromarray(frame) for frame in draw(trace(scene, frames))]
    # one palette for all, of the first and the last: colors do not flicker
    sheet = np.concatenate([np.asarray(frames_drawn[0]), np.asarray(frames_drawn[-1])])
    palette = Image.fromarray(sheet).quantize(COLORS, dither=Image.Dither.NONE)
    small = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in frames_drawn]
    content = io.BytesIO()
    times = [MILLISECONDS] * (len(small) - 1) + [LAST]
    small[0].save(content, "gif", save_all=True, append_images=small[1:], duration=times, loop=0)
    write_whole(path, content.getvalue())


def draw(moving: Trace) -> list[np.ndarray]:
    """One (height, width, 3) uint8 for each frame."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9.6, 5.0), dpi=90, layout="constrained")
    canvas = FigureCanvasAgg(drawing)
    grid = drawing.add_gridspec(2, len(OPERATIONS), height_ratios=(1.0, 1.0))
    maps = [drawing.add_subplot(grid[0, i]) for i in range(len(OPERATIONS))]
    curves = drawing.add_subplot(grid[1, :])
    dots = _draw_curves(curves, moving)
    first = moving.scenes[0]
    view = _view(moving)
    for ax, operation in zip(maps, OPERATIONS, strict=True):
        values = first.features()[0, 0]
        low, high = float(values.min()), float(values.max())
        pictures.show_map(ax, values, "gray", view, low - 0.8 * (high - low), high)
        ax.set_title(operation.name, fontsize=10, color=operation.color)
    canvas.draw()
    drawing.set_layout_engine("none")  # laid out once: nothing shakes
    drawn = []
    for i, scene in enumerate(moving.scenes):
        made: list[Any] = []
        for ax, operation in zip(maps, OPERATIONS, strict=True):
            made += _draw_bins(ax, scene, operation)
        dots.set_offsets(
            np.column_stack(
                [
                    moving.pixels[i].repeat(len(OPERATIONS) + 1),
                    [*moving.values[:, i], moving.ideal[i]],
                ]
            )
        )
        canvas.draw()
        drawn.append(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())
        for artist in made:
            artist.remove()
    return drawn


def _view(moving: Trace) -> tuple[pictures.Side, pictures.Side]:
    """The rows and columns that all frames show."""
    views = [pictures.view_of(scene) for scene in (moving.scenes[0], moving.scenes[-1])]
    (top, bottom), _ = views[0]
    return (top, bottom), (views[0][1][0], views[1][1][1])


def _draw_curves(ax: Axes, moving: Trace) -> Any:
    """The values of the middle bin over the whole way; returns the dots that move along."""
    for operation, values in zip(OPERATIONS, moving.values, strict=True):
        ax.plot(
            moving.pixels,
            values,
            color=operation.color,
            lw=1.8,
            drawstyle="steps-post" if operation.kind != "align" else "default",
            label=operation.name,
        )
    ax.plot(moving.pixels, moving.ideal, ":", color="black", lw=1.6, label="the bin that is meant")
    colors = [*(operation.color for operation in OPERATIONS), "black"]
    dots = ax.scatter([0] * len(colors), [moving.ideal[0]] * len(colors), s=40, color=colors)
    dots.set_zorder(3)
    ax.set_xlabel(f"box moved to the right, pixels (a cell is {moving.scenes[0].stride})")
    ax.set_ylabel("value of the middle bin")
    ax.grid(alpha=0.25, linewidth=0.6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5)
    return dots


def _draw_bins(ax: Axes, scene: Scene, operation: Operation) -> list[Any]:
    """The bins as they are read, the middle one filled, the samples and the box that is meant."""
    rows, columns = bins.of_scene(scene, operation)
    p = (scene.size - 1) // 2
    made: list[Any] = []
    for i, (y0, y1) in enumerate(rows.edges):
        for j, (x0, x1) in enumerate(columns.edges):
            fill = {"facecolor": operation.color, "alpha": 0.35} if i == j == p else {"fill": False}
            made.append(pictures.rectangle(ax, (x0, y0, x1, y1), operation.color, **fill))
            if i == j == p:
                made.append(pictures.rectangle(ax, (x0, y0, x1, y1), operation.color, fill=False))
    made.append(
        pictures.rectangle(
            ax, pictures.in_cells(scene), pictures.MEANT, lw=1.6, linestyle=(0, (3, 2)), fill=False
        )
    )
    if 0 < columns.samples.size * rows.samples.size <= MOST_DOTS:
        x, y = np.meshgrid(columns.samples.ravel(), rows.samples.ravel())
        made.append(ax.scatter(x, y, s=6, color=operation.color))
    return made
