"""The list of members of a zip archive, read without believing it.

Python's `zipfile` raises a dozen kinds of errors on damaged archives and takes memory for every
member that the list claims to have.  Files of weights use a small part of the format, of which
every number is checked against the file here.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from minimask.weights.readers.contents import UnsafeFileError, short
from minimask.weights.readers.numbers import CHUNK

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
ENTRY = struct.Struct("<4s4B4HL2L5H2L")
LOCAL = struct.Struct("<4s2B4HL2L2H")
MOST_MEMBERS = 20_000
STORED, DEFLATED = 0, 8
ENCRYPTED = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive.

    Attributes:
        name: as in the list.
        method: 0 stored, 8 deflated.
        crc: checksum of its bytes.
        packed: bytes that it takes in the archive.
        size: bytes that it has.
        offset: of its first byte in the archive.
    """

    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def damaged(words: str) -> ValueError:
    """The error of a zip archive that is not whole."""
    return ValueError(f"damaged archive: {words}")


def read_directory(file: IO[bytes]) -> dict[str, Member]:
    """The members of an archive by name, each known to lie inside the file.

    Raises:
        UnsafeFileError: encrypted or overlapping members, or far too many.
        ValueError: damaged or cut off.
    """
    size = file.seek(0, os.SEEK_END)
    begin, length, count = _end(file, size)
    if count > MOST_MEMBERS or length > MOST_MEMBERS * 200:
        raise UnsafeFileError(f"an archive of {count} members; networks have a few thousand")
    if begin + length > size:
        raise damaged("its list of members lies outside of it")
    file.seek(begin)
    raw = file.read(length)
    members: dict[str, Member] = {}
    at = 0
    for _ in range(count):
        member, at = _entry(file, raw, at, size)
        if member.name in members:
            raise damaged(f"two members {short(member.name)!r}")
        members[member.name] = member
    _refuse_overlaps(members)
    return members


def _end(file: IO[bytes], size: int) -> tuple[int, int, int]:
    """Where the list of members begins, its bytes, and how many it has."""
    tail = min(size, END.size + 65535)
    file.seek(size - tail)
    raw = file.read(tail)
    at = raw.rfind(b"PK\x05\x06")
    if at < 0 or len(raw) - at < END.size:
        raise damaged("its list of members is missing; the file is cut off, download it again")
    _, disk, _, _, count, length, begin, _ = END.unpack_from(raw, at)
    if disk not in (0, 0xFFFF):
        raise damaged("one part of several")
    at += size - tail
    if 0xFFFFFFFF not in (begin, length) and count != 0xFFFF:
        return begin, length, count
    if at < LOCATOR.size:
        raise damaged("the end of its list of members is missing")
    file.seek(at - LOCATOR.size)
    mark, _, place, _ = LOCATOR.unpack(file.read(LOCATOR.size))
    if mark != b"PK\x06\x07":
        return begin, length, count
    if place + END64.size > size:
        raise damaged("its list of members lies outside of it")
    file.seek(place)
    mark, *_, count, length, begin = END64.unpack(file.read(END64.size))
    if mark != b"PK\x06\x06":
        raise damaged("the end of its list of members is missing")
    return begin, length, count


def _entry(file: IO[bytes], raw: bytes, at: int, size: int) -> tuple[Member, int]:
    """The member at a place of the list, and the place behind it."""
    if at + ENTRY.size > len(raw):
        raise damaged("its list of members is cut off")
    mark, _, _, _, _, flags, method, _, _, crc, packed, full, n, extra, comment, *_, place = (
        ENTRY.unpack_from(raw, at)
    )
    at += ENTRY.size
    if mark != b"PK\x01\x02" or at + n + extra + comment > len(raw):
        raise damaged("its list of members is not one")
    try:
        name = raw[at : at + n].decode("utf-8")
    except UnicodeDecodeError:
        raise damaged("a member whose name is no text") from None
    if 0xFFFFFFFF in (packed, full, place):
        sizes = _large(raw[at + n : at + n + extra], full, packed, place)
        full, packed, place = sizes
    if flags & ENCRYPTED:
        raise UnsafeFileError(f"its member {short(name)!r} is encrypted")
    if method not in (STORED, DEFLATED):
        raise damaged(f"{short(name)!r} is compressed by a method that is not known ({method})")
    if method == STORED and packed != full:
        raise damaged(f"{short(name)!r} has two sizes, {packed} and {full}")
    begin = _data(file, place, name, size)
    if begin + packed > size:
        raise damaged(f"{short(name)!r} reaches beyond the end; the file is cut off")
    return Member(name, method, crc, packed, full, begin), at + n + extra + comment


