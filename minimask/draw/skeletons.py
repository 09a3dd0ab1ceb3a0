"""Keypoints and the limbs between them, drawn over an object."""

# P keypoints of an object

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np

from minimask.data.keypoints import HIDDEN
from minimask.data.skeleton import Skeleton
from minimask.draw.canvas import points
from minimask.draw.colors import PALETTE, Color, fraction

SCORE = 0.05  # keypoints of a lower score are guesses; detectron2's pictures begin there too
LEFT, MIDDLE, RIGHT = PALETTE[0], PALETTE[3], PALETTE[5]
RGB = tuple[float, float, float]


def draw_skeleton(
    axes: Any,
    keypoints: np.ndarray,
    skeleton: Skeleton | None,
    *,
    least: float,
    visibility: bool,
    size: float,
    unit: float,
) -> None:
    """Draw the keypoints of one object.

    The left side is blue and the right one red, so that a person seen from behind is told from
    one in front; where there are no sides every limb has its own hue.  A hidden keypoint is a
    ring, and limbs that end there are dotted.

    Args:
        axes: in pixels of the image.
        keypoints: (P, 3) x, y and visibility or score.
        skeleton: says what is joined; None: points only.
        least: keypoints whose third number is not above it are left out, with their limbs.
        visibility: whether the third number is a visibility.
        size: of the object in pixels of the picture: small ones get thin lines.
        unit: length of a pixel of a large picture.
    """
    is_drawn = keypoints[:, 2] > least
    hidden = (keypoints[:, 2] == HIDDEN) & visibility
    wide = float(np.clip(size / 90, 0.8, 3.0)) * unit
    for (a, b), color in zip(*_limbs(skeleton), strict=True):
        if is_drawn[a] and is_drawn[b]:
            _limb(axes, keypoints[[a, b], :2], color, wide, bool(hidden[a] or hidden[b]))
    colors = point_colors(skeleton, len(keypoints))
    for k in np.flatnonzero(is_drawn):
        _point(axes, keypoints[k, :2], colors[k], wide, bool(hidden[k]))


def point_colors(skeleton: Skeleton | None, count: int) -> list[RGB]:
    """The color of each keypoint, RGB 0 to 1."""
    if skeleton is not None and any(skeleton.sides):
        by_side = {"left": LEFT, "": MIDDLE, "right": RIGHT}
        return [fraction(by_side[side]) for side in skeleton.sides]
    return [_hue(k, count) for k in range(count)]


def _limbs(skeleton: Skeleton | None) -> tuple[tuple[tuple[int, int], ...], list[RGB]]:
    """The pairs of keypoints that are joined, and a color for each."""
    if skeleton is None:
        return (), []
    if not any(skeleton.sides):
        return skeleton.limbs, [_hue(i, len(skeleton.limbs)) for i in range(len(skeleton.limbs))]
    return skeleton.limbs, [fraction(_limb_color(skeleton, *limb)) for limb in skeleton.limbs]


def _limb_color(skeleton: Skeleton, a: int, b: int) -> Color:
    """Of its side; a limb from the middle is of the side it goes to, one across of neither."""
    sides = {skeleton.sides[a], skeleton.sides[b]} - {""}
    if len(sides) != 1:
        return MIDDLE
    return LEFT if sides == {"left"} else RIGHT


def _hue(i: int, count: int) -> RGB:
    return colorsys.hsv_to_rgb(0.85 * i / max(count, 1), 0.75, 1.0)


def _limb(axes: Any, ends: np.ndarray, color: RGB, wide: float, hidden: bool) -> None:
    from matplotlib.lines import Line2D

    # a dark line under the bright one, as under outlines
    for width, shade in ((1.9 * wide, (0, 0, 0, 0.5)), (wide, color)):
        axes.add_artist(
            Line2D(
                ends[:, 0],
                ends[:, 1],
                color=shade,
                linewidth=points(width),
                linestyle=(0, (1.0, 1.2)) if hidden and shade == color else "-",
                solid_capstyle="round",
            )
        )


def _point(axes: Any, place: np.ndarray, color: RGB, wide: float, hidden: bool) -> None:
    from matplotlib.lines import Line2D

    axes.add_artist(
        Line2D(
            [place[0]],
            [place[1]],
            linestyle="none",
            marker="o",
            markersize=points(2.6 * wide),
            markerfacecolor=(0, 0, 0, 0.6) if hidden else color,
            markeredgecolor=color if hidden else (0, 0, 0, 0.8),
            markeredgewidth=points(wide * (0.8 if hidden else 0.4)),
        )
    )
