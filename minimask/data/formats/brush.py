"""The run lengths of Label Studio's brush, which are not COCO's.

Bits from the highest of each byte on: 32 for the number of values, 5 for the bits of a value less
one, four times 4 for the bits of a length less one; then blocks.  A block begins with one bit (1:
one value repeated, 0: values one by one), two bits that choose one of the four sizes, and the
length less one in as many bits.  The values are the bytes of an RGBA image, row by row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minimask.data.annotations import NoArea
from minimask.data.formats.outlines import check_pixels
from minimask.data.json_files import kind_of

CUT_OFF = "rle: cut off"


def brush_mask(rle: Any, height: int, width: int) -> np.ndarray:
    """The mask of a brush stroke: where it covers at least half.

    Args:
        rle: bytes as a list of numbers.
        height: of the image.
        width: the same.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: it is none, or of an image of another size.
    """
    check_pixels(height, width)
    if not isinstance(rle, list) or not all(type(v) is int and 0 <= v < 256 for v in rle):
        raise ValueError(f"rle: expected a list of whole numbers from 0 to 255, got {kind_of(rle)}")
    bits = np.unpackbits(np.array(rle, np.uint8))
    text = (bits + 48).tobytes().decode("ascii")  # "0" and "1": int() reads a slice at once
    if len(text) < 53:
        raise ValueError(CUT_OFF)
    values, bits_of_value = int(text[:32], 2), int(text[32:37], 2) + 1
    if values != 4 * height * width or bits_of_value != 8:
        raise ValueError(
            f"rle: {values} values of {bits_of_value} bits; an image of {width} x {height} has "
            f"{4 * height * width} of 8"
        )
    mask = _unpacked(bits, text, values)[3::4].reshape(height, width) >= 128
    if not mask.any():
        raise NoArea("an empty mask")
    return mask


def _unpacked(bits: np.ndarray, text: str, values: int) -> np.ndarray:
    """All values; (values,) uint8."""
    sizes = [int(text[i : i + 4], 2) + 1 for i in (37, 41, 45, 49)]
    result = np.zeros(values, np.uint8)
    at, filled = 53, 0
    while filled < values:
        if at + 3 > len(text):
            raise ValueError(CUT_OFF)
        repeated, size = text[at] == "1", sizes[int(text[at + 1 : at + 3], 2)]
        start = at + 3 + size
        if start > len(text):
            raise ValueError(CUT_OFF)
        length = int(text[at + 3 : start], 2) + 1
        at = start + (8 if repeated else 8 * length)
        if at > len(text):
            raise ValueError(CUT_OFF)
        if filled + length > values:
            raise ValueError("rle: more values than the image has")
        result[filled : filled + length] = np.packbits(bits[start:at])
        filled += length
    return result
