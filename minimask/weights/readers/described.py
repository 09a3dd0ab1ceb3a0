"""Tensors, arrays and their types as pickles describe them, before a number is read.

`CALLS` is the whole list of calls that mean something; each only takes notes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from minimask.weights.readers.contents import UnsafeFileError, checked_shape, count_of, short
from minimask.weights.readers.numbers import BFLOAT16, itemsize
from minimask.weights.readers.opaque import Global, Placeholder, Refused, Unhashable
from minimask.weights.readers.opcodes import Span, as_bytes

STORAGES = {
    "FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1",
    "ByteStorage": "u1", "BoolStorage": "?", "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16", "UntypedStorage": "u1",
}  # fmt: skip
DTYPES = {
    "float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": BFLOAT16, "int64": "i8",
    "int32": "i4", "int16": "i2", "int8": "i1", "uint8": "u1", "uint16": "u2", "uint32": "u4",
    "uint64": "u8", "bool": "?", "complex64": "c8", "complex128": "c16",
}  # fmt: skip
QUANTIZED = "a quantized tensor; load the network before it was quantized and save that"
SPARSE = "a sparse tensor; call .to_dense() on it before saving"
META = "a meta tensor, which has no numbers: the network was saved before its weights were there"
NEGATIVE = "marked as negated or conjugated; call .resolve_neg().resolve_conj() before saving"
SUBCLASS = "a tensor of a kind that is not known here; call .detach().clone() on it before saving"
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
            raise UnsafeFileError(f"a tensor of shape {_numbers(self.shape)} in {there} numbers")
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
    if not isinstance(kind, Global) or not _counts(count) or not isinstance(key, str | int):
        raise UnsafeFileError("a storage of unknown type or size")
    if len(str(key)[:101]) > 100:
        raise UnsafeFileError("a storage with a name of more than 100 characters")
    if any(v is not None for v in view):
        raise UnsafeFileError("a storage that is a view of another: write it with a newer torch")
    code = STORAGES.get(kind.name) if kind.module.startswith("torch") else None
    return Storage(code, str(key), count, kind.name)


def _counts(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _numbers(values: tuple[Any, ...]) -> str:
    shown = [short(v) for v in values[:6]] + ["..."] * (len(values) > 6)
    return f"({', '.join(shown)}{',' * (len(shown) == 1)})"


def _tensor(*arguments: Any) -> Any:
    """`torch._utils._rebuild_tensor` and `_v2`: storage, offset, shape, strides, ..., marks."""
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        raise UnsafeFileError("a tensor without a storage")
    stored, offset, shape, strides = arguments[:4]
    sizes = isinstance(shape, tuple | list) and isinstance(strides, tuple | list)
    if not sizes or len(shape) > 64 or len(shape) != len(strides):
        raise UnsafeFileError("a tensor with offset, shape, strides that do not belong together")
    if not all(_counts(n) for n in (offset, *shape, *strides)):
        numbers = _numbers((offset, *shape, *strides))
        raise UnsafeFileError(f"a tensor with offset, shape, strides {numbers}")
    marks = arguments[6] if len(arguments) > 6 else None
    marked = isinstance(marks, dict) and any(marks.get(key) for key in ("neg", "conj"))
    problem = NEGATIVE if marked else None
    return Tensor(stored, offset, tuple(shape), tuple(strides), stored.code, problem)


def _tensor_of_dtype(*arguments: Any) -> Any:
    """`torch._utils._rebuild_tensor_v3`: the storage is of bytes, the type comes after."""
    made = _tensor(*arguments[:6])
    dtype = arguments[6] if len(arguments) > 6 else None
    name = dtype.name if isinstance(dtype, Global) else "an unknown type"
    made.code = DTYPES.get(name)
    if made.code is None:
        made.code, made.problem = "u1", f"holds {short(name)} numbers; save it as float32"
    return made


def _first(*arguments: Any) -> Any:
    """`torch._utils._rebuild_parameter`: the tensor is its first argument."""
    if not arguments or not isinstance(arguments[0], Tensor | Refused):
        raise ValueError("damaged pickle: a parameter that is no tensor")
    return arguments[0]


def _typed(*arguments: Any) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: function, class, arguments, attributes."""
    if len(arguments) < 3 or not isinstance(arguments[2], tuple):
        return Refused(SUBCLASS)
    function = CALLS.get(arguments[0]) if isinstance(arguments[0], Global) else None
    if function not in (_tensor, _tensor_of_dtype):
        return Refused(SUBCLASS)
    return function(*arguments[2][:8])


