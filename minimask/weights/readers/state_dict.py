"""The dict of tensors in what a pickle holds, and its tensors made into arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from minimask.weights.readers.contents import (
    UnsafeFileError,
    check_names,
    check_total,
    count_of,
    listed,
    short,
)
from minimask.weights.readers.described import DescribedArray, Storage, Tensor
from minimask.weights.readers.numbers import itemsize, read_array
from minimask.weights.readers.opaque import Global, Placeholder, Refused, asks_for
from minimask.weights.readers.opcodes import Span

# where training programs keep the weights, the first that is there
WRAPPERS = ("state_dict", "model", "model_state_dict", "weights", "net", "blobs")
DEEPEST = 4
Described = Tensor | DescribedArray
Locate = Callable[[Storage], tuple[IO[bytes], int, bool]]


def find_tensors(content: Any, asked: list[str]) -> tuple[dict[str, Described], list[str]]:
    """The described tensors by name, and remarks about what was left out.

    A dict of other things is opened where weights usually are, or else at the only dict of
    tensors in it.

    Args:
        content: of a pickle.
        asked: names in it that were not built.

    Raises:
        UnsafeFileError: no tensors, but something that would have to be run.
        ValueError: no tensors, or several dicts of them.
    """
    path: list[str] = []
    for _ in range(DEEPEST):
        if not isinstance(content, dict) or _tensors_in(content):
            break
        key = _wrapper(content, asked)
        path.append(key)
        content = content[key]
    if not isinstance(content, dict) or not _tensors_in(content):
        raise _no_tensors(content, asked)
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and _is_array(v)}
    for name, tensor in tensors.items():
        reason = tensor.reason if isinstance(tensor, Refused) else tensor.problem
        if reason:
            raise UnsafeFileError(f"{short(name)} is {reason}" if _is_noun(reason) else
                                  f"{short(name)} {reason}")  # fmt: skip
    check_names(tensors)
    remarks = []
    others = [key for key in content if key not in tensors]
    if others:
        remarks.append(f"{listed(others)} beside the weights: no array, left out")
    if asked:
        remarks.append(f"it also names {listed(asked, 20)}: not needed for weights, not built")
    return tensors, remarks


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | DescribedArray | Refused)


def _is_noun(reason: str) -> bool:
    return not reason.startswith("holds")


def _tensors_in(content: Mapping[Any, Any]) -> bool:
    return any(_is_array(v) for v in content.values())


def _wrapper(content: dict[Any, Any], asked: list[str]) -> str:
    """The key under which the weights are."""
    dicts = [k for k, v in content.items() if isinstance(k, str) and isinstance(v, dict)]
    full = [k for k in dicts if _tensors_in(content[k])]
    usual = [k for k in WRAPPERS if k in dicts]
    for key in usual:  # or a dict around them: {"model": {"state_dict": ...}}
        if key in full or any(
            isinstance(v, dict) and _tensors_in(v) for v in content[key].values()
        ):
            return key
    if len(full) == 1:
        return full[0]
    if full:
        raise ValueError(f"several dicts of tensors, {listed(full)}; save the one that is needed")
    if usual and content[usual[0]]:
        return usual[0]
    raise _no_tensors(content, asked)


def _no_tensors(content: Any, asked: list[str]) -> ValueError:
    """Why nothing was found, as precisely as it can be said."""
    if isinstance(content, Refused):
        return UnsafeFileError(f"it holds {content.reason}")
    if isinstance(content, Placeholder | Global):
        return asks_for(content.title)
    models = [v for v in content.values() if isinstance(v, Placeholder)] if isinstance(
        content, dict) else []  # fmt: skip
    if models or asked:
        return asks_for(asked[0] if asked else models[0].title)
    if isinstance(content, Tensor | DescribedArray):
        return ValueError("expected a dict of tensors, got a single one without a name")
    if not isinstance(content, dict):
        return ValueError(f"expected a dict of tensors, got {type(content).__name__}")
    if not content:
        return ValueError("expected a dict of tensors, got an empty one")
    key, value = next(iter(content.items()))
    key = key if isinstance(key, str | int | float) else "a key that is no name"
    kind = type(value).__name__
    return ValueError(f"expected a dict of tensors, but it holds none: {short(key)!r} is {kind}")


def arrays_of(
    tensors: Mapping[str, Described], locate: Locate | None, available: int
) -> dict[str, np.ndarray]:
    """Read described tensors.

    Args:
        tensors: by name.
        locate: gives a storage's file, its first byte there, and whether it is big-endian; it has
            checked that all of it is there.  None: a file without storages.
        available: the file's bytes, more than which no honest tensors need.

    Raises:
        UnsafeFileError: they lie outside their storages, or many share one.
        ValueError: damaged.
    """
    sizes = []
    for name, tensor in tensors.items():
        try:
            sizes.append(_size(tensor))
        except UnsafeFileError as error:
            raise UnsafeFileError(f"{short(name)}: {error}") from None
    check_total(sizes, available)
    arrays = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, DescribedArray):
            arrays[name] = _from_pickle(name, tensor)
        elif locate is None:
            raise ValueError(
                f"{short(name)} is a tensor of torch whose numbers are not in the file"
            )
        else:
            arrays[name] = _from_storage(tensor, locate)
    return arrays


def _size(tensor: Described) -> int:
    """Bytes that have to be read, or taken, for a tensor; the larger of both."""
    if isinstance(tensor, DescribedArray):
        wanted = count_of(tensor.shape) * itemsize(tensor.code)
        there = tensor.bytes_there()
        if wanted != there:
            raise UnsafeFileError(f"an array of {short(wanted)} bytes, of which {there} are there")
        return wanted
    extent = tensor.extent
    assert tensor.code is not None
    return max(extent, count_of(tensor.shape)) * itemsize(tensor.code)


def _from_pickle(name: str, array: DescribedArray) -> np.ndarray:
    shape = array.shape[::-1] if array.fortran else array.shape
    file = array.data.open() if isinstance(array.data, Span) else None
    if file is None:
        raw = array.raw()
        if len(raw) != count_of(shape) * itemsize(array.code):
            raise ValueError(f"damaged: {short(name)} has {len(raw)} bytes, not those of its shape")
        file = io.BytesIO(raw)
    values = read_array(file, shape, array.code, big_endian=array.big_endian)
    return np.array(values.T, order="C") if array.fortran else values


def _from_storage(tensor: Tensor, locate: Locate) -> np.ndarray:
    code = tensor.code
    assert code is not None
    file, begin, big_endian = locate(tensor.storage)
    if 0 in tensor.shape:
        return read_array(file, tensor.shape, code)
    file.seek(begin + tensor.offset * itemsize(code))
    if _contiguous(tensor):
        return read_array(file, tensor.shape, code, big_endian=big_endian)
    values = read_array(file, (tensor.extent,), code, big_endian=big_endian)
    strides = [n * values.itemsize for n in tensor.strides]
    view = np.lib.stride_tricks.as_strided(values, tensor.shape, strides)
    return view.copy(order="C")


def _contiguous(tensor: Tensor) -> bool:
    """Whether its numbers lie in the file in the order of its axes, without gaps."""
    step = 1
    for n, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True
