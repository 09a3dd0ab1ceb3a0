"""Runs of numbers in a file, read straight into the memory of the array that they become."""

from __future__ import annotations

import sys
from typing import IO

import numpy as np

from minimask.weights.readers.contents import count_of

BFLOAT16 = "bfloat16"  # the upper half of a float32, to which it is widened
CHUNK = 1 << 20  # bytes


def itemsize(code: str) -> int:
    """Bytes of one number in the file.

    Args:
        code: as NumPy's without byte order, such as "f4"; or "bfloat16".
    """
    return 2 if code == BFLOAT16 else np.dtype(code).itemsize


def read_array(
    file: IO[bytes], shape: tuple[int, ...], code: str, *, big_endian: bool = False
) -> np.ndarray:
    """An array from the file's present position, in the machine's byte order, with own memory.

    The caller has checked that so many bytes are there.

    Args:
        file: open for reading.
        shape: checked.
        code: as for `itemsize`.
        big_endian: the file's byte order.

    Raises:
        ValueError: the file ends before.
    """
    if code == BFLOAT16:
        return _widened(file, shape, big_endian)
    if code == "?":  # any byte but 0 is true; NumPy expects 1
        return read_array(file, shape, "u1") != 0
    array = np.empty(shape, np.dtype(code))
    if array.size:
        fill(file, array.reshape(-1).view(np.uint8).data)
    if array.itemsize > 1 and big_endian != (sys.byteorder == "big"):
        array.byteswap(inplace=True)
    return array


def fill(file: IO[bytes], memory: memoryview) -> None:
    """Read as many bytes as the memory has.

    Raises:
        ValueError: the file ends before.
    """
    done = 0
    while done < len(memory):
        read = file.readinto(memory[done:])  # type: ignore[attr-defined]
        if not read:
            raise ValueError(f"truncated: {len(memory) - done} bytes are missing")
        done += read


def _widened(file: IO[bytes], shape: tuple[int, ...], big_endian: bool) -> np.ndarray:
    """Float32 of a run of bfloat16, a piece at a time."""
    array = np.empty(shape, np.uint32)
    flat = array.reshape(-1)
    for begin in range(0, count_of(shape), CHUNK // 2):
        piece = flat[begin : begin + CHUNK // 2]
        raw = np.empty(len(piece), ">u2" if big_endian else "<u2")
        fill(file, raw.view(np.uint8).data)
        piece[:] = raw
        piece <<= 16
    return array.view(np.float32)
