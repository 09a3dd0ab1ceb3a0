"""Read image files of any common kind as 8-bit RGB."""

from __future__ import annotations

import contextlib
import difflib
import os
import pathlib

import numpy as np
from PIL import Image

from minimask.data.image_depth import (
    FULL,
    White,
    check_white,
    meant_white,
    remark_dark,
    to_eight_bits,
    white_is_zero,
)
from minimask.data.opening import BROKEN, Opened, Unreadable, identify, open_image, planes_apart
from minimask.data.remarks import remark, wanted

SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
ORIENTATION = 0x0112
STRIP = 16_000_000  # pixels converted at once, so that large images need no copies of themselves


def read_image(
    path: str | os.PathLike[str], *, white: White = None, page: int | None = None
) -> np.ndarray:
    """Read an image file as 8-bit RGB, turned the way its EXIF orientation says.

    Grey images get three equal channels.  Transparent pixels (RGBA, palettes) are laid on white.
    Images of 16 bits are scaled so that 65535 becomes 255, unless the file itself says what its
    largest value is (TIFF of 12 bits, PNG's sBIT); cameras that write 12 bits into 16 without
    saying so need `white=4095`.

    Args:
        path: PNG, JPEG, TIFF, BMP, WebP or any other format of Pillow; HEIC and more kinds of TIFF
            with `pip install minimask[images]`.
        white: the value shown as white, for images of more than 8 bits; default 65535.  "auto":
            of each image the value that 99.9 % of its pixels do not exceed (and black the smallest
            one, if that is negative), so that images are no longer comparable in brightness.
            8-bit images ignore it.
        page: of files with several pages or frames, from 1; default: the first.

    Returns:
        (H, W, 3) uint8.

    Raises:
        FileNotFoundError: no such file; the message names the closest one there is.
        ValueError: the file is no image, is truncated, has more than a gigapixel or no such page,
            or holds floating-point values without `white`; `white` or `page` cannot be.
        MemoryError: the image is larger than the free memory.
    """
    check_white(white)
    if page is not None and (not isinstance(page, int | np.integer) or page < 1):
        raise ValueError(f"page: expected a whole number from 1, got {page!r}")
    try:
        opened = _opened(path, page)
        image = _eight_bits(opened, path, white, page)
        orientation = _orientation(opened.image)
    except Unreadable as error:
        if ": TIFF with " not in str(error):
            raise
        from minimask.data.image_tiff import read_tiff

        pixels, orientation = read_tiff(path, page, white, error)
        image = Image.fromarray(pixels)
    return _turned(_rgb(image), orientation)


def _eight_bits(
    opened: Opened, path: str | os.PathLike[str], white: White, page: int | None
) -> Image.Image:
    image = opened.image
    if image.mode in (*SIXTEEN_BIT, "F"):
        return _eight_bit_grey(image, path, white)
    if ";16" in opened.raw and image.mode in ("RGB", "RGBA", "RGBX"):
        return _eight_bit_color(opened, path, white, page)
    if opened.raw == "LX" and wanted():
        remark("channels", path, "2 channels, the first is read", 2)
    return image


def _opened(path: str | os.PathLike[str], page: int | None = None) -> Opened:
    try:
        return open_image(path, page)
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None


def _eight_bit_grey(image: Image.Image, path: str | os.PathLike[str], white: White) -> Image.Image:
    """A grey image of more than 8 bits, scaled."""
    values = np.asarray(image)
    with open(path, "rb") as file:
        meant = meant_white(image, file, values)
    if white_is_zero(image) and values.dtype.kind != "f":
        values = (meant or FULL) - values
    scaled = to_eight_bits(values, path, white, meant)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        scaled[values == clear] = 255
    return Image.fromarray(scaled)


