"""Boxes, points and feature maps as pixels, on the image or beside each other.

Letters: H W height and width of an array, R boxes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from minimask.draw.colors import PALETTE, Color, text_on
from minimask.tools.textbook.page import data_uri
from minimask.tools.textbook.trace.steps import Picture

if TYPE_CHECKING:
    from PIL import Image, ImageFont

LEAST, MOST = 448, 960  # pixels of the longer side of a picture
ABREAST = 460  # pixels of width that a page shows it with at first, so that two fit side by side
GAP = 6  # pixels between tiles
TITLE = 18  # pixels above a tile that has one
WHITE, QUIET = (255, 255, 255), (90, 100, 117)
POSITIVE, NEGATIVE, IGNORED, TRUTH = PALETTE[2], PALETTE[5], PALETTE[3], (255, 255, 255)


class Sheet:
    """An image, enlarged or reduced to a good size, to draw on in the image's own pixels."""

    def __init__(self, image: np.ndarray, dim: float = 1.0) -> None:
        """Begin with an image (H, W, 3) uint8; `dim` below 1 takes light and color from it."""
        from PIL import Image, ImageDraw

        height, width = image.shape[:2]
        self.factor = scale_of(height, width)
        size = (max(1, round(width * self.factor)), max(1, round(height * self.factor)))
        self._pen = max(1, round(size[0] / (1.5 * ABREAST)))  # pages show large pictures reduced
        way = Image.Resampling.NEAREST if self.factor >= 1 else Image.Resampling.BOX
        pixels = image if dim == 1 else _faded(image, dim)
        self._picture = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, way)
        self._draw = ImageDraw.Draw(self._picture)

    def boxes(
        self,
        boxes: np.ndarray,
        colors: Color | Sequence[Color],
        labels: Sequence[str] = (),
        width: int = 2,
    ) -> Sheet:
        """Frame boxes (R, 4), the last on top, in one color or one each; labels stand above."""
        each = _one_each(colors, len(boxes))
        for i, (box, color) in enumerate(zip(boxes, each, strict=True)):
            if not np.isfinite(box).all():
                continue
            x0, y0, x1, y1 = (float(v) * self.factor for v in np.clip(box, -4096, 8192))
            corners = (min(x0, x1), min(y0, y1), max(x0, x1) - 1, max(y0, y1) - 1)
            if corners[2] >= corners[0] and corners[3] >= corners[1]:
                self._draw.rectangle(corners, outline=color, width=width * self._pen)
            if i < len(labels) and labels[i]:
                self._label(labels[i], x0, y0, color)
        return self

    def _label(self, text: str, x: float, y: float, color: Color) -> None:
        font = _font(13 * self._pen)
        left, top, right, bottom = self._draw.textbbox((0, 0), text, font=font)
        width, height = right - left + 6, bottom - top + 5
        x = min(max(x, 0), self._picture.width - width)
        y = y - height if y >= height else y
        self._draw.rectangle((x, y, x + width, y + height), fill=color)
        self._draw.text((x + 3 - left, y + 2 - top), text, fill=text_on(color), font=font)

    def points(self, x: np.ndarray, y: np.ndarray, color: Color, radius: float = 2) -> Sheet:
        """Dots at positions in the image's pixels."""
        radius = radius * (1 + self._pen) / 2
        for px, py in zip(x * self.factor, y * self.factor, strict=True):
            self._draw.ellipse((px - radius, py - radius, px + radius, py + radius), fill=color)
        return self

    def lines(self, x: np.ndarray, y: np.ndarray, color: Color, width: int = 1) -> Sheet:
        """A line through positions in the image's pixels."""
        path = [(float(a), float(b)) for a, b in zip(x * self.factor, y * self.factor, strict=True)]
        self._draw.line(path, fill=color, width=width)
        return self

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8: what has been drawn."""
        return np.asarray(self._picture)


def _one_each(colors: Color | Sequence[Color], count: int) -> list[Color]:
    """A color for each of `count` boxes."""
    if len(colors) == 3 and all(isinstance(value, int) for value in colors):
        return [cast("Color", tuple(colors))] * count
    return list(cast("Sequence[Color]", colors))


def _faded(image: np.ndarray, dim: float) -> np.ndarray:
    """Darker, and three quarters of the way to gray, so that colored boxes stand out."""
    shade = image.mean(axis=2, keepdims=True)
    return ((shade + 0.25 * (image - shade)) * dim).astype(np.uint8)


def scale_of(height: int, width: int) -> float:
    """The factor that brings an image to a good size; whole where it enlarges."""
    longer = max(height, width)
    if longer > MOST:
        return MOST / longer
    return float(-(-LEAST // longer)) if longer < LEAST else 1.0


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def photo(pixels: np.ndarray, caption: str) -> Picture:
    """Pixels of a photograph, or drawn over one: encoded with losses nobody sees."""
    from PIL import Image

    encoded = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(encoded, format="webp", quality=82, method=2)
    height, width = pixels.shape[:2]
    address = data_uri("image/webp", encoded.getvalue())
    return Picture(caption, address, width, height, min(width, ABREAST))


def exact(pixels: np.ndarray, caption: str) -> Picture:
    """Pixels whose edges count, such as cells of feature maps: encoded without losses."""
    from PIL import Image

    encoded = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(encoded, format="webp", lossless=True, quality=40, method=2)
    height, width = pixels.shape[:2]
    shown = min(width, ABREAST) if height > width / 2 else width
    return Picture(caption, data_uri("image/webp", encoded.getvalue()), width, height, shown)


def heat(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """An array (H, W) in colors from dark blue (low) to yellow (high): (H, W, 3) uint8.

    Bounds that are not given are the array's own; what is not finite is vermilion.
    """
    from matplotlib import colormaps

    finite = np.isfinite(values)
    known = values[finite]
    low = float(known.min(initial=np.inf)) if low is None else low
    high = float(known.max(initial=-np.inf)) if high is None else high
    span = high - low if np.isfinite(high - low) and high > low else 1.0
    base = low if np.isfinite(low) else 0.0
    share = np.where(finite, (np.where(finite, values, base) - base) / span, 0)
    colors = (colormaps["viridis"](np.clip(share, 0, 1))[..., :3] * 255).astype(np.uint8)
    colors[~finite] = PALETTE[5]
    return colors


def gray(values: np.ndarray) -> np.ndarray:
    """An array (H, W) of 0 .. 1 from black to white: (H, W, 3) uint8."""
    shade = (np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    return np.repeat(shade[..., None], 3, axis=-1)


def tiles(
    pictures: Sequence[np.ndarray], titles: Sequence[str] = (), columns: int = 4, side: int = 160
) -> np.ndarray:
    """Small pictures side by side on white, enlarged by whole factors to about `side` pixels.

    Args:
        pictures: (H, W, 3) uint8 each.
        titles: above each; none at all, or one for each.
        columns: in a row.
        side: of the longer side of each.
    """
    from PIL import Image, ImageDraw

    shown = [_to_side(p, side) for p in pictures]
    wide, tall = max(p.width for p in shown), max(p.height for p in shown)
    columns = min(columns, len(shown))
    rows, top = -(-len(shown) // columns), TITLE if titles else 0
    size = (columns * (wide + GAP) - GAP, rows * (tall + top + GAP) - GAP)
    sheet = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(sheet)
    for i, picture in enumerate(shown):
        x, y = (i % columns) * (wide + GAP), (i // columns) * (tall + top + GAP)
        if titles:
            draw.text((x + 2, y + 1), _shorten(titles[i], wide), fill=QUIET, font=_font(12))
        sheet.paste(picture, (x, y + top))
    return np.asarray(sheet)


def _to_side(pixels: np.ndarray, side: int) -> Image.Image:
    """A picture whose longer side has `side` pixels; cells of feature maps keep sharp edges."""
    from PIL import Image

    height, width = pixels.shape[:2]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    way = Image.Resampling.BOX if factor < 1 else Image.Resampling.NEAREST
    return picture.resize(size, way)


def _shorten(text: str, width: int) -> str:
    """As much of a title as fits above a tile; letters are about 6.5 pixels wide."""
    most = max(4, int(width / 6.5))
    return text if len(text) <= most else text[: most - 1] + "…"
