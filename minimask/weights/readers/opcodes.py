"""The instructions of a pickle, looked at before any of them is followed.

A pickle is a program for a small machine with a stack.  Files of weights use a part of its
instructions; all others are refused here, as are sizes and places that the file does not have.
"""

from __future__ import annotations

import codecs
import struct
import warnings
from collections.abc import Iterator
from typing import IO, Any

from minimask.weights.readers.contents import UnsafeFileError, short

SHORT = 4096  # bytes; longer strings stay in the file until they are needed
LONGEST_LINE = 256
# Each instruction builds at most some 200 bytes, so these keep within what a file may cost
FEWEST_ALLOWED, BYTES_EACH = 200_000, 100
FEWEST_CHARACTERS = 4 << 20  # of short strings, each of which may take four bytes

PLAIN = b"(.012N\x88\x89]ael)t\x85\x86\x87}dsuRbQ\x81\x92\x8f\x90\x91\x93\x94"
FIXED = {  # with a number of fixed size behind them
    "K": "<B", "q": "<B", "h": "<B", "\x80": "<B", "M": "<H", "J": "<i", "r": "<I", "j": "<I",
    "\x95": "<Q", "G": ">d",
}  # fmt: skip
NUMBERS = {ord(code): struct.Struct(layout) for code, layout in FIXED.items()}
COUNTED = {  # with a string behind them: the bytes of its length, and what it is
    "U": (1, "latin1"), "T": (4, "latin1"), "X": (4, "utf8"), "\x8c": (1, "utf8"),
    "\x8d": (8, "utf8"), "C": (1, "bytes"), "B": (4, "bytes"), "\x8e": (8, "bytes"),
    "\x96": (8, "bytes"), "\x8a": (1, "long"), "\x8b": (4, "long"),
}  # fmt: skip
STRINGS = {ord(code): about for code, about in COUNTED.items()}
LINES = b"ILFpg"  # with a number written as text
TEXTS = {ord("S"): "escaped", ord("V"): "raw"}  # the strings of protocol 0
GLOBAL = ord("c")
REFUSED = {
    ord("P"): "PERSID", ord("i"): "INST", ord("o"): "OBJ", 0x82: "EXT1", 0x83: "EXT2",
    0x84: "EXT4", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}  # fmt: skip
STOP = ord(".")
PUTS = b"qrp"
OPENS, CLOSES = ord("("), b"letdu1\x90\x91"


class Span:
    """A long string that is still in the file.

    Attributes:
        length: its bytes in the file.
        kind: "bytes", "latin1", "utf8" (text of characters up to 255, each of which is a byte),
            "escaped" (as in a Python program) or "raw".
    """

    __slots__ = ("file", "kind", "length", "offset")

    def __init__(self, file: IO[bytes], offset: int, length: int, kind: str):
        self.file, self.offset, self.length, self.kind = file, offset, length, kind

    def open(self) -> IO[bytes] | None:
        """The file at the first byte, where its bytes are the string's; None: see `read`."""
        if self.kind not in ("bytes", "latin1"):
            return None
        self.file.seek(self.offset)
        return self.file

    def read(self) -> bytes:
        """The bytes that the string stands for."""
        self.file.seek(self.offset)
        return as_bytes(decoded(self.file.read(self.length), self.kind))


def as_bytes(value: bytes | str) -> bytes:
    """Bytes, also those that Python 2 or an old protocol wrote as text."""
    try:
        return value if isinstance(value, bytes) else value.encode("latin1")
    except UnicodeEncodeError:
        raise ValueError("damaged pickle: text where there should be bytes") from None


def decoded(raw: bytes, kind: str) -> bytes | str:
    """A string of one of the kinds of `Span`.

    Raises:
        ValueError: damaged.
    """
    try:
        if kind == "utf8":
            return raw.decode("utf-8", "surrogatepass")
        if kind == "raw":
            return raw.decode("raw-unicode-escape")
        if kind == "escaped":
            if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"'):
                raise ValueError("no quotes")
            with warnings.catch_warnings():  # about escapes that Python 2 did not know either
                warnings.simplefilter("ignore")
                raw = codecs.escape_decode(raw[1:-1])[0]
        return raw if kind == "bytes" else raw.decode("latin1")
    except ValueError as error:
        raise ValueError(f"damaged pickle: text that is none ({error})") from None


