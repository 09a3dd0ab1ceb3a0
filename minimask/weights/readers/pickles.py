"""Files that begin with a pickle: arrays of NumPy, and the layout of torch before 1.6."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

from minimask.weights.readers.beside import plain_beside
from minimask.weights.readers.contents import FileContents, short
from minimask.weights.readers.described import Storage
from minimask.weights.readers.machine import Machine
from minimask.weights.readers.state_dict import arrays_of, find_tensors

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001


def read_pickle(path: Path) -> FileContents:
    """All arrays of a file that begins with a pickle, by name.

    Raises:
        UnsafeFileError: it asks for more than arrays.
        ValueError: damaged, or no dict of arrays.
    """
    size = path.stat().st_size
    machine = Machine()
    with path.open("rb") as file:
        content = machine.run(file, size)
        if type(content) is int and content == LEGACY_MAGIC:
            return _read_legacy(file, size, machine)
        tensors, remarks = find_tensors(content, machine.asked)
        arrays = arrays_of(tensors, None, size)
    return FileContents("pickle", arrays, remarks=tuple(remarks), about=plain_beside(content))


def _read_legacy(file: IO[bytes], size: int, machine: Machine) -> FileContents:
    """The rest of a file of torch's old layout: three pickles, the keys, then all numbers."""
    version, system, content = (machine.run(file, size) for _ in range(3))
    if version != LEGACY_VERSION or not isinstance(system, dict):
        raise ValueError(f"version {short(version)!r} of torch's old layout is not known")
    keys = machine.run(file, size)
    big_endian = not system.get("little_endian", sys.byteorder == "little")
    tensors, remarks = find_tensors(content, machine.asked)
    places = _places(file, size, keys, machine.storages, big_endian)

    def locate(storage: Storage) -> tuple[IO[bytes], int, bool]:
        if storage.key not in places:
            raise ValueError(f"storage {short(storage.key)!r} is without numbers")
        return file, places[storage.key], big_endian

    arrays = arrays_of(tensors, locate, size)
    about = plain_beside(content)
    return FileContents("torch (old layout)", arrays, remarks=tuple(remarks), about=about)


def _places(
    file: IO[bytes], size: int, keys: Any, storages: dict[str, Storage], big_endian: bool
) -> dict[str, int]:
    """Where each storage's numbers begin; all of them lie in the file."""
    if not isinstance(keys, list):
        raise ValueError("damaged: the list of storages is none")
    places: dict[str, int] = {}
    at = file.tell()
    for key in keys:
        storage = storages.get(str(key)) if isinstance(key, str | int) else None
        if storage is None:
            raise ValueError(f"storage {short(key)!r} does not belong to any tensor")
        file.seek(at)
        count = int.from_bytes(file.read(8), "big" if big_endian else "little")
        if count != storage.count:
            raise ValueError(f"storage {short(key)!r}: {count} numbers, expected {storage.count}")
        at += 8
        if storage.size > size - at:
            left = max(0, size - at)
            raise ValueError(
                f"truncated: storage {short(key)!r} has {left} of its {storage.size} bytes"
            )
        places[storage.key] = at
        at += storage.size
    return places
