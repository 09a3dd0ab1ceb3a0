"""Where labels go, so that they can be read."""

# R texts

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask.draw.canvas import points, quiet
from minimask.draw.colors import Color, fraction, text_on
from minimask.draw.fonts import drawable, families

FONT = 12  # pixels


def write_labels(
    canvas: Any,
    axes: Any,
    texts: Sequence[str],
    boxes: np.ndarray,
    colors: Sequence[Color],
    unit: float,
    force: bool,
) -> None:
    """Write each text at its box, where it hides no other.

    Args:
        canvas: from `open_canvas`, like `axes`.
        axes: in the image's pixels.
        texts: R texts, the ones that come first in case of doubt at the front; empty: none.
        boxes: (R, 4).
        colors: behind each text.
        unit: pixels of a thin line; text grows with it.
        force: write a text that has no free place over others, instead of leaving it out.
    """
    renderer = canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    pad = 2 * unit
    taken: list[Any] = []
    for label, box, color in zip(texts, boxes, colors, strict=True):
        if not label:
            continue
        label = drawable(label)
        text = axes.text(0, 0, label, va="bottom", parse_math=False, family=families(label))
        text.set(fontsize=points(FONT * unit), color=text_on(color))
        with quiet():
            extent = text.get_window_extent(renderer)
        size = (extent.width + 2 * pad, extent.height + 2 * pad)
        place = _free_place(_corners(axes, box, size), size, frame, taken, force)
        if place is None:
            text.remove()
            continue
        taken.append(place)
        text.set_bbox({"facecolor": fraction(color), "edgecolor": "none", "pad": points(pad)})
        text.set_position(axes.transData.inverted().transform((place.x0 + pad, place.y0 + pad)))


def _corners(axes: Any, box: np.ndarray, size: tuple[float, float]) -> list[tuple[float, float]]:
    """Lower left corners that a label may have, best first, in pixels from the lower left."""
    x0, top = axes.transData.transform(box[:2])
    x1, bottom = axes.transData.transform(box[2:])
    width, height = size
    return [
        (x0, top),  # above the box
        (x1 - width, top),
        (x0, bottom - height),  # below it
        (x1 - width, bottom - height),
        (x0, top - height),  # inside it, above
        (x0, bottom),  # inside it, below
    ]


def _free_place(
    corners: list[tuple[float, float]],
    size: tuple[float, float],
    frame: Any,
    taken: list[Any],
    force: bool,
) -> Any:
    """The first rectangle inside the frame that covers none of those taken; None: there is none."""
    from matplotlib.transforms import Bbox

    width, height = size
    first = None
    for x, y in corners:
        x = min(max(x, frame.x0), frame.x1 - width)
        inside = min(max(y, frame.y0), frame.y1 - height)
        place = Bbox.from_bounds(x, inside, width, height)
        if inside == y and place.count_overlaps(taken) == 0:
            return place
        first = first or place
    return first if force else None