def _refused(reason: str) -> Callable[..., Any]:
    return lambda *_: Refused(reason)


def _array(*arguments: Any) -> Any:
    return DescribedArray()


def _array_from_buffer(*arguments: Any) -> Any:
    """`numpy.core.numeric._frombuffer` of protocol 5: bytes, type, shape, order."""
    if len(arguments) != 4:
        raise ValueError("damaged pickle: a NumPy array that is none")
    data, dtype, shape, order = arguments
    made = DescribedArray()
    made.fill(shape, dtype, order == "F", data)
    return made


def _dtype(*arguments: Any) -> Any:
    code = arguments[0] if arguments else None
    if not isinstance(code, str):
        return DescribedDtype("O")
    big_endian = code.startswith(">")
    made = DescribedDtype("O" if code.startswith("O") else short(code.lstrip("<>=|"), 20))
    made.big_endian = big_endian
    return made


def _encoded(*arguments: Any) -> Any:
    """`_codecs.encode`: how protocol 2 writes bytes."""
    text = arguments[0] if arguments else None
    if not isinstance(text, str | Span):
        return Placeholder("_codecs.encode")
    return text  # its characters are the bytes; a copy could be asked for many times


def _dict(*arguments: Any) -> Any:
    """A dict: Python 2 wrote its keys and values as arguments, Python 3 writes them later."""
    found: dict[Any, Any] = {}
    pairs = arguments[0] if arguments else ()
    for pair in pairs if isinstance(pairs, list | tuple) else ():
        if isinstance(pair, list | tuple) and len(pair) == 2:
            found[hashable(pair[0])] = pair[1]
    return found


def hashable(key: Any) -> Any:
    """A key of a dict; what is nested could be so deep that computing its hash fails."""
    plain = isinstance(key, str | int | float) or key is None
    return key if plain else Unhashable()


def _shape(*arguments: Any) -> Any:
    return arguments[0] if arguments and isinstance(arguments[0], tuple) else ()


CALLS: dict[Global, Callable[..., Any]] = {
    Global("collections", "OrderedDict"): _dict,
    Global("collections", "defaultdict"): _dict,
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    Global("torch._utils", "_rebuild_parameter"): _first,
    Global("torch._utils", "_rebuild_parameter_with_state"): _first,
    Global("torch._tensor", "_rebuild_from_type_v2"): _typed,
    Global("torch._utils", "_rebuild_sparse_tensor"): _refused(SPARSE),
    Global("torch._utils", "_rebuild_nested_tensor"): _refused(SUBCLASS),
    Global("torch._utils", "_rebuild_qtensor"): _refused(QUANTIZED),
    Global("torch._utils", "_rebuild_meta_tensor_no_storage"): _refused(META),
    Global("torch._utils", "_rebuild_wrapper_subclass"): _refused(SUBCLASS),
    Global("torch._utils", "_rebuild_device_tensor_from_numpy"): _refused(SUBCLASS),
    Global("torch", "Size"): _shape,
    Global("numpy", "dtype"): _dtype,
    Global("_codecs", "encode"): _encoded,
    **{Global(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{
        Global(f"numpy.{core}.numeric", "_frombuffer"): _array_from_buffer
        for core in ("core", "_core")
    },
}
