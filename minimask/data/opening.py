"""Open image files of any common kind and any size, one page of those that have several."""

from __future__ import annotations

import contextlib
import os
import pathlib
import struct
import sys
import zlib
from dataclasses import dataclass
from typing import IO, Any

from PIL import Image

from minimask.data.image_kinds import (
    AVIF,
    CAMERA_RAW,
    EXTRA,
    HEAD,
    HEIC,
    RAW,
    TIFF,
    kind_of,
)
from minimask.data.remarks import remark, wanted

BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError),
    *(AttributeError, OverflowError, struct.error, zlib.error),
)
LARGEST = 1_000_000_000  # pixels; more is a mistake, an attack, or a case for tiles
LARGE = 50_000_000  # pixels from which the free memory is looked at first
BIG_MODES = {"RGB": 4, "RGBA": 4, "CMYK": 4, "YCbCr": 4, "LAB": 4, "I": 4, "F": 4, "I;16": 2}
DNG_VERSION, WIDTH, BITS, SAMPLES, SAMPLE_FORMAT, PLANAR = 50706, 256, 258, 277, 339, 284
NOT_READ = ("EPS", "WMF")  # by running other programs, or not at all
BIG = sys.byteorder == "big"
TILES = "cut it into tiles, or save it smaller"


class Unreadable(ValueError):
    """A whole file of a kind that cannot be read; `kind` is what is known of it."""


@dataclass(frozen=True)
class Opened:
    """An image with decoded pixels.

    Attributes:
        image: turned as the file has it, not as EXIF says.
        raw: Pillow's name for how pixels lie in the file, such as "RGB;16B"; "" where unknown.
    """

    image: Image.Image
    raw: str


def open_image(
    path: str | os.PathLike[str], page: int | None = None, *, low_bytes: bool = False
) -> Opened:
    """The image, pixels decoded, or an error that names the file.

    Pillow's limit of 179 million pixels, which is one for the whole process, is neither used nor
    changed: this has its own.

    Args:
        path: the file.
        page: which page or frame, from 1; None: the first, with a remark if there are more.
        low_bytes: of 16-bit colour, of which Pillow keeps the upper byte, the lower one.

    Raises:
        FileNotFoundError: no such file.
        IsADirectoryError: a folder.
        Unreadable: a kind of file or of pixels that Pillow does not read, or reads wrongly.
        ValueError: damaged, too large, or without that page.
        MemoryError: not enough for its pixels.
    """
    # a file object: by name, Pillow maps uncompressed TIFF into memory and garbles turned ones
    with open(path, "rb") as file:
        image = identify(file, path, page)
        _remark_pages(image, path, page)
        _check_size(image, path)
        tiles = list(getattr(image, "tile", ()))
        if low_bytes:
            image.tile = [_swapped(tile) for tile in tiles]  # type: ignore[attr-defined]
        try:
            image.load()
        except MemoryError:
            raise MemoryError(f"{_too_large(image, path)} than are free; {TILES}") from None
        except (*BROKEN, Image.DecompressionBombError) as error:
            raise ValueError(f"{path}: the image is damaged or truncated: {error}") from error
    return Opened(image, _raw(tiles[0]) if tiles else "")


def _raw(tile: Any) -> str:
    """A tile's raw mode: its arguments, or the first of them."""
    mode = tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3]
    return mode if isinstance(mode, str) else ""


def _swapped(tile: Any) -> Any:
    """The tile with both bytes of each value taken for one another."""
    mode = _raw(tile)
    other = mode[:-1] + ("L" if mode.endswith("B") or (BIG and mode.endswith("N")) else "B")
    args = (other, *tile[3][1:]) if isinstance(tile[3], tuple) else other
    return getattr(type(tile), "_make", tuple)((*tile[:3], args))


def identify(file: IO[bytes], path: str | os.PathLike[str], page: int | None = None) -> Image.Image:
    """The image, at its page, without its pixels; see `open_image`."""
    head = file.read(HEAD)
    if not head:
        raise Unreadable(f"{path}: not an image file: it is empty")
    kind = kind_of(head)
    if kind is CAMERA_RAW or (kind is TIFF and pathlib.Path(path).suffix.lower() in RAW):
        raise Unreadable(f"{path}: {CAMERA_RAW.name} is not read; {CAMERA_RAW.advice}")
    try:
        image = _by_content(file)
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from error
    if image is None and kind is HEIC:
        image = _with_heif(file, path)
    if image is None:
        raise _unknown(path, head)
    if page is not None:
        _turn_to(image, path, page)
    if image.format == "TIFF":
        _check_tiff(image, path)
    return image


def _by_content(file: IO[bytes]) -> Image.Image | None:
    """What `Image.open` does, but for its limit, its warnings and the name's part in it."""
    file.seek(0)
    head = file.read(16)
    tried = set(NOT_READ)
    for load_formats in (Image.preinit, Image.init):  # the common ones, then all
        load_formats()
        for name in [name for name in Image.ID if name not in tried]:
            tried.add(name)
            factory, accepts = Image.OPEN[name]
            # a text says why not
            if accepts is not None and (not (said := accepts(head)) or isinstance(said, str)):
                continue
            file.seek(0)
            with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
                return factory(file, "")
    return None


