"""Label maps and numbered regions drawn over their image: a color for each, with dark borders."""

# H, W height and width of the image   K classes

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minimask.draw import colors as palettes
from minimask.draw.canvas import open_canvas, pixels_of
from minimask.draw.fonts import announce
from minimask.draw.labels import write_labels
from minimask.draw.overlay import SMALL, as_rgb, enlarged

if TYPE_CHECKING:
    from minimask.models.label_map import LabelMap


def regions(
    image: np.ndarray,
    numbers: np.ndarray,
    *,
    alpha: float = 0.5,
    by: Sequence[int] | None = None,
    size: int = SMALL,
) -> np.ndarray:
    """Tint numbered regions, each in a color of its own.

    Args:
        image: (H, W, 3) uint8 RGB; grey (H, W) and RGBA are taken too.
        numbers: (H, W) whole numbers, 0: no region.
        alpha: how strongly they are tinted, 0 (borders only) to 1 (opaque).
        by: which of the palette's colors each number has, beginning with number 1; default: in
            turn.
        size: an image whose longer side is smaller is enlarged, by a whole factor, to at least it.

    Returns:
        (H * factor, W * factor, 3) uint8.

    Raises:
        ValueError: image and regions do not belong together.
    """
    image = as_rgb(image)
    numbers = np.asarray(numbers)
    if numbers.shape != image.shape[:2]:
        raise ValueError(
            f"regions: expected the image's size {image.shape[:2]} (height, width), got "
            f"{numbers.shape}"
        )
    picture, factor = enlarged(image, size)
    large = numbers.repeat(factor, 0).repeat(factor, 1)
    count = int(numbers.max(initial=0))
    turn = np.asarray(range(count) if by is None else by, np.int64)
    table = np.zeros((count + 1, 3), np.float32)
    if count:
        table[1:] = palettes.of_classes(turn)
    inside = large > 0
    tinted = picture.astype(np.float32)
    tinted[inside] += alpha * (table[large[inside]] - tinted[inside])
    edge = _border(large)
    tinted[edge] = 0.75 * table[large[edge]] + 64
    outer = _border(~inside)  # a dark line beside it keeps the border visible on any ground
    tinted[outer] *= 0.4
    return np.clip(tinted + 0.5, 0, 255).astype(np.uint8)


def _border(numbers: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of a region beside one that is not of it; not of region 0."""
    differs = np.zeros(numbers.shape, bool)
    for axis in (0, 1):
        change = np.diff(numbers.astype(np.int64), axis=axis) != 0
        first = [slice(None)] * 2
        second = [slice(None)] * 2
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        differs[tuple(first)] |= change
        differs[tuple(second)] |= change
    return differs & (numbers > 0)


def label_overlay(image: np.ndarray, found: LabelMap, *, size: int = SMALL) -> np.ndarray:
    """Draw a label map over its image, every class in its color and named where it is.

    Args:
        image: (H, W, 3) uint8 RGB; grey (H, W) and RGBA are taken too.
        found: what a semantic segmenter said.
        size: an image whose longer side is smaller is enlarged, by a whole factor, to at least it.

    Raises:
        ValueError: image and label map do not belong together.
    """
    return draw_labels(image, found.labels, found.classes, size=size)


def draw_labels(
    image: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, size: int = SMALL
) -> np.ndarray:
    """Draw the class of every pixel over an image.

    Args:
        image: (H, W, 3) uint8 RGB; grey (H, W) and RGBA are taken too.
        labels: (H, W) 0 background, k + 1 for `classes[k]`; below 0: not known, not drawn.
        classes: the K names.
        size: least longer side of the picture.
    """
    image = as_rgb(image)
    labels = np.maximum(labels, 0)
    picture = regions(image, labels, size=size)
    present = [k for k in range(len(classes)) if (labels == k + 1).any()]
    if len(classes) < 2 or not present:
        return picture
    announce(classes)
    canvas, axes = open_canvas(picture, image.shape[:2])
    write_labels(
        canvas,
        axes,
        [classes[k] for k in present],
        np.stack([_box(labels == k + 1) for k in present]),
        palettes.of_classes(np.array(present)),
        max(1.0, max(picture.shape[:2]) / 1200),
        force=True,
    )
    return pixels_of(canvas)


def _box(mask: np.ndarray) -> np.ndarray:
    """(4,) a box in the class's region where it is tallest, to write its name at."""
    rows, columns = np.nonzero(mask)
    column = int(np.bincount(columns).argmax())
    inside = rows[columns == column]
    return np.array([column, inside.min(), column + 1, inside.max() + 1], np.float32)
