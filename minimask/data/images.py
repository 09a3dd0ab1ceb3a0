"""Read image files of any common kind as 8-bit RGB."""

from __future__ import annotations

import difflib
import os
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def read_image(path: str | os.PathLike[str], *, white: int | None = None) -> np.ndarray:
    """Read an image file as 8-bit RGB, turned the way its EXIF orientation says.

    Grey images get three equal channels.  Transparent pixels (RGBA, palettes) are laid on white.
    16-bit grey values are scaled so that 65535 becomes 255; cameras that write 12 bits into 16
    need `white=4095`.  Of animations and stacks the first frame is read.

    Args:
        path: PNG, JPEG, TIFF, BMP, WebP or any other format of Pillow.
        white: the 16-bit value shown as white; default 65535.  8-bit images ignore it.

    Returns:
        (H, W, 3) uint8.

    Raises:
        FileNotFoundError: no such file; the message names the closest one there is.
        ValueError: the file is no image, is truncated, or holds floating-point values; `white`
            is no whole number above 0.
    """
    if white is not None and not (isinstance(white, int | np.integer) and white >= 1):
        raise ValueError(f"white: expected a whole number above 0, such as 4095, got {white!r}")
    with _open(path) as image:
        if image.mode in SIXTEEN_BIT:
            image = _eight_bit(image, path, white or 65535)
        elif image.mode == "F":
            raise ValueError(
                f"{path}: holds floating-point values; expected 8 or 16 bits. "
                "Say which value is white by saving it as 16-bit PNG"
            )
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))


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
    """The image, pixels decoded, or an error that names the file."""
    try:
        # a file object: by name, Pillow maps uncompressed TIFF into memory and garbles turned ones
        file = open(path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None
    with file:
        try:
            image = Image.open(file)
        except UnidentifiedImageError:
            raise ValueError(f"{path}: not an image file that Pillow can read") from None
        except (*BROKEN, Image.DecompressionBombError) as error:
            raise ValueError(f"{path}: not a readable image: {error}") from error
        try:
            image.load()
        except (*BROKEN, Image.DecompressionBombError) as error:
            raise ValueError(f"{path}: the image is damaged or truncated: {error}") from error
    return image


def _eight_bit(image: Image.Image, path: str | os.PathLike[str], white: int) -> Image.Image:
    """A grey image of more than 8 bits with `white` scaled to 255."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"{path}: values from {values.min()} to {values.max()}; expected 8 or 16 bits"
        )
    scaled = Image.fromarray(np.minimum((values * 255 + white // 2) // white, 255).astype(np.uint8))
    scaled.info = dict(image.info)  # the orientation is in there
    return scaled


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
