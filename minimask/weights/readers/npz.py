"""NumPy's archives of arrays, also compressed ones, without NumPy's way of unpickling objects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from minimask.weights.readers.contents import (
    FileContents,
    UnsafeFileError,
    check_names,
    checked_shape,
    count_of,
    short,
)
from minimask.weights.readers.numbers import fill, read_array
from minimask.weights.readers.zip_directory import (
    STORED,
    Member,
    check_crc,
    damaged,
    inflated,
    read_directory,
)

MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 10_000
# arrays of a compressed archive may be larger than the file, but not by as much as they like
INFLATION, INFLATION_FLOOR = 2, 32 << 20
DESCR = re.compile(r"""["']descr["']\s*:\s*["']([<>|=]?)([a-zA-Z?]\d*)["']""")
OTHER_DESCR = re.compile(r"""["']descr["']\s*:\s*(.{0,40})""", re.DOTALL)
FORTRAN = re.compile(r"""["']fortran_order["']\s*:\s*(True|False)""")
SHAPE = re.compile(r"""["']shape["']\s*:\s*\(([\d,\sL]*)\)""")


def read_npz(path: Path) -> FileContents:
    """All arrays of an archive.

    Raises:
        UnsafeFileError: Python objects, or far more bytes than the file has.
        ValueError: damaged.
    """
    with path.open("rb") as file:
        members = {n: m for n, m in read_directory(file).items() if n.endswith(".npy")}
        check_names(name.removesuffix(".npy") for name in members)
        size = path.stat().st_size
        total = sum(member.size for member in members.values())
        if total > max(INFLATION * size, INFLATION_FLOOR):
            raise UnsafeFileError(f"{size} bytes that would become {total}: too much is compressed")
        arrays = {n.removesuffix(".npy"): _read(file, m) for n, m in members.items()}
    return FileContents("npz", arrays)


def _read(file: IO[bytes], member: Member) -> np.ndarray:
    stream: IO[bytes] = _Inflated(inflated(file, member))  # type: ignore[assignment]
    if member.method == STORED:
        check_crc(file, member)
        file.seek(member.offset)
        stream = file
    header, length = _header(stream, member.size)
    code, big_endian, fortran, shape = _described(header, member.name)
    wanted = count_of(shape) * np.dtype(code).itemsize
    if wanted != member.size - length:
        raise damaged(f"{short(member.name)!r} has {member.size - length} bytes, not {wanted}")
    values = read_array(stream, shape[::-1] if fortran else shape, code, big_endian=big_endian)
    if isinstance(stream, _Inflated):
        stream.finish()
    return np.array(values.T, order="C") if fortran else values


class _Inflated:
    """A deflated member as a file that is read once."""

    def __init__(self, pieces: Iterator[bytes]):
        self.pieces, self.rest = pieces, memoryview(b"")

    def readinto(self, memory: memoryview) -> int:
        """As many bytes as are at hand and fit."""
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.rest = memoryview(piece)
        count = min(len(self.rest), len(memory))
        memory[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count

    def finish(self) -> None:
        """Go on to the end, where length and checksum are compared."""
        for _ in self.pieces:
            pass


def _header(stream: IO[bytes], size: int) -> tuple[str, int]:
    """The text that describes an array, and the bytes up to its end."""
    start = _exactly(stream, min(10, size))
    if start[:6] != MAGIC or len(start) < 10 or start[6] not in (1, 2, 3):
        raise damaged("a member that is no array of NumPy")
    length, done = int.from_bytes(start[8:10], "little"), 10
    if start[6] > 1:
        length, done = int.from_bytes(start[8:10] + _exactly(stream, 2), "little"), 12
    if length > min(LONGEST_HEADER, size - done):
        raise damaged(f"an array whose description has {length} bytes")
    return _exactly(stream, length).decode("latin1"), done + length


def _exactly(stream: IO[bytes], count: int) -> bytes:
    raw = bytearray(count)
    if count:
        fill(stream, memoryview(raw))
    return bytes(raw)


def _described(header: str, name: str) -> tuple[str, bool, bool, tuple[int, ...]]:
    """Kind of number, whether big-endian, whether the first axis is the innermost, and shape."""
    descr, order, shape = (p.search(header) for p in (DESCR, FORTRAN, SHAPE))
    if descr is None or descr[2][0] not in "fiubc?":
        other = descr or OTHER_DESCR.search(header)
        if other is not None and "O" in other[0]:
            raise UnsafeFileError(
                f"{short(name)!r} has pickled Python objects, which are never loaded"
            )
        raise ValueError(
            f"{short(name)!r} holds no plain numbers ({short(other[0]) if other else '?'})"
        )
    if order is None or shape is None:
        raise damaged(f"{short(name)!r} has no description")
    sizes = [part.strip().removesuffix("L") for part in shape[1].split(",")]
    numbers = [part for part in sizes if part]
    if any(not part.isdecimal() or len(part) > 19 for part in numbers):
        raise damaged(f"{short(name)!r} has no shape")
    try:
        np.dtype(descr[2])
    except TypeError:
        raise damaged(f"{short(name)!r} holds {descr[2]!r}, which are no numbers") from None
    return descr[2], descr[1] == ">", order[1] == "True", checked_shape(tuple(map(int, numbers)))
