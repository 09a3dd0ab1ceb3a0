"""Pixels of more than 8 bits as 8: which value is white?"""

# H, W height and width of the image   C channels

from __future__ import annotations

import os
from typing import IO, Any, Literal

import numpy as np
from PIL import Image

from minimask.data.remarks import remark, wanted

White = int | Literal["auto"] | None

FULL = 65535
BRIGHT = 0.999  # of the pixels are no brighter than white="auto"
ENOUGH = 4_000_000  # values that tell where that is
DARK = 8  # times below white, the brightest value makes a picture nearly black
PHOTOMETRIC, BITS, MOST = 262, 258, 281  # tags of TIFF


def check_white(white: object) -> None:
    """Raise ValueError unless `white` is a whole number above 0, "auto" or None."""
    if white is None or white == "auto":
        return
    if not isinstance(white, int | np.integer) or isinstance(white, bool) or white < 1:
        raise ValueError(
            f"white: expected a whole number above 0, such as 4095, or 'auto', got {white!r}"
        )


def to_eight_bits(
    values: np.ndarray, path: str | os.PathLike[str], white: White, meant: int | None = None
) -> np.ndarray:
    """Values scaled so that white becomes 255.

    Args:
        values: (H, W) or (H, W, C), any numbers.
        path: for messages.
        white: from the user; see `minimask.data.read_image`.
        meant: the white that the file itself gives; None: 65535.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: floating-point, negative or larger numbers, without `white`.
    """
    if values.dtype.kind == "f":
        if white is None:
            low, high = _range(values)
            raise ValueError(
                f"{path}: holds floating-point values, {low:.4g} to {high:.4g}; say which is "
                f"white: --white {max(1, round(high))}, or --white auto for the image's own"
            )
        values = np.nan_to_num(values, nan=0.0)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if white is None and (low < 0 or high > FULL):
        raise ValueError(
            f"{path}: values from {low} to {high}; expected 8 or 16 bits. Say which is white: "
            "--white VALUE, or --white auto for the image's own"
        )
    if white is None and meant is None and 0 < high < FULL // DARK and wanted():
        remark_dark(path, int(high))
    black = min(0, low) if white == "auto" else 0
    top = _own_white(values, black, high) if white == "auto" else (white or meant or FULL)
    if isinstance(white, int) and wanted():
        _remark_white(values, path, white, float(high))
    return _scaled(values, black, top, low, high)


def _range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def remark_dark(path: str | os.PathLike[str], brightest: int) -> None:
    """Say that a 16-bit image comes out nearly black, and which white would be likelier."""
    likely = 2 ** int(brightest).bit_length() - 1
    text = f"16-bit image whose brightest value is {brightest}, so it is nearly black; say"
    remark("dark", path, f"{text} --white {likely}", brightest)


def _remark_white(
    values: np.ndarray, path: str | os.PathLike[str], white: int, high: float
) -> None:
    """Say that a white that was given does not suit an image."""
    told = f"its brightest value is {high:.6g}"
    if high > white and np.mean(values >= white) > 0.5:
        remark("white", path, f"more than half of it is white with --white {white}: {told}", high)
    elif 0 < high * DARK**2 < white:
        remark("black", path, f"nearly black with --white {white}: {told}", high)


def _own_white(values: np.ndarray, black: Any, high: Any) -> Any:
    """The value that 99.9 % of the pixels do not exceed, but above black."""
    flat = values.reshape(-1)
    some = flat[:: max(1, len(flat) // ENOUGH)]
    white = np.quantile(some, BRIGHT, method="higher") if len(some) else 1
    return next((value for value in (white, high) if value > black), black + 1)


def _scaled(values: np.ndarray, black: Any, white: Any, low: Any, high: Any) -> np.ndarray:
    if values.dtype.kind in "iub" and low >= 0 and high <= FULL:
        table = np.arange(FULL + 1, dtype=np.int64)
        table = np.minimum((table * 255 + int(white) // 2) // int(white), 255).astype(np.uint8)
        return table[values]
    scaled = np.empty(values.shape, np.uint8)
    for row, line in zip(scaled, values, strict=True):  # by rows: as doubles, all are too many
        share = (line.astype(np.float64) - float(black)) / (float(white) - float(black))
        row[:] = np.clip(np.floor(share * 255 + 0.5), 0, 255)
    return scaled


def meant_white(image: Image.Image, file: IO[bytes], values: np.ndarray) -> int | None:
    """The white that a file itself gives: 12 bits, a largest sample, significant bits.

    Args:
        image: as opened.
        file: its file, for what Pillow does not keep.
        values: its pixels.
    """
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = max(tags.get(BITS, (16,)))
        most = tags.get(MOST)
        most = max(most) if isinstance(most, tuple) else most
        if 8 < bits < 16:
            return int(2**bits - 1)
        if most and 255 < most < FULL:
            # some write the brightest pixel there, not the camera's largest value
            return int(2 ** int(most).bit_length() - 1)
    if image.format == "PNG":
        bits = _significant_bits(file)
        # files that keep to the standard shift values up, and these bits are the upper ones
        if 8 < bits < 16 and values.max(initial=0) < 2**bits and (values % 2 ** (16 - bits)).any():
            return int(2**bits - 1)
    return None


def _significant_bits(file: IO[bytes]) -> int:
    """Of a PNG file; 0: it does not say."""
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"sBIT":
            return max(file.read(length)[:3], default=0)
        file.seek(length + 4, os.SEEK_CUR)
    return 0


def white_is_zero(image: Image.Image) -> bool:
    """Whether a grey TIFF counts from white to black; Pillow turns only 8 bits around."""
    return image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0  # type: ignore[attr-defined]
