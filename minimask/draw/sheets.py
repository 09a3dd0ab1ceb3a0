"""Several pictures on one sheet, single objects cut out, and image files."""

# R objects   H, W height and width of the image

from __future__ import annotations

import functools
import io
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.draw.fonts import drawable, runs
from minimask.draw.label_maps import draw_labels, label_overlay
from minimask.draw.overlay import SMALL, as_rgb, draw_target, enlarged, overlay
from minimask.system.files import write_whole

if TYPE_CHECKING:
    from minimask.data.sample import Sample, Target
    from minimask.models.detections import Detections
    from minimask.models.label_map import LabelMap

GAP = 8  # pixels between pictures
FONT = 14  # pixels
TITLE = 24  # pixels above a picture that has a title


def compare(
    image: np.ndarray,
    target: Target | Sample,
    detections: Detections | LabelMap,
    *,
    min_score: float = 0.5,
    classes: Sequence[str] | None = None,
    size: int = SMALL,
) -> np.ndarray:
    """The image, what is annotated in it, and what the model found, side by side.

    Args:
        image: (H, W, 3) uint8 RGB.
        target: the annotated objects; a `Sample` is taken too.
        detections: the found ones, or the label map of a semantic segmenter.
        min_score: weaker detections are left out; the title says how many.
        classes: names of the target's labels, where they are not those of the detections.
        size: small images are enlarged to at least this longer side.

    Returns:
        (height, width, 3) uint8.
    """
    from minimask.models.label_map import LabelMap

    if isinstance(detections, LabelMap):
        return _compare_labels(image, target, detections, classes or detections.classes, size)
    image = as_rgb(image)
    shown = int((detections.scores >= min_score).sum())
    hidden = len(detections) - shown
    pictures = [
        enlarged(image, size)[0],
        draw_target(image, target, classes or detections.classes, size=size),
        overlay(image, detections, min_score=min_score, size=size),
    ]
    found = f"found: {shown}" + (f" (and {hidden} below score {min_score:g})" if hidden else "")
    return contact_sheet(pictures, ["image", f"annotated: {len(target.boxes)}", found], columns=3)


def _compare_labels(
    image: np.ndarray,
    target: Target | Sample,
    found: LabelMap,
    classes: Sequence[str],
    size: int,
) -> np.ndarray:
    """The same for the classes of pixels."""
    from minimask.models.label_map import paint_label_map

    image = as_rgb(image)
    order = [found.classes.index(n) if n in found.classes else -1 for n in classes]
    labels = [order[int(label)] for label in target.labels]
    true = paint_label_map(target.masks, labels, image.shape[:2])
    right = float((true == found.labels).mean())
    pictures = [
        enlarged(image, size)[0],
        draw_labels(image, true, found.classes, size=size),
        label_overlay(image, found, size=size),
    ]
    titles = ["image", "annotated", f"found: {right:.1%} of the pixels right"]
    return contact_sheet(pictures, titles, columns=3)


def contact_sheet(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    *,
    columns: int | None = None,
) -> np.ndarray:
    """Pictures of any sizes in rows and columns on white.

    Args:
        images: (H, W, 3) uint8 each.
        titles: one per image, written above it.
        columns: pictures in a row; default: about as many as rows.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: no images, or another number of titles.
    """
    from PIL import Image, ImageDraw

    if not len(images):
        raise ValueError("images: expected at least one, got none")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles: expected {len(images)}, one per image, got {len(titles)}")
    images = [as_rgb(image) for image in images]
    columns = min(columns or int(np.ceil(np.sqrt(len(images)))), len(images))
    above = TITLE if titles is not None else 0
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    heights = [max(image.shape[0] for image in line) + above + GAP for line in rows]
    widths = [max(image.shape[1] for image in images[c::columns]) + GAP for c in range(columns)]
    sheet = Image.new("RGB", (sum(widths) + GAP, sum(heights) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for i, image in enumerate(images):
        column, row = i % columns, i // columns
        x, y = GAP + sum(widths[:column]), GAP + sum(heights[:row])
        if titles is not None:
            _write(pen, (x, y + 2), titles[i], widths[column] - GAP)
        sheet.paste(Image.fromarray(np.ascontiguousarray(image)), (x, y + above))
    return np.asarray(sheet)


def cutouts(
    image: np.ndarray, detections: Detections, *, min_score: float = 0.0
) -> list[np.ndarray]:
    """Each found object by itself, transparent around it.

    Args:
        image: (H, W, 3) uint8 RGB.
        detections: what was found in it.
        min_score: weaker detections are left out.

    Returns:
        One (h, w, 4) uint8 RGBA array per detection, tight around its mask; without masks the
        box, opaque.  A detection without a single pixel gives (0, 0, 4).
    """
    from minimask.draw.outlines import crop_of_mask

    image = as_rgb(image)
    if tuple(detections.image_size) != image.shape[:2]:
        raise ValueError(
            f"image: these detections are of an image of {detections.image_size} (height, width), "
            f"got {image.shape[:2]}"
        )
    pieces = []
    for i in np.flatnonzero(detections.scores >= min_score):
        if detections.mask_probs is None:
            mask, (x, y) = _box_pixels(detections.boxes[i], image.shape[:2])
        else:
            loose, (x, y) = detections.crop_mask(int(i))
            mask, (dx, dy) = crop_of_mask(loose)
            x, y = x + dx, y + dy
        height, width = mask.shape
        color = image[y : y + height, x : x + width]
        pieces.append(np.dstack([color, mask.astype(np.uint8) * 255]))
    return pieces


def save_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write an image; the file appears whole or not at all.

    Args:
        path: its suffix says which format: .png, .jpg, .webp ...
        image: (H, W, 3) RGB or (H, W, 4) RGBA, uint8.
    """
    from PIL import Image

    target = pathlib.Path(path)
    kind = check_format(target)
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, kind)
    write_whole(target, content.getvalue())


def check_format(path: pathlib.Path) -> str:
    """Pillow's name of the format that a file's suffix says.

    Raises:
        ValueError: it says none that is known.
    """
    from PIL import Image

    Image.init()
    kind = Image.EXTENSION.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path}: unknown image format {path.suffix!r}; use .png or .jpg")
    return kind


def _box_pixels(box: np.ndarray, image_size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    height, width = image_size
    x0, x1 = (int(v) for v in np.clip(np.round(box[[0, 2]]), 0, width))
    y0, y1 = (int(v) for v in np.clip(np.round(box[[1, 3]]), 0, height))
    return np.ones((max(y1 - y0, 0), max(x1 - x0, 0)), bool), (x0, y0)


def _write(pen: Any, corner: tuple[int, int], text: str, width: int) -> None:
    """A text in as many fonts as it needs, cut to a width in pixels with an ellipsis."""
    text = drawable(text)
    if _length(text) > width:
        while text and _length(text + "…") > width:
            text = text[:-1]
        text += "…"
    x, y = corner
    for file, piece in runs(text):
        # on one base line, whatever the fonts' heights
        pen.text((x, y + FONT), piece, fill="black", font=_font(file), anchor="ls")
        x += _font(file).getlength(piece)


def _length(text: str) -> float:
    return sum(_font(file).getlength(piece) for file, piece in runs(text))


@functools.lru_cache(maxsize=32)
def _font(file: str) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(file, FONT)
