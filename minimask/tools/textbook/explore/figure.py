"""The static figure: a row for each operation, from where it reads to what comes back.

What is in the pictures is in `pictures`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from minimask.system.files import write_whole
from minimask.tools.textbook.explore import pictures
from minimask.tools.textbook.explore.operations import (
    OPERATIONS,
    ROI_ALIGN,
    ROI_ALIGN_SHIFTED,
    ROI_POOL,
    ROI_WARP,
    Operation,
)
from minimask.tools.textbook.explore.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
COLUMNS: dict[str, Callable[[Axes, Scene, Operation], None]] = {
    "bins, and box meant (dashed)": pictures.show_bins,
    "weights of the middle bin": pictures.show_weights,
    "pooled values": pictures.show_values,
    "error on a ramp, pixels": pictures.show_ramp_error,
    "gradient on the map": pictures.show_gradient,
}


@dataclass(frozen=True)
class Line:
    """A row of the figure: an operation, and how many samples it takes."""

    operation: Operation
    ratio: int | None  # None: it takes none

    @property
    def title(self) -> str:
        """Its name, on two lines."""
        name = self.operation.name.replace(", ", ",\n")
        if self.ratio is None:
            return f"{name}\nlargest cell"
        if self.ratio == 0:
            return f"{name}\na sample a cell"
        if self.ratio == 1:
            return f"{name}\n1 sample a bin"
        return f"{name}\n{self.ratio} x {self.ratio} samples"


def all_lines(ratio: int | None = None) -> list[Line]:
    """The rows of the whole figure.

    Args:
        ratio: samples a side of a bin; None: RoIAlign with 1, 2 and as many as there are cells.
    """
    if ratio is not None:
        return [Line(o, None if o.kind == "pool" else ratio) for o in OPERATIONS]
    first = [Line(ROI_POOL, None), Line(ROI_WARP, 2), Line(ROI_ALIGN_SHIFTED, 2)]
    return first + [Line(ROI_ALIGN, samples) for samples in (1, 2, 0)]


def draw(scene: Scene, lines: Sequence[Line]) -> Figure:
    """Draw the figure: five pictures for each line.

    Args:
        scene: the box and the map.
        lines: the rows, from `all_lines` or some of them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14.5, 0.6 + 2.5 * len(lines)), dpi=100, layout="constrained")
    rows = figure.subplots(len(lines), len(COLUMNS), squeeze=False)
    heights = scene.shape[0] * scene.stride, scene.shape[1] * scene.stride
    for line, axes in zip(lines, rows, strict=True):
        own = scene if line.ratio is None else replace(scene, ratio=line.ratio)
        for (title, paint), ax in zip(COLUMNS.items(), axes, strict=True):
            paint(ax, own, line.operation)
            if line is lines[0]:
                ax.set_title(title, fontsize=11)
        axes[0].set_ylabel(
            line.title, rotation=0, ha="right", va="center", labelpad=10, color=line.operation.color
        )
    x0, y0, x1, y1 = scene.box
    figure.suptitle(
        f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) of an image of {heights[1]} x {heights[0]} pixels, "
        f"stride {scene.stride}, {scene.size} x {scene.size} bins, map: {scene.map}",
        fontsize=12,
    )
    return figure


def write(path: str | os.PathLike[str], figure: Figure) -> None:
    """Write a figure as PNG, SVG or PDF, by the name's suffix.

    Raises:
        ValueError: another suffix.
        OSError: the file cannot be written.
    """
    kind = FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    content = io.BytesIO()
    # no date: the same picture gives the same file
    date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    figure.savefig(content, format=kind, metadata=date)
    write_whole(path, content.getvalue())
