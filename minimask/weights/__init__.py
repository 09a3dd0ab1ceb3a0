"""Weights from files: safetensors, npz, and torch's `.pth` read without torch."""

from __future__ import annotations

import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minimask.system.files import write_whole
from minimask.weights.names import current_name
from minimask.weights.torch_files import UnsafeFileError, read_torch

if TYPE_CHECKING:
    from minimask.nn import Module

__all__ = ["UnsafeFileError", "load_weights", "read_weights", "save_weights"]

# torchvision trained these with an epsilon of 0 in their frozen norms, and says so only in code
_WITHOUT_EPSILON = (
    "maskrcnn_resnet50_fpn_coco-",
    "fasterrcnn_resnet50_fpn_coco-",
    "keypointrcnn_resnet50_fpn_coco-",
)


def load_weights(model: Module, path: str | PathLike[str]) -> None:
    """Put the weights of a file into a model of the same shape.

    Names of older torchvision files are translated. The model is unchanged when anything does not
    fit: missing or unexpected names and wrong shapes are listed in one message.

    Args:
        model: what `minimask.models` builds.
        path: `.safetensors`, `.npz`, `.pth` or `.pt`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, an unknown kind, or weights of another network.
        UnsafeFileError: a `.pth` file that asks for more than tensors; nothing of it was run.
    """
    arrays = {current_name(name): array for name, array in read_weights(path).items()}
    try:
        model.load_state_dict(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if Path(path).name.startswith(_WITHOUT_EPSILON):
        _set_frozen_epsilon(model, 0.0)


def save_weights(model: Module, path: str | PathLike[str]) -> None:
    """Write a model's weights to a safetensors file, which appears whole or not at all.

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
    write_whole(path, save(arrays))


def read_weights(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of a file, under the names they have in it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file or an unknown kind; the message begins with the path.
    """
    path = Path(path)
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
    except TypeError as error:  # NumPy has no such type
        raise ValueError(f"a number type that NumPy lacks: {error}; save it as float32") from None
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"damaged safetensors file: {error}") from None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:  # opened here: np.load leaves a damaged file open
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("a single array (.npy); expected an archive of named arrays")
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"damaged npz file: {error}") from None


def _set_frozen_epsilon(model: Module, eps: float) -> None:
    from minimask.nn import FrozenBatchNorm2d

    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = eps
