"""Samples as a picture: does the data look as it should?"""

from __future__ import annotations

import colorsys
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minimask.data.sample import Dataset, Sample

if TYPE_CHECKING:
    from PIL import Image

BORDER = 6  # pixels between tiles
CAPTION = 14  # pixels under a tile


def _instance_color(i: int) -> np.ndarray:
    """Colors far from their neighbors: steps of the golden angle around the color circle."""
    return np.array(colorsys.hsv_to_rgb(0.618034 * i % 1, 0.9, 1.0)) * 255


def _outline(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels of the mask that touch a pixel outside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def annotate(sample: Sample, classes: Sequence[str], *, width: int = 256) -> Image.Image:
    """The image with masks tinted and outlined, boxes, and class names.

    Args:
        sample: what to draw.
        classes: names of the labels.
        width: of the picture, in pixels; the image is enlarged or reduced to it.

    Returns:
        A Pillow image.
    """
    from PIL import Image, ImageDraw

    scale = width / sample.image.shape[1]
    height = max(1, round(sample.image.shape[0] * scale))
    resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    picture = np.asarray(
        Image.fromarray(np.ascontiguousarray(sample.image)).resize((width, height), resample)
    ).astype(np.float32)
    for i, mask in enumerate(sample.masks):
        grown = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), resample)
        inside = np.asarray(grown) >= 128
        picture[inside] = 0.8 * picture[inside] + 0.2 * _instance_color(i)
        picture[_outline(inside)] = _instance_color(i)
    result = Image.fromarray(picture.astype(np.uint8))
    draw = ImageDraw.Draw(result)
    for i, box in enumerate(sample.boxes):
        color = tuple(int(c) for c in _instance_color(i))
        x0, y0, x1, y1 = (box * scale).tolist()
        draw.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=color)
        if len(sample) <= 20:  # names on crowded images hide what they name
            name = classes[sample.labels[i]] + (" (crowd)" if sample.crowd[i] else "")
            corner = (
                min(x0 + 2, width - draw.textlength(name) - 2),
                y0 - 13 if y0 > 14 else y0 + 1,
            )
            left, top, right, bottom = draw.textbbox(corner, name)
            draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=(0, 0, 0))
            draw.text(corner, name, fill=color)
    return result


def contact_sheet(
    samples: Iterable[Sample], classes: Sequence[str], *, columns: int = 4, width: int = 256
) -> Image.Image:
    """Samples side by side; each as it is on the left, annotated on the right.

    Args:
        samples: what to draw.
        classes: names of the labels.
        columns: pairs of pictures in a row.
        width: of one picture, in pixels.

    Returns:
        A Pillow image.

    Raises:
        ValueError: no samples.
    """
    from PIL import Image, ImageDraw

    tiles = []
    for sample in samples:
        seen = annotate(sample, classes, width=width)
        plain = Image.fromarray(np.ascontiguousarray(sample.image)).resize(seen.size)
        tile = Image.new("RGB", (2 * width + 2, seen.height + CAPTION), "white")
        tile.paste(plain, (0, 0))
        tile.paste(seen, (width + 2, 0))
        caption = f"{sample.name}: {len(sample)} instance{'' if len(sample) == 1 else 's'}"
        ImageDraw.Draw(tile).text((2, seen.height), caption, fill="black")
        tiles.append(tile)
    if not tiles:
        raise ValueError("samples: expected at least one to draw, got none")
    columns = min(columns, len(tiles))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) + BORDER for row in rows]
    size = (columns * (2 * width + 2 + BORDER) + BORDER, sum(heights) + BORDER)
    sheet = Image.new("RGB", size, "white")
    for r, row in enumerate(rows):
        for c, tile in enumerate(row):
            corner = (BORDER + c * (2 * width + 2 + BORDER), BORDER + sum(heights[:r]))
            sheet.paste(tile, corner)
    return sheet


def show_samples(
    dataset: Dataset,
    path: str | os.PathLike[str],
    *,
    indices: Sequence[int] | None = None,
    count: int = 12,
    columns: int = 3,
    width: int = 256,
) -> pathlib.Path:
    """Draw samples of a data set to an image file.

    Args:
        dataset: where they come from.
        path: the file to write; its suffix says which format.
        indices: which items; default: the first `count`.
        count: how many.
        columns: pairs of pictures in a row.
        width: of one picture, in pixels.

    Returns:
        The path written.
    """
    if indices is None:
        try:
            count = min(count, len(dataset))
        except TypeError:  # without end
            pass
        indices = range(count)
    sheet = contact_sheet(
        (dataset[i] for i in indices), dataset.classes, columns=columns, width=width
    )
    path = pathlib.Path(path)
    sheet.save(path)
    return path
