"""The pooled values of all operations as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimask.tools.textbook.explore import bins
from minimask.tools.textbook.explore.figure import Line
from minimask.tools.textbook.explore.operations import pool
from minimask.tools.textbook.explore.scene import Scene

WIDEST = 7  # bins a side up to which all values are printed


def table(scene: Scene, lines: Sequence[Line]) -> str:
    """For each line its pooled values, and how far they are off.

    The errors are against the mean of the map over the bin that is meant; on a ramp that is the
    bin's center, and the error a distance in pixels.
    """
    x0, y0, x1, y1 = scene.box
    height, width = scene.shape
    unit = ", pixels" if scene.map.startswith("ramp") else ""
    text = [
        f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}), {(x1 - x0) * scene.scale:.2f} x "
        f"{(y1 - y0) * scene.scale:.2f} cells of a map of {width} x {height}; stride "
        f"{scene.stride}, {scene.size} x {scene.size} bins, map: {scene.map}",
        "",
        "the bins that are meant",
        _grid(bins.ideal(scene)),
    ]
    for line in lines:
        own = scene if line.ratio is None else replace(scene, ratio=line.ratio)
        pooled = pool(own, line.operation)
        error = pooled.values - bins.ideal(own)
        text += [
            "",
            line.title.replace(",\n", ", ").replace("\n", ", "),
            _grid(pooled.values),
            f"  error{unit}: mean {_signed(error.mean())}, std {error.std():.3f}, largest "
            f"{np.abs(error).max():.3f}; gradient to {np.count_nonzero(pooled.gradient)} cells",
        ]
    return "\n".join(text)


def _grid(values: np.ndarray) -> str:
    if len(values) > WIDEST:
        return f"  {len(values)} x {len(values)} values of {values.min():.3f} to {values.max():.3f}"
    digits = 3 if np.abs(values).max() < 10 else 2
    return "\n".join("  " + " ".join(f"{value:8.{digits}f}" for value in row) for row in values)


def _signed(value: float) -> str:
    return f"{round(float(value), 3) + 0.0:+.3f}"