def _unknown(path: str | os.PathLike[str], head: bytes) -> ValueError:
    kind = kind_of(head)
    if kind is None:
        return Unreadable(f"{path}: not an image file that Pillow can read")
    if kind is AVIF:
        return Unreadable(f"{path}: AVIF needs a newer Pillow: {EXTRA}")
    if kind is TIFF:
        with contextlib.suppress(*BROKEN), open(path, "rb") as file:
            return _unknown_tiff(path, file)
    if not kind.advice:
        return Unreadable(
            f"{path}: not a readable image: {kind.name}, damaged, truncated or of a rare kind"
        )
    if kind.image:
        return Unreadable(f"{path}: {kind.name} is not read; {kind.advice}")
    return Unreadable(f"{path}: not an image file but {kind.name}; {kind.advice}")


def _with_heif(file: IO[bytes], path: str | os.PathLike[str]) -> Image.Image:
    """HEIC by pillow-heif, which is not registered with Pillow: others may not want that."""
    try:
        import pillow_heif
    except ImportError:
        raise Unreadable(f"{path}: HEIC needs {EXTRA}") from None
    file.seek(0)
    try:
        return pillow_heif.open_heif(file, convert_hdr_to_8bit=True).to_pillow()
    except (*BROKEN, RuntimeError) as error:
        raise ValueError(f"{path}: the image is damaged or truncated: {error}") from error


def _check_tiff(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Raise for TIFF that Pillow reads without a word, but wrongly."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if DNG_VERSION in tags:
        raise Unreadable(f"{path}: {CAMERA_RAW.name} is not read; {CAMERA_RAW.advice}")
    bits = tags.get(BITS, (1,))
    signed = set(tags.get(SAMPLE_FORMAT, (1,))) == {2}
    raw = any(tile[0] == "raw" for tile in image.tile)  # type: ignore[attr-defined]
    apart = planes_apart(image) and max(bits) > 8 and raw
    if apart or (signed and max(bits) <= 8):
        raise Unreadable(f"{path}: {_described(tags)} that Pillow does not read")


def planes_apart(image: Image.Image) -> bool:
    """Whether the channels of a TIFF lie one after the other."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(PLANAR, 1) == 2 and tags.get(SAMPLES, 1) > 1


def _unknown_tiff(path: str | os.PathLike[str], file: IO[bytes]) -> ValueError:
    """What to say of a TIFF that Pillow refuses."""
    from PIL import TiffImagePlugin

    # what the plug-in does before it looks at the pixels
    header = file.read(8)
    header += file.read(8) if header[2:4] in (b"+\0", b"\0+") else b""
    tags = TiffImagePlugin.ImageFileDirectory_v2(header)
    file.seek(tags.next)
    tags.load(file)
    if tags[WIDTH] and tags.get(SAMPLES, 1) > 4:
        return too_many_channels(path, tags[SAMPLES])
    return Unreadable(f"{path}: {_described(tags)} that Pillow does not read")


def too_many_channels(path: str | os.PathLike[str], channels: int) -> ValueError:
    """The error for pixels that are no colors."""
    return ValueError(
        f"{path}: {channels} channels in each pixel; expected 1, 3 or 4: choose up to three and "
        "save them as grey or RGB, e.g. with Fiji"
    )


def _described(tags: Any) -> str:
    """Such as "TIFF with 5 channels of 16 bits"."""
    get = tags.get
    channels = get(SAMPLES, 1)
    bits = get(BITS, (1,))
    kinds = {1: "", 2: " signed", 3: " floating-point"}
    kind = kinds.get(get(SAMPLE_FORMAT, (1,))[0], "")
    apart = " one after the other" if get(PLANAR, 1) == 2 and channels > 1 else ""
    plural = "" if channels == 1 else "s"
    return f"TIFF with {channels} channel{plural} of {bits[0]}{kind} bits{apart}"


def _pages(image: Image.Image, path: str | os.PathLike[str]) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: the image is damaged or truncated: {error}") from error


def _remark_pages(image: Image.Image, path: str | os.PathLike[str], page: int | None) -> None:
    # a phone's photo in MPO carries smaller copies of itself
    if page is None and wanted() and image.format != "MPO" and (pages := _pages(image, path)) > 1:
        other = f"--page {min(3, pages)} chooses another"
        remark("pages", path, f"{pages} pages, the first is read; {other}", pages)


def _turn_to(image: Image.Image, path: str | os.PathLike[str], page: int) -> None:
    pages = _pages(image, path)
    if page > pages:
        has = "one page" if pages == 1 else f"{pages} pages"
        raise ValueError(f"{path}: has {has}, so there is no page {page}")
    try:
        image.seek(page - 1)
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: page {page} is damaged: {error}") from error


def _check_size(image: Image.Image, path: str | os.PathLike[str]) -> None:
    width, height = image.size
    pixels = width * height
    if pixels > LARGEST:
        raise ValueError(
            f"{path}: {width} x {height} pixels, more than the {LARGEST // 10**6} million that "
            f"are read at once; {TILES}"
        )
    if pixels > LARGE:
        need = pixels * (BIG_MODES.get(image.mode, 1) + 3)  # the file's pixels, and those of RGB
        free = free_memory()
        if free is not None and need > free:
            raise MemoryError(
                f"{_too_large(image, path)} than the {free / 1e9:.1f} GB free; {TILES}"
            )


def _too_large(image: Image.Image, path: str | os.PathLike[str]) -> str:
    width, height = image.size
    need = width * height * (BIG_MODES.get(image.mode, 1) + 3)
    return f"{path}: {width} x {height} pixels need {need / 1e9:.1f} GB, more"


def free_memory() -> int | None:
    """Bytes that a process can get before others suffer; None where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
