"""The whole list of calls in a pickle that mean something (`CALLS`); each only takes notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minimask.weights.readers.contents import UnsafeFileError, short
from minimask.weights.readers.described import (
    DescribedArray,
    DescribedDtype,
    Storage,
    Tensor,
    in_brackets,
    is_count,
)
from minimask.weights.readers.numbers import BFLOAT16
from minimask.weights.readers.opaque import Global, Placeholder, Refused, Unhashable
from minimask.weights.readers.opcodes import Span

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


def _tensor(*arguments: Any) -> Any:
    """`torch._utils._rebuild_tensor` and `_v2`: storage, offset, shape, strides, ..., marks."""
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        raise UnsafeFileError("a tensor without a storage")
    stored, offset, shape, strides = arguments[:4]
    sizes = isinstance(shape, tuple | list) and isinstance(strides, tuple | list)
    if not sizes or len(shape) > 64 or len(shape) != len(strides):
        raise UnsafeFileError("a tensor with offset, shape, strides that do not belong together")
    if not all(is_count(n) for n in (offset, *shape, *strides)):
        numbers = in_brackets((offset, *shape, *strides))
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


def _no_bytes(*_: Any) -> Any:
    """`bytes()`: how protocol 2 writes those of an empty array."""
    return b""


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
    **{Global(m, "bytes"): _no_bytes for m in ("builtins", "__builtin__")},
    **{Global(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{
        Global(f"numpy.{core}.numeric", "_frombuffer"): _array_from_buffer
        for core in ("core", "_core")
    },
}
