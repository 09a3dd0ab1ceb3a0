"""Files of weights, read and written: every container is known by its content."""

from __future__ import annotations

import io
import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minimask.system.files import write_whole
from minimask.weights.readers.contents import FileContents, UnsafeFileError, check_names

if TYPE_CHECKING:
    from minimask.nn import Module

LONGEST_MESSAGE = 600


def save_weights(model: Module, path: str | PathLike[str]) -> None:
    """Write a model's weights to a file, which appears whole or not at all.

    A safetensors file also says of which network they are (`model.config`).

    Args:
        model: what `minimask.models` builds.
        path: ending in `.safetensors`, or in `.npz` for the arrays alone; replaced when it exists.

    Raises:
        ValueError: another ending.
        OSError: it cannot be written; names the path.
    """
    from safetensors.numpy import save

    path = Path(path)
    if path.suffix not in (".safetensors", ".npz"):
        raise ValueError(f"{path}: weights are saved as .safetensors or .npz, not {path.suffix!r}")
    # not ascontiguousarray, which turns a single number into a list of one
    arrays = {name: np.asarray(array, order="C") for name, array in model.state_dict().items()}
    if path.suffix == ".npz":
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        write_whole(path, content.getvalue())
        return
    config = getattr(model, "config", None)
    about = {"minimask": json.dumps({"model": config})} if config else None
    write_whole(path, save(arrays, metadata=about))


def read_weights(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of a file, under the names they have in it.

    Raises:
        FileNotFoundError: no such file.
        UnsafeFileError: it asks for more than arrays; nothing of it was run.
        ValueError: a damaged file or an unknown kind; the message begins with the path.
    """
    return read_contents(path).arrays


def read_contents(path: str | PathLike[str]) -> FileContents:
    """A file of weights of any kind: safetensors, npz, torch's, pickled arrays, Keras' HDF5.

    Args:
        path: its ending does not matter.

    Raises:
        FileNotFoundError: no such file.
        ModuleNotFoundError: HDF5, and h5py is not installed.
        UnsafeFileError: it asks for more than arrays; nothing of it was run.
        ValueError: a damaged file or an unknown kind; the message begins with the path.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: a folder; expected a file of weights")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file of weights")
    if not path.is_file():
        raise ValueError(f"{path}: neither a file nor a folder; expected a file of weights")
    try:
        contents = _read(path)
        check_names(contents.arrays)
        return contents
    except ValueError as error:
        text = str(error)
        cut = text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}..."
        kind = UnsafeFileError if isinstance(error, UnsafeFileError) else ValueError
        raise kind(f"{path}: {cut}") from None
    except MemoryError:
        size = path.stat().st_size
        raise ValueError(f"{path}: not enough memory for its {size} bytes") from None


def _read(path: Path) -> FileContents:
    from minimask.weights.readers.content import kind_of

    kind = kind_of(path)
    if kind == "safetensors":
        from minimask.weights.readers.safetensors import read_safetensors

        return read_safetensors(path)
    if kind == "npz":
        from minimask.weights.readers.npz import read_npz

        return read_npz(path)
    if kind == "torch":
        from minimask.weights.readers.torch_zip import read_torch_zip

        return read_torch_zip(path)
    if kind == "hdf5":
        from minimask.weights.readers.hdf5 import read_hdf5

        return read_hdf5(path)
    from minimask.weights.readers.pickles import read_pickle

    return read_pickle(path)