def _large(extra: bytes, full: int, packed: int, place: int) -> tuple[int, int, int]:
    """Sizes of more than 32 bits, which are in a field of their own."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == 1 and at + length <= len(extra):
            numbers = [extra[i : i + 8] for i in range(at, at + length - 7, 8)]
            values = iter([int.from_bytes(number, "little") for number in numbers])
            found = [next(values, -1) if v == 0xFFFFFFFF else v for v in (full, packed, place)]
            if -1 not in found:
                return found[0], found[1], found[2]
        at += length
    raise damaged("a member without a size")


def _data(file: IO[bytes], place: int, name: str, size: int) -> int:
    """Where a member's bytes begin, behind its own head."""
    if place + LOCAL.size > size:
        raise damaged(f"{short(name)!r} lies outside of it")
    file.seek(place)
    mark, *_, n, extra = LOCAL.unpack(file.read(LOCAL.size))
    if mark != b"PK\x03\x04":
        raise damaged(f"{short(name)!r} is not where the list says")
    return place + LOCAL.size + n + extra


def _refuse_overlaps(members: dict[str, Member]) -> None:
    end = 0
    for member in sorted(members.values(), key=lambda m: (m.offset, m.packed)):
        if member.packed and member.offset < end:
            raise UnsafeFileError(f"{short(member.name)!r} shares its bytes with another member")
        end = max(end, member.offset + member.packed)


def check_crc(file: IO[bytes], member: Member) -> None:
    """Compare a stored member with its checksum, a piece at a time.

    Raises:
        ValueError: they differ.
    """
    file.seek(member.offset)
    crc, left = 0, member.size
    while left:
        piece = file.read(min(left, CHUNK))
        if not piece:
            raise damaged(f"{short(member.name)!r} is cut off")
        crc = zlib.crc32(piece, crc)
        left -= len(piece)
    _compare(member, crc)


def read_member(file: IO[bytes], member: Member, most: int) -> bytes:
    """All bytes of a member of at most `most`, stored or deflated.

    Raises:
        UnsafeFileError: it is larger.
        ValueError: damaged.
    """
    if member.size > most:
        raise UnsafeFileError(f"its {short(member.name)!r} has {member.size} bytes")
    file.seek(member.offset)
    if member.method == STORED:
        raw = file.read(member.size)
    else:
        raw = b"".join(inflated(file, member))
    _compare(member, zlib.crc32(raw))
    return raw


def inflated(file: IO[bytes], member: Member) -> Iterator[bytes]:
    """The pieces of a deflated member, together as long as it is said to be.

    Raises:
        ValueError: damaged, or more or fewer bytes.
    """
    unpacker = zlib.decompressobj(-15)
    place, left, out = member.offset, member.packed, 0
    crc, pending = 0, b""
    while not unpacker.eof:
        if not pending:
            file.seek(place)
            pending = file.read(min(left, CHUNK))
            place, left = place + len(pending), left - len(pending)
        try:  # without new bytes it may still have some to give
            piece = unpacker.decompress(pending, CHUNK)
        except zlib.error as error:
            raise damaged(f"{short(member.name)!r}: {error}") from None
        if not pending and not piece:
            break
        pending = unpacker.unconsumed_tail
        out += len(piece)
        if out > member.size:
            break
        crc = zlib.crc32(piece, crc)
        yield piece
    if out != member.size:
        raise damaged(f"{short(member.name)!r} does not have the {member.size} bytes of its list")
    _compare(member, crc)


def _compare(member: Member, crc: int) -> None:
    if crc != member.crc:
        raise damaged(f"Bad CRC-32 of {short(member.name)!r}")
