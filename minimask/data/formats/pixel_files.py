"""Image files whose pixels are annotations: object numbers, or one object in white on black."""

# H W height and width of a file

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from minimask.data.image_files import SUFFIXES
from minimask.data.images import BROKEN, missing_file

LARGEST_NUMBER = 2**31 - 1
BRIGHT, DARK = 215, 40  # of 255: as near to white and black as JPEG leaves them
LOSSY = (".jpg", ".jpeg")
ARRAYS = (".npy",)
T = TypeVar("T")


@dataclass(frozen=True)
class ObjectMask:
    """One object's mask from a file, and what is odd about the file.

    Attributes:
        mask: (H, W) bool.
        soft: whether there were values between black and white.
        lossy: whether the file is JPEG with values that only its compression can have made.
        bright: whether more than half of the pixels are object.
    """

    mask: np.ndarray
    soft: bool
    lossy: bool
    bright: bool


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """Height and width of a file of pixels as they lie in the file, from its head alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither image nor array of two axes.
    """
    if path.suffix.lower() in ARRAYS:
        height, width = _array(path).shape
        return int(height), int(width)
    try:
        with open(path, "rb") as file, Image.open(file) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None
    except (*BROKEN, Image.DecompressionBombError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from None


def read_labels(path: pathlib.Path) -> np.ndarray:
    """Object numbers as they are written: grey values, palette indices, numbers of an array.

    In files of three or four channels every colour is another number, red x 65536 + green x 256
    + blue, and black is 0; transparency says nothing.  1-bit files hold 0 and 1.

    Returns:
        (H, W) int32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, numbers that are not whole, below 0 or above 2 147 483 647.
    """
    if path.suffix.lower() in ARRAYS:
        return _whole(np.asarray(_array(path)), path)
    pixels = _pixels(path)
    if pixels.ndim == 3:
        red, green, blue = (pixels[..., i].astype(np.int32) for i in range(3))
        return red * 65536 + green * 256 + blue
    return _whole(pixels, path)


def read_object(path: pathlib.Path) -> ObjectMask:
    """The mask of a file that holds one object, white (or any one value) on black.

    Of a file with grey edges, or of JPEG, whose black and white are not quite so, object is what
    is at least half white: 128 of 8 bits, 32768 of 16, 0.5 of floats up to 1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged; or values that are neither black nor white, as object numbers are.
    """
    pixels = _pixels(path, colours=True)
    if pixels.ndim == 3:
        pixels = pixels[..., :3].max(axis=2)
    if not np.isfinite(pixels).all():
        raise ValueError(f"{path}: holds values that are no numbers (NaN or infinite)")
    mask = pixels > 0
    levels = pixels[mask]
    several = bool(len(levels) and (levels != levels[0]).any())
    if several:
        white = _white(pixels)
        clear, between = levels >= 0.75 * white, (levels > 0.25 * white) & (levels < 0.75 * white)
        if levels.max() < 0.5 * white or np.count_nonzero(between) > np.count_nonzero(clear):
            raise ValueError(f"{path}: {_not_one_object(levels)}")
        mask = pixels >= 0.5 * white
    lossy = path.suffix.lower() in LOSSY
    return ObjectMask(mask, several and not lossy, several and lossy, bool(mask.mean() > 0.5))


def _white(pixels: np.ndarray) -> float:
    """The value of white in a file of such values."""
    if pixels.dtype.kind == "f" and pixels.max() <= 1:
        return 1
    return 255 if pixels.dtype == np.uint8 else 65535


def _not_one_object(levels: np.ndarray) -> str:
    shown = np.unique(levels)
    listed = ", ".join(f"{value:g}" for value in shown[:4]) + (", ..." if len(shown) > 4 else "")
    return (
        f"{len(shown)} values besides 0 ({listed}), few of them near white; expected one object in "
        "white on black. Objects by number are a label image: put it into masks/ beside images/"
    )


def black_or_white(path: pathlib.Path) -> np.ndarray | None:
    """A JPEG file as bool where all but 1% of its pixels are nearly black or white; else None."""
    pixels = _pixels(path, colours=True)
    if pixels.ndim == 3:
        pixels = pixels[..., :3].max(axis=2)
    clear = (pixels <= DARK) | (pixels >= BRIGHT)
    return pixels >= 128 if clear.mean() >= 0.99 else None


def files_in(
    folder: pathlib.Path, suffixes: Sequence[str] = (*SUFFIXES, *ARRAYS)
) -> list[pathlib.Path]:
    """The image and array files of a folder, in order, none of the folders below."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.name.lower().endswith(tuple(suffixes))
                and not entry.name.startswith(".")
                and entry.is_file()
            ]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def folders_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders of a folder, in order, no hidden ones."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def follow(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items, with a line of progress on a terminal when they take more than a few seconds."""
    from tqdm import tqdm

    about = {"desc": what, "unit": "file", "delay": 3, "leave": False, "disable": None}
    yield from tqdm(items, total=total, **about)


def other_size(path: pathlib.Path, image: dict[str, Any]) -> str | None:
    """What is wrong where a file of pixels is not as large as its image; None: nothing.

    Args:
        path: the file.
        image: with its `width` and `height`.

    Raises:
        ValueError: the file is damaged.
    """
    height, width = read_size(path)
    if (height, width) == (image["height"], image["width"]):
        return None
    hint = ""
    if (height, width) == (image["width"], image["height"]):
        hint = "; it may be turned: the image is shown as its EXIF orientation says"
    return (
        f"{width} x {height} pixels, but its image {image['file_name']} has {image['width']} x "
        f"{image['height']}; a mask must be as large as its image{hint}"
    )


def _array(path: pathlib.Path) -> np.ndarray:
    """A .npy file, mapped, not read."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None
    except (*BROKEN, TypeError, KeyError, MemoryError, OverflowError) as error:
        if "pickle" in str(error).lower() or "Python objects" in str(error):
            raise ValueError(
                f"{path}: holds pickled Python objects, which could run anything when they are "
                "read; save the masks as PNG or TIFF (Cellpose: File, Save masks as PNG/TIF)"
            ) from None
        raise ValueError(f"{path}: not a readable array: {error}") from None
    if not isinstance(found, np.ndarray) or found.ndim != 2:
        shape = getattr(found, "shape", "several arrays")
        raise ValueError(f"{path}: expected an array of two axes (rows, columns), got {shape}")
    return found


def _whole(values: np.ndarray, path: pathlib.Path) -> np.ndarray:
    """Numbers as int32, or an error."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path}: expected whole numbers, got an array of {values.dtype}")
    if not values.size:
        raise ValueError(f"{path}: no pixels")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values % 1 == 0).all()):
        raise ValueError(f"{path}: holds numbers that are not whole; object numbers are 0, 1, 2 ..")
    low, high = values.min(), values.max()
    if low < 0 or high > LARGEST_NUMBER:
        raise ValueError(f"{path}: numbers from {low} to {high}; expected 0 to {LARGEST_NUMBER}")
    return values.astype(np.int32)


def _pixels(path: pathlib.Path, *, colours: bool = False) -> np.ndarray:
    """(H, W) or (H, W, 3 or 4): what is written in the file; palette indices or their colours."""
    try:
        with open(path, "rb") as file:
            image: Image.Image = Image.open(file)
            image.load()
            if image.mode in ("LA", "La", "PA"):
                image = image.getchannel(0)
            elif image.mode == "P" and colours:
                image = image.convert("RGB")
            elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa"):
                image = image.convert("RGB")
            return np.asarray(image)
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None
    except (*BROKEN, Image.DecompressionBombError, TypeError, KeyError, MemoryError) as error:
        raise ValueError(f"{path}: the image is damaged or truncated: {error}") from None
