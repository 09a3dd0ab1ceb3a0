"""Reading `.pth` files without torch, and without running what is in them.

A `.pth` file is a pickle plus raw numbers, and a pickle may call any function. This reader knows
the few names that a file of tensors needs and refuses all others, so a file can at worst be
rejected. Both layouts are read: the zip archive (torch 1.6 and later) and the older stream.
"""

from __future__ import annotations

import math
import pickle
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LARGEST_PICKLE = 64 << 20  # bytes; the names and shapes of a network need far less


class UnsafeFileError(ValueError):
    """The file asks for something that no file of weights needs."""


@dataclass(frozen=True)
class _StorageType:
    """What one of torch's storage classes holds."""

    dtype: str  # NumPy code without byte order; "bfloat16" is widened to float32

    @property
    def itemsize(self) -> int:
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

    def read(self, raw: bytes, big_endian: bool) -> np.ndarray:
        order: Literal[">", "<"] = ">" if big_endian else "<"
        if self.dtype == "bfloat16":  # the upper half of a float32
            wide = np.frombuffer(raw, order + "u2").astype(np.uint32) << 16
            return wide.view(np.float32)
        values = np.frombuffer(raw, np.dtype(self.dtype).newbyteorder(order))
        return values.astype(values.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class _Storage:
    """A run of numbers in the file, read later."""

    type: _StorageType
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements

    def view(self, values: np.ndarray) -> np.ndarray:
        """Cut this tensor out of its storage's values, after checking that it lies inside."""
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise UnsafeFileError(f"a tensor with offset, shape, strides {numbers}")
        if len(self.shape) != len(self.strides) or math.prod(self.shape) > len(values):
            raise UnsafeFileError(f"a tensor of shape {self.shape} in {len(values)} numbers")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if 0 not in self.shape and last >= len(values):
            raise UnsafeFileError(f"a tensor that ends at {last} of {len(values)} numbers")
        if 0 in self.shape:
            return np.zeros(self.shape, values.dtype)
        step = values.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, [s * step for s in self.strides]
        )
        return view.copy(order="C")  # own memory: a view would keep the whole storage alive


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise UnsafeFileError("a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


_DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): _StorageType(dtype) for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names in `_ALLOWED` and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafeFileError(
                f"the file asks for {module}.{name}, which no file of weights needs; "
                "it was not run. "
                "Save only the state dict: torch.save(model.state_dict(), path)"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise UnsafeFileError(f"an unknown reference {str(pid)[:80]!r}")
        _, kind, key, _, count, *view = pid
        if not (isinstance(kind, _StorageType) and isinstance(count, int) and count >= 0):
            raise UnsafeFileError(f"a storage of unknown type or size: {str(pid)[:80]!r}")
        if any(v is not None for v in view):
            raise UnsafeFileError(
                "a storage that is a view of another: write it with a newer torch"
            )
        return _Storage(kind, str(key), count)


def _unpickle(file: IO[bytes]) -> Any:
    """One pickle of the stream; every way of being broken becomes a ValueError."""
    try:
        return _Unpickler(file, encoding="utf-8").load()
    except UnsafeFileError:
        raise
    except (MemoryError, RecursionError, KeyboardInterrupt):
        raise
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise ValueError(f"damaged pickle: {type(error).__name__}: {error}") from error


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a `.pth` file by name.

    A checkpoint that keeps its weights under "model" or "state_dict" is opened there.

    Raises:
        UnsafeFileError: the file asks for more than tensors.
        ValueError: damaged, or in a layout that is not read.
    """
    if zipfile.is_zipfile(path):
        return _read_zip(path)
    if tarfile.is_tarfile(path):
        raise ValueError(
            "the tar layout of torch before 0.1.10 is not read; save it again with torch"
        )
    return _read_legacy(path)


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in sizes if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"expected one data.pkl in the archive, found {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        if sizes[pickles[0]].file_size > LARGEST_PICKLE:
            raise UnsafeFileError(f"its data.pkl has {sizes[pickles[0]].file_size} bytes")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in sizes else b"little"

        def read(storage: _Storage) -> np.ndarray:
            name = f"{root}data/{storage.key}"
            expected = storage.count * storage.type.itemsize
            if name not in sizes or sizes[name].file_size != expected:
                found = sizes[name].file_size if name in sizes else "no"
                raise ValueError(f"{name}: expected {expected} bytes, found {found}")
            if sizes[name].compress_type != zipfile.ZIP_STORED:
                raise UnsafeFileError(f"{name} is compressed, which torch never does")
            return storage.type.read(archive.read(name), order == b"big")

        try:
            with archive.open(pickles[0]) as file:
                return _materialize(_unpickle(file), read)
        except zipfile.BadZipFile as error:
            raise ValueError(f"damaged archive: {error}") from error


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if _unpickle(file) != LEGACY_MAGIC:
            raise ValueError("not a file of torch: its first entry is not torch's magic number")
        version, system, content = _unpickle(file), _unpickle(file), _unpickle(file)
        if version != 1001 or not isinstance(system, dict):
            raise ValueError(f"version {version!r} of torch's old layout is not known")
        keys = _unpickle(file)
        big_endian = not system.get("little_endian", sys.byteorder == "little")
        storages = {t.storage.key: t.storage for t in _tensors(content).values()}
        values: dict[str, np.ndarray] = {}
        for key in keys:
            storage = storages.get(str(key))
            count = int.from_bytes(file.read(8), "big" if big_endian else "little")
            if storage is None or count != storage.count:
                raise ValueError(f"storage {key!r}: {count} numbers do not belong to any tensor")
            raw = file.read(count * storage.type.itemsize)
            if len(raw) != count * storage.type.itemsize:
                raise ValueError(f"truncated: {len(raw)} bytes of storage {key!r}")
            values[str(key)] = storage.type.read(raw, big_endian)
    missing = set(storages) - set(values)
    if missing:
        raise ValueError(f"storages without numbers: {sorted(missing)[:5]}")
    return _materialize(content, lambda storage: values[storage.key])


def _tensors(content: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict, also inside {"model": ...} or {"state_dict": ...}."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"expected a dict of tensors, got {type(content).__name__}")
    bad = [k for k, v in content.items() if not (isinstance(k, str) and isinstance(v, _Tensor))]
    if bad:
        raise ValueError(f"expected a dict of tensors, but {bad[0]!r} is none")
    return dict(content)


def _materialize(content: Any, read: Callable[[_Storage], np.ndarray]) -> dict[str, np.ndarray]:
    """Turn the described tensors into arrays; each storage is read once."""
    cache: dict[_Storage, np.ndarray] = {}
    arrays = {}
    for name, tensor in _tensors(content).items():
        if tensor.storage not in cache:
            cache[tensor.storage] = read(tensor.storage)
        arrays[name] = tensor.view(cache[tensor.storage])
    return arrays
