"""Files of weights, read and written: safetensors, npz, and torch's `.pth` without torch."""

from __future__ import annotations

import json
import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minimask.system.files import write_whole
from minimask.weights.torch_files import UnsafeFileError, read_torch

if TYPE_CHECKING:
    from minimask.nn import Module


def save_weights(model: Module, path: str | PathLike[str]) -> None:
    """Write a model's weights to a safetensors file, which appears whole or not at all.

    The file also says of which network they are (`model.config`).

    Args:
        model: what `minimask.models` builds.
        path: ending in `.safetensors`; replaced when it exists.

    Raises:
        ValueError: another ending.
        OSError: it cannot be written; names the path.
    """
    from safetensors.numpy import save

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: weights are saved as .safetensors, not {path.suffix!r}")
    # not ascontiguousarray, which turns a single number into a list of one
    arrays = {name: np.asarray(array, order="C") for name, array in model.state_dict().items()}
    config = getattr(model, "config", None)
    about = {"minimask": json.dumps({"model": config})} if config else None
    write_whole(path, save(arrays, metadata=about))


def read_weights(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of a file, under the names they have in it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file or an unknown kind; the message begins with the path.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: a folder; expected a file of weights")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")
    readers = {
        ".safetensors": _read_safetensors,
        ".npz": _read_npz,
        ".pth": read_torch,
        ".pt": read_torch,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: expected one of {', '.join(readers)}")
    try:
        return reader(path)
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (TypeError, AttributeError):  # NumPy has no such type
        return _read_widened(path)
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"damaged safetensors file: {error}") from None


def _read_widened(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file with bfloat16, which NumPy lacks: each is the upper half of a float32."""
    from safetensors import safe_open

    raw = path.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    arrays = {}
    with safe_open(path, "numpy") as file:  # has checked all lengths and offsets
        for name in file.keys():
            kind, (start, end) = header[name]["dtype"], header[name]["data_offsets"]
            if kind == "BF16":
                upper = np.frombuffer(raw[begin + start : begin + end], "<u2").astype(np.uint32)
                arrays[name] = (upper << 16).view(np.float32).reshape(header[name]["shape"])
            elif kind.startswith("F8"):
                raise ValueError(f"{name} holds {kind} numbers; save it as float32")
            else:
                arrays[name] = file.get_tensor(name)
    return arrays


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:  # opened here: np.load leaves a damaged file open
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("a single array (.npy); expected an archive of named arrays")
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error):  # NumPy's own sentence says how to load them all the same
            raise ValueError(
                "damaged npz file, or one of pickled Python objects, which are never loaded"
            ) from None
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"damaged npz file: {error}") from None
