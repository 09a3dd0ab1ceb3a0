"""torch's archives (1.6 and later): a pickle that describes the tensors, and a member of each."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

from minimask.weights.readers.beside import plain_beside
from minimask.weights.readers.contents import FileContents, UnsafeFileError, short
from minimask.weights.readers.described import Storage
from minimask.weights.readers.machine import Machine
from minimask.weights.readers.state_dict import arrays_of, find_tensors
from minimask.weights.readers.zip_directory import (
    STORED,
    Member,
    check_crc,
    read_directory,
    read_member,
)

LARGEST_PICKLE = 8 << 20  # bytes; the names and shapes of a network need far less


def read_torch_zip(path: Path) -> FileContents:
    """All tensors of a `.pth` archive by name.

    Raises:
        UnsafeFileError: it asks for more than tensors.
        ValueError: damaged, or several pickles.
    """
    with path.open("rb") as file:
        members = read_directory(file)
        pickles = [n for n in members if n.endswith("/data.pkl") or n == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"expected one data.pkl in the archive, found {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        raw = read_member(file, _stored(members[pickles[0]]), LARGEST_PICKLE)
        order = b"little"
        if f"{root}byteorder" in members:
            order = read_member(file, _stored(members[f"{root}byteorder"]), 16)
        machine = Machine()
        content = machine.run(io.BytesIO(raw), len(raw))
        tensors, remarks = find_tensors(content, machine.asked)
        checked: set[str] = set()

        def locate(storage: Storage) -> tuple[IO[bytes], int, bool]:
            name = f"{root}data/{storage.key}"
            member = members.get(name)
            found = "no" if member is None else member.size
            if member is None or found != storage.size:
                raise ValueError(f"{short(name)}: expected {storage.size} bytes, found {found}")
            if name not in checked:
                check_crc(file, _stored(member))
                checked.add(name)
            return file, member.offset, order == b"big"

        arrays = arrays_of(tensors, locate, path.stat().st_size)
    return FileContents("torch", arrays, remarks=tuple(remarks), about=plain_beside(content))


def _stored(member: Member) -> Member:
    if member.method != STORED:
        raise UnsafeFileError(f"{short(member.name)} is compressed, which torch never does")
    return member
