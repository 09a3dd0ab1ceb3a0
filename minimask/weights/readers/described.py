"""Tensors, arrays and their types as pickles describe them, before a number is read."""

from __future__ import annotations

import re
from typing import Any

from minimask.weights.readers.contents import UnsafeFileError, checked_shape, count_of, short
from minimask.weights.readers.numbers import BFLOAT16, itemsize
from minimask.weights.readers.opaque import Global
from minimask.weights.readers.opcodes import Span, as_bytes

STORAGES = {
    "FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1",
    "ByteStorage": "u1", "BoolStorage": "?", "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16", "UntypedStorage": "u1",
}  # fmt: skip
NUMPY_CODE = re.compile(r"[fiubc?]\d{0,2}")


class Storage:
    """A run of numbers elsewhere in the file.

    Attributes:
        code: of one number, as for `numbers.itemsize`; None: of a kind that is not read.
        key: its name in the file.
        count: of its numbers.
        kind: torch's name of its type.
    """

    __slots__ = ("code", "count", "key", "kind")

    def __init__(self, code: str | None, key: str, count: int, kind: str):
        self.code, self.key, self.count, self.kind = code, key, count, kind

    def differs(self, other: Storage) -> bool:
        """Whether another description of the same numbers says something else."""
        return (self.kind, self.count) != (other.kind, other.count)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        if self.code is None:
            raise UnsafeFileError(f"a storage of {short(self.kind)}, which cannot be read")
        return self.count * itemsize(self.code)


class Tensor:
    """A view of a storage: offset, shape and strides in numbers, all checked to be counts."""

    __slots__ = ("code", "offset", "problem", "shape", "storage", "strides")

    def __init__(
        self,
        storage: Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        code: str | None,
        problem: str | None,
    ):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        self.code, self.problem = code, problem

    @property
    def extent(self) -> int:
        """How many numbers lie between its first and its last, both counted.

        Raises:
            UnsafeFileError: it does not lie inside its storage.
        """
        if self.code is None:
            raise UnsafeFileError(f"holds {short(self.storage.kind)}, which cannot be read")
        there = self.storage.size // itemsize(self.code)
        if count_of(self.shape) > there:
            raise UnsafeFileError(f"a tensor of shape {in_brackets(self.shape)} in {there} numbers")
        if 0 in self.shape:
            return 0
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if self.offset + last >= there:
            raise UnsafeFileError(
                f"a tensor that ends at {short(self.offset + last)} of {there} numbers"
            )
        return last + 1


class DescribedDtype:
    """NumPy's description of a kind of number."""

    __slots__ = ("big_endian", "code", "done")

    def __init__(self, code: str):
        self.code, self.big_endian, self.done = code, False, False

    def complete(self, state: Any) -> None:
        """Take the byte order from what NumPy wrote, once."""
        if self.done or not isinstance(state, tuple) or len(state) < 2:
            raise ValueError("damaged pickle: a NumPy type that is none")
        self.big_endian, self.done = state[1] == ">", True


class DescribedArray:
    """A NumPy array: its bytes lie in the pickle itself."""

    __slots__ = ("big_endian", "code", "data", "fortran", "shape")

    def __init__(self) -> None:
        self.data: bytes | str | Span | None = None

    def complete(self, state: Any) -> None:
        """Take shape, type and bytes from what NumPy wrote, once."""
        if self.data is not None or not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("damaged pickle: a NumPy array that is none")
        shape, dtype, fortran, data = state[-4:]
        self.fill(shape, dtype, bool(fortran), data)

    def fill(self, shape: Any, dtype: Any, fortran: bool, data: Any) -> None:
        """Note what the array is."""
        self.shape, self.fortran = checked_shape(shape), fortran
        if not isinstance(dtype, DescribedDtype):
            raise ValueError("damaged pickle: an array without a type")
        self.code, self.big_endian = dtype.code, dtype.big_endian
        if not isinstance(data, bytes | str | Span) and self.code != "O":
            raise ValueError("damaged pickle: an array without numbers")
        self.data = data if isinstance(data, bytes | str | Span) else b""

    @property
    def problem(self) -> str | None:
        """Why it cannot be read; None: it can."""
        if self.data is None:
            return "an array without numbers"
        if self.code == "O":
            return "an array of Python objects, which are never loaded"
        known = NUMPY_CODE.fullmatch(self.code) and self.code not in ("f16", "c32")
        return None if known else f"holds {short(self.code)!r}, which are no numbers"

    def bytes_there(self) -> int:
        """The length of its numbers, as far as it is known without reading them."""
        if isinstance(self.data, Span) and self.data.open() is None:
            return count_of(self.shape) * itemsize(self.code)
        return len(self.data) if isinstance(self.data, bytes | str) else self._span().length

    def _span(self) -> Span:
        assert isinstance(self.data, Span)
        return self.data

    def raw(self) -> bytes:
        """Its numbers, where they are not simply bytes of the file."""
        return self.data.read() if isinstance(self.data, Span) else as_bytes(self.data or b"")


def storage(reference: Any) -> Storage:
    """What a reference to numbers elsewhere in the file says.

    Raises:
        UnsafeFileError: it is none of those that torch writes.
    """
    known = isinstance(reference, tuple) and len(reference) >= 5 and reference[0] == "storage"
    if not known:
        raise UnsafeFileError(f"an unknown reference {short(reference)!r}")
    _, kind, key, _, count, *view = reference
    if not isinstance(kind, Global) or not is_count(count) or not isinstance(key, str | int):
        raise UnsafeFileError("a storage of unknown type or size")
    if len(str(key)[:101]) > 100:
        raise UnsafeFileError("a storage with a name of more than 100 characters")
    if any(v is not None for v in view):
        raise UnsafeFileError("a storage that is a view of another: write it with a newer torch")
    code = STORAGES.get(kind.name) if kind.module.startswith("torch") else None
    return Storage(code, str(key), count, kind.name)


def is_count(value: Any) -> bool:
    """Whether it is a whole number from 0 to 2^63 - 1."""
    return type(value) is int and 0 <= value < 2**63


def in_brackets(values: tuple[Any, ...]) -> str:
    """Numbers for a message, the first few of them."""
    shown = [short(v) for v in values[:6]] + ["..."] * (len(values) > 6)
    return f"({', '.join(shown)}{',' * (len(shown) == 1)})"
