"""Colors that people with any kind of color vision can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Okabe and Ito (2008), without black, the brightest first: pictures are often dark
PALETTE: tuple[tuple[int, int, int], ...] = (
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 190, 140),  # bluish green, lightened to show on dark ground
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (213, 94, 0),  # vermilion
    (40, 130, 220),  # blue, lightened likewise
)

Color = tuple[int, int, int]


def of_classes(labels: np.ndarray, colors: Sequence[Color] | None = None) -> list[Color]:
    """The color of each label; classes beyond the palette's end start it anew.

    Args:
        labels: (R,) class indices.
        colors: the palette; default `PALETTE`.
    """
    palette = colors or PALETTE
    return [palette[int(label) % len(palette)] for label in labels]


def of_neighbors(boxes: np.ndarray, colors: Sequence[Color] | None = None) -> list[Color]:
    """A color for each box such that boxes that touch differ, as far as the palette goes.

    Args:
        boxes: (R, 4) x0 y0 x1 y1.
        colors: the palette; default `PALETTE`.
    """
    palette = colors or PALETTE
    margin = 3  # pixels: boxes this close count as touching
    chosen: list[int] = []
    for i, box in enumerate(boxes):
        others = boxes[:i]
        near = (
            (others[:, 0] < box[2] + margin)
            & (others[:, 2] > box[0] - margin)
            & (others[:, 1] < box[3] + margin)
            & (others[:, 3] > box[1] - margin)
        )
        used = np.bincount(np.array(chosen, int)[near], minlength=len(palette))
        # of the colors used least nearby the next in turn, so that all of them appear
        turn = [(int(used[(i + k) % len(palette)]), k) for k in range(len(palette))]
        chosen.append((i + min(turn)[1]) % len(palette))
    return [palette[c] for c in chosen]


def text_on(color: Color) -> str:
    """Black or white, whichever is easier to read on a color."""
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]  # sRGB, close enough near black
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.179 else "white"  # where both have the same contrast ratio


def fraction(color: Color) -> tuple[float, float, float]:
    """0 to 255 as 0 to 1."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255
