"""Keras' weights in HDF5: h5py finds the datasets, each is checked before a number is read.

HDF5 can point into other files, compress a terabyte into a kilobyte, and claim any shape.  Keras
needs none of it: its weights are plain runs of numbers, which are read here straight from the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from minimask.weights.readers.contents import (
    FileContents,
    UnsafeFileError,
    check_total,
    checked_shape,
    count_of,
    short,
)
from minimask.weights.readers.numbers import read_array

DEEPEST = 8
MOST_MEMBERS = 8000  # groups and datasets; a ResNet-101 has 1100
WHOLE_MODEL = "model_weights"  # where `model.save` keeps what `save_weights` writes
NEEDS_H5PY = "is read through h5py, which is not installed: pip install 'minimask[h5]'"


def read_hdf5(path: Path) -> FileContents:
    """All weights of a Keras file, called `layer/weight:0`; groups of layers are opened.

    Raises:
        ModuleNotFoundError: h5py is not installed.
        UnsafeFileError: links, compression, or shapes that the file does not have.
        ValueError: damaged.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"{path}: HDF5 {NEEDS_H5PY}") from None
    size = path.stat().st_size
    try:
        with h5py.File(path, "r", locking=False) as file, path.open("rb") as raw:
            root = file[WHOLE_MODEL] if _link(h5py, file, WHOLE_MODEL) else file
            found: dict[str, Any] = {}
            for visits, (name, dataset) in enumerate(_members(h5py, root, "", 0)):
                if visits >= MOST_MEMBERS:  # also where a group contains itself
                    raise UnsafeFileError(f"more than {MOST_MEMBERS} groups and datasets")
                if dataset is not None:
                    found[name] = dataset
            places = {name: _place(h5py, d, name, size) for name, d in found.items()}
            check_total((p[2] for p in places.values()), size)
            return FileContents("hdf5", {n: _read(found[n], raw, *p) for n, p in places.items()})
    except (UnsafeFileError, MemoryError):
        raise
    except Exception as error:  # h5py raises many kinds of errors on damaged files
        words = short(str(error), 200)
        raise ValueError(f"damaged HDF5 file: {words}") from None


def _link(h5py: Any, group: Any, name: str) -> bool:
    """Whether a group has a member of this name; one that lies elsewhere is refused."""
    link = group.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise UnsafeFileError(f"{short(name)!r} is a link to another place or file")
    return link is not None


def _members(h5py: Any, group: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Every dataset under a group, and None for every group, outer ones first.

    Datasets come without the name of their outermost group, which repeats that of the layer.
    """
    if depth > DEEPEST or len(group) > MOST_MEMBERS:
        raise UnsafeFileError("groups nested more deeply, or with more members, than Keras writes")
    for name in group:
        _link(h5py, group, name)
        member = group[name]
        inner = name if depth <= 1 else f"{path}/{name}"
        if isinstance(member, h5py.Dataset):
            yield inner, member
        elif isinstance(member, h5py.Group):
            yield inner, None
            yield from _members(h5py, member, inner if depth else "", depth + 1)


def _place(h5py: Any, dataset: Any, name: str, size: int) -> tuple[str, bool, int, int | None]:
    """Kind of number, whether big-endian, bytes, and where they begin (None: in its head)."""
    about, dtype = dataset.id.get_create_plist(), dataset.dtype
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or dtype.subdtype is not None:
        raise UnsafeFileError(f"{short(name)} holds {short(str(dtype))}, which are no weights")
    if about.get_nfilters() or about.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise UnsafeFileError(
            f"{short(name)} is compressed or in pieces, which Keras never does; save the weights "
            "again with model.save_weights"
        )
    compact = about.get_layout() == h5py.h5d.COMPACT
    if not compact and about.get_external_count():
        raise UnsafeFileError(f"{short(name)} has its numbers in another file")
    wanted = count_of(checked_shape(tuple(dataset.shape or ()))) * dtype.itemsize
    offset = None if compact else dataset.id.get_offset()
    there = dataset.id.get_storage_size()
    if wanted != there or wanted > size or (offset is not None and offset + wanted > size):
        raise UnsafeFileError(
            f"{short(name)} has {there} of the {short(wanted)} bytes of its shape"
        )
    return f"{dtype.kind}{dtype.itemsize}", dtype.byteorder == ">", wanted, offset


def _read(
    dataset: Any, raw: IO[bytes], code: str, big_endian: bool, size: int, offset: int | None
) -> np.ndarray:
    shape = tuple(dataset.shape or ())
    code = "?" if code == "b1" else code
    if offset is None or not size:
        return np.array(dataset[()], dtype=code)
    raw.seek(offset)
    return read_array(raw, shape, code, big_endian=big_endian)