def _eight_bit_color(
    opened: Opened, path: str | os.PathLike[str], white: White, page: int | None
) -> Image.Image:
    """An image of 16-bit colors, of which Pillow gives the upper bytes."""
    image = opened.image
    upper = np.asarray(image)
    with open(path, "rb") as file:
        meant = meant_white(image, file, upper) if image.format == "TIFF" else None
    colors = upper[..., :3]
    dark = white is None and meant is None and colors.max(initial=0) < 256 // 8 and wanted()
    if not dark and white in (None, FULL) and meant is None:
        return image
    if not opened.raw.startswith(image.mode[:3]):  # grey with transparency
        raise ValueError(
            f"{path}: of 16-bit grey with transparency only the upper 8 bits can be read, too few "
            "for --white; save it without transparency"
        )
    if planes_apart(image):
        if dark:
            remark_dark(path, int(colors.max(initial=0)) * 256 + 255)
            return image
        raise Unreadable(
            f"{path}: TIFF with 16 bits in each of 3 channels one after the other, of which Pillow "
            "reads the upper 8"
        )
    lower = np.asarray(open_image(path, page, low_bytes=True).image)[..., :3]
    values = colors.astype(np.uint16) * 256 + lower
    if dark:
        if values.max(initial=0):
            remark_dark(path, int(values.max()))
        return image
    scaled = to_eight_bits(values, path, white, meant)
    return Image.fromarray(np.concatenate([scaled, upper[..., 3:]], axis=2))


def shown_size(path: str | os.PathLike[str], page: int | None = None) -> tuple[int, int, int]:
    """Height and width of an image as it is shown, and its EXIF orientation, from its head alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, or no such page.
    """
    try:
        with open(path, "rb") as file:
            image = identify(file, path, page)
            orientation = _orientation(image)
            width, height = image.size
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None
    except Unreadable as error:
        if ": TIFF with " not in str(error):
            raise
        from minimask.data.image_tiff import tiff_size

        height, width, orientation = tiff_size(path, page, error)
    return (width, height, orientation) if orientation >= 5 else (height, width, orientation)


def _rgb(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8; transparency on white."""
    width, height = image.size
    if width * height <= STRIP:
        return np.array(_opaque(image).convert("RGB"))
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.asarray(_opaque(strip).convert("RGB"))
    return pixels


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where EXIF is damaged: the picture is there all the same."""
    with contextlib.suppress(*BROKEN):
        return int(image.getexif().get(ORIENTATION, 1))
    return 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turned and mirrored from what a camera wrote to what it saw."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file as a mask.

    A file of one value besides zero is True where it is not zero, whatever that value.  A file of
    more grey levels has soft edges or went through JPEG: True from half of white on (128 of 8
    bits, 32768 of 16).  Of channels the brightest counts; alpha is left out.

    Args:
        path: any image file.

    Returns:
        (H, W) bool.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no image or is truncated; or its grey levels are no mask's with soft
            edges, but numbers of objects, say.
    """
    with _open(path) as image:
        if image.mode in ("P", "PA", "LA", "RGBA", "CMYK"):
            image = image.convert("RGB")
        pixels: np.ndarray = np.asarray(image)
    if pixels.ndim == 3:
        pixels = pixels.max(axis=2)
    inside = pixels > 0
    levels = pixels[inside]
    if not len(levels) or (levels == levels[0]).all():
        return inside
    white = 255 if pixels.dtype == np.uint8 else 65535
    sure, doubtful = levels >= 0.75 * white, (levels > 0.25 * white) & (levels < 0.75 * white)
    if levels.max() < 0.5 * white or np.count_nonzero(doubtful) > np.count_nonzero(sure):
        shown = np.unique(levels)
        listed = ", ".join(map(str, shown[:4])) + (", ..." if len(shown) > 4 else "")
        raise ValueError(
            f"{path}: {len(shown)} values besides 0 ({listed}), few of them near white ({white}); "
            "expected one object, white on black. An image of labels, whose values number the "
            "objects, must be taken apart into one file for each"
        )
    return pixels >= 0.5 * white


def _open(path: str | os.PathLike[str]) -> Image.Image:
    """The first page, pixels decoded, or an error that names the file."""
    return _opened(path).image


def missing_file(path: str | os.PathLike[str], kind: str = "file") -> str:
    """One sentence about a file or folder that is not there: the closest name beside it."""
    path = pathlib.Path(path)
    missing = path
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    if missing != path:
        return f"{path}: no such {kind}, because {missing_file(missing, 'folder')}"
    names = [entry.name for entry in path.parent.iterdir()]
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(path.name.lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return f"{path}: no such {kind}; did you mean {by_lower[close[0]]!r}?"
    return f"{path}: no such {kind}; {path.parent} holds {len(names)} others"
