"""safetensors: a JSON text that says where every array lies, and the arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from minimask.weights.readers.contents import (
    FileContents,
    UnsafeFileError,
    check_names,
    checked_shape,
    count_of,
    short,
)
from minimask.weights.readers.numbers import BFLOAT16, itemsize, read_array

CODES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": BFLOAT16, "I64": "i8", "I32": "i4",
    "I16": "i2", "I8": "i1", "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?",
    "C64": "c8",
}  # fmt: skip
# JSON takes up to 30 times its size in memory, so these keep within what a file may cost
FEWEST_HEADER, HEADER_SHARE = 1 << 20, 64


def read_safetensors(path: Path) -> FileContents:
    """All arrays of a safetensors file.

    Raises:
        UnsafeFileError: a description that is far too large, or kinds of numbers that NumPy lacks.
        ValueError: damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header, begin = read_header(file, size)
        about = header.pop("__metadata__", None)
        check_names(header)
        places = _places(header, size - begin)
        arrays = {}
        for name, (code, shape, place) in places.items():
            file.seek(begin + place)
            arrays[name] = read_array(file, shape, code)
    config = _said(about).get("model")
    known = isinstance(config, dict) and config
    return FileContents("safetensors", arrays, config if known else None)


def said_beside(path: Path) -> dict[str, Any]:
    """What minimask wrote beside the weights: the model's config, the run's step; else nothing.

    Raises:
        ValueError: damaged.
    """
    with path.open("rb") as file:
        header, _ = read_header(file, path.stat().st_size)
    return _said(header.get("__metadata__"))


def read_header(file: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    """What the file says about its arrays, and where the first of them begins.

    Raises:
        UnsafeFileError: it says far too much.
        ValueError: damaged.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8:
        raise ValueError(
            f"damaged safetensors file: a header of {length} bytes in a file of {size}"
        )
    if length > max(FEWEST_HEADER, size // HEADER_SHARE):
        raise UnsafeFileError(f"a header of {length} bytes in a safetensors file of {size}")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"damaged safetensors file: its header is no JSON ({_why(error)})"
        ) from None
    if not isinstance(header, dict):
        raise ValueError("damaged safetensors file: its header is no list of arrays")
    return header, 8 + length


def _said(about: Any) -> dict[str, Any]:
    """What minimask says in a header's free text; empty: another's file."""
    text = about.get("minimask") if isinstance(about, dict) else None
    try:
        said = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _why(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else short(str(error))


def _places(header: dict[str, Any], available: int) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Kind, shape and first byte of every array; together they fill the file without gaps."""
    found, end = {}, 0
    for name, about in sorted(header.items(), key=lambda item: _offsets(item[1])):
        begin, after = _offsets(about)
        kind = about.get("dtype")
        if not isinstance(kind, str) or kind not in CODES:
            raise UnsafeFileError(f"{short(name)} holds {short(kind)} numbers; save it as float32")
        shape = checked_shape(about.get("shape"))
        if begin != end or after - begin != count_of(shape) * itemsize(CODES[kind]):
            raise ValueError(f"damaged safetensors file: {short(name)} is not where it should be")
        found[name] = CODES[kind], shape, begin
        end = after
    if end != available:
        raise ValueError(f"damaged safetensors file: {available} bytes of numbers, expected {end}")
    return {name: found[name] for name in header}


def _offsets(about: Any) -> tuple[int, int]:
    offsets = about.get("data_offsets") if isinstance(about, dict) else None
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(n) is int and 0 <= n < 2**63 for n in offsets)
    ):
        raise ValueError("damaged safetensors file: an array without a place")
    return offsets[0], offsets[1]