def scan(file: IO[bytes], end: int) -> int:
    """Look at every instruction of the pickle that begins at the file's position.

    Args:
        file: open for reading; left where it was.
        end: the position that the pickle cannot go beyond.

    Returns:
        How many instructions a pickle of this size may have.

    Raises:
        UnsafeFileError: an instruction that no file of weights needs, or far too many.
        ValueError: damaged.
    """
    start = file.tell()
    most = FEWEST_ALLOWED + (end - start) // BYTES_EACH
    longest = FEWEST_CHARACTERS + (end - start) // 4
    done, open_marks, characters = 0, 0, 0
    for code, argument in instructions(file, end):
        done += 1
        if done > most:
            raise UnsafeFileError(f"a pickle of more than {most} instructions")
        characters += len(argument) if isinstance(argument, str | bytes) else 0
        if characters > longest:
            raise UnsafeFileError(f"a pickle of more than {longest} characters of text")
        if code == OPENS:
            open_marks += 1
        elif code in CLOSES:
            open_marks -= 1
        elif code in PUTS and not 0 <= argument <= most:
            raise UnsafeFileError(f"a pickle that counts its objects from {short(argument)}")
        if not 0 <= open_marks <= 1000:
            raise ValueError("damaged pickle: its brackets do not close")
    file.seek(start)
    return most


def instructions(file: IO[bytes], end: int) -> Iterator[tuple[int, Any]]:
    """Each instruction's code and argument, up to STOP; the file is then behind it.

    Raises:
        UnsafeFileError: an instruction that no file of weights needs.
        ValueError: damaged or cut off.
    """
    at = file.tell()
    while True:
        code = _exactly(file, 1, end - at)[0]
        at += 1
        if code in PLAIN:
            argument: Any = None
        elif code in NUMBERS:
            layout = NUMBERS[code]
            argument = layout.unpack(_exactly(file, layout.size, end - at))[0]
            at += layout.size
        elif code in STRINGS:
            size, kind = STRINGS[code]
            length = int.from_bytes(_exactly(file, size, end - at), "little")
            at += size
            if length > end - at:
                raise ValueError(f"damaged pickle: a string of {length} bytes, {end - at} are left")
            argument = _string(file, at, length, kind)
            at += length
            file.seek(at)
        elif code in TEXTS:
            length = _line_length(file, end - at)
            argument = _string(file, at, length, TEXTS[code])
            at += length + 1
            file.seek(at)
        elif code in LINES or code == GLOBAL:
            lines = [_line(file, end - at) for _ in range(2 if code == GLOBAL else 1)]
            at += sum(len(line) + 1 for line in lines)
            argument = tuple(map(_text, lines)) if code == GLOBAL else _number(code, lines[0])
        elif code in REFUSED:
            raise UnsafeFileError(
                f"its pickle has the instruction {REFUSED[code]}, which no file of weights needs"
            )
        else:
            raise ValueError(f"damaged pickle: {code:#04x} is no instruction")
        yield code, argument
        if code == STOP:
            return


def _exactly(file: IO[bytes], count: int, left: int) -> bytes:
    raw = file.read(count) if count <= left else b""
    if len(raw) != count:
        raise ValueError("damaged pickle: it is cut off")
    return raw


def _string(file: IO[bytes], at: int, length: int, kind: str) -> Any:
    if kind == "long":
        if length > 16:
            raise UnsafeFileError(f"a whole number of {8 * length} bits")
        return int.from_bytes(file.read(length), "little", signed=True)
    if length > SHORT:
        return Span(file, at, length, kind)
    file.seek(at)
    return decoded(file.read(length), kind)


def _line(file: IO[bytes], left: int) -> bytes:
    line = file.readline(min(left, LONGEST_LINE))
    if not line.endswith(b"\n"):
        raise ValueError("damaged pickle: a line without an end")
    return line[:-1]


def _line_length(file: IO[bytes], left: int) -> int:
    """Bytes up to the end of the line, which may be all of a large array."""
    length = 0
    while length < left:
        piece = file.readline(min(left - length, 1 << 16))
        length += len(piece)
        if piece.endswith(b"\n"):
            return length - 1
        if not piece:
            break
    raise ValueError("damaged pickle: a line without an end")


def _text(line: bytes) -> str:
    try:
        return line.decode("ascii").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("damaged pickle: a name that is none") from None


def _number(code: int, line: bytes) -> int | float | bool:
    """A number that protocol 0 wrote as text."""
    text = line.decode("latin1").removesuffix("L")
    try:
        if code == ord("F"):
            return float(text)
        if code == ord("I") and text in ("00", "01"):
            return text == "01"
        if len(text) > 40:
            raise ValueError
        return int(text)
    except ValueError:
        raise ValueError(f"damaged pickle: {short(text)!r} is no number") from None
