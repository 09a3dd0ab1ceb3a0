"""TIFF of kinds that Pillow does not read, with tifffile where that is installed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.data.image_depth import White, to_eight_bits
from minimask.data.image_kinds import EXTRA
from minimask.data.opening import Unreadable, too_many_channels
from minimask.data.remarks import remark, wanted

ORIENTATION = 274  # a tag


def read_tiff(
    path: str | os.PathLike[str], page: int | None, white: White, why: Unreadable
) -> tuple[np.ndarray, int]:
    """Pixels as 8 bits, and the EXIF orientation.

    Args:
        path: a TIFF file.
        page: from 1; None: the first.
        white: as in `minimask.data.read_image`.
        why: what Pillow could not do.

    Returns:
        (H, W) or (H, W, 3 or 4) uint8, and 1 to 8.

    Raises:
        Unreadable: tifffile is not installed, or cannot read it either.
        ValueError: no such page, damaged pixels, or not 1 to 4 channels.
    """
    with _page(path, page, why) as (chosen, pages):
        values, bits = _channels_last(chosen.asarray(), chosen.axes), chosen.bitspersample
        inverted = chosen.photometric == 0
        orientation = int(chosen.tags.valueof(ORIENTATION, default=1))
    if page is None and pages > 1 and wanted():
        text = f"{pages} pages, the first is read; --page {min(3, pages)} chooses another"
        remark("pages", path, text, pages)
    return _eight_bits(values, bits, inverted, path, white), orientation


def tiff_size(
    path: str | os.PathLike[str], page: int | None, why: Unreadable
) -> tuple[int, int, int]:
    """Height and width as they lie in the file, and the EXIF orientation; see `read_tiff`."""
    with _page(path, page, why) as (chosen, _):
        orientation = int(chosen.tags.valueof(ORIENTATION, default=1))
        return int(chosen.imagelength), int(chosen.imagewidth), orientation


@contextlib.contextmanager
def _page(
    path: str | os.PathLike[str], page: int | None, why: Unreadable
) -> Iterator[tuple[Any, int]]:
    """A page of a TIFF file, and how many there are."""
    try:
        import tifffile
    except ImportError:
        raise Unreadable(f"{why}; {EXTRA} reads more kinds") from None
    try:
        with tifffile.TiffFile(path) as file:
            pages = len(file.pages)
            if page is not None and page > pages:
                raise ValueError(f"has {pages} pages, so there is no page {page}")
            yield file.pages[(page or 1) - 1], pages
    except Exception as error:  # of many kinds, none of them promised
        raise Unreadable(f"{path}: {error}") from error


def _channels_last(values: np.ndarray, axes: str) -> np.ndarray:
    channel = axes.find("S")
    return np.moveaxis(values, channel, -1) if channel >= 0 else values


def _eight_bits(
    values: np.ndarray, bits: int, inverted: bool, path: str | os.PathLike[str], white: White
) -> np.ndarray:
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels > 4:
        raise too_many_channels(path, channels)
    if channels == 2:
        if wanted():
            remark("channels", path, "2 channels, the first is read", 2)
        values = values[:, :, 0]
    if inverted and values.dtype.kind == "u":
        values = 2**bits - 1 - values
    if values.dtype == np.uint8:
        return values
    meant = 2**bits - 1 if 8 < bits < 16 else None
    color, alpha = (values, None) if channels < 4 else (values[..., :3], values[..., 3])
    scaled = to_eight_bits(color, path, white, meant)
    if alpha is None:
        return scaled
    full = 1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    return np.dstack([scaled, np.clip(alpha / full * 255, 0, 255).astype(np.uint8)])
