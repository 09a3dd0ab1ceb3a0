"""Weights under the names of another system, in a file that it loads strictly."""

from __future__ import annotations

import pickle
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minimask.system.files import write_whole
from minimask.weights.systems import detectron2

if TYPE_CHECKING:
    from minimask.nn import Module

SYSTEMS = {"torchvision": (".pth", ".safetensors"), "detectron2": (".pkl",)}
BACKGROUND = {"torchvision": "first", "detectron2": "last"}


def export_weights(model: Module, path: str | PathLike[str], system: str) -> None:
    """Write a model's weights as another system names them; the file appears whole or not at all.

    What is written is what reading such a file would give back, bit by bit. The numbers mean the
    same there if the model follows that system's convention.

    Args:
        model: a detector on a residual network, or for torchvision on any of its bodies.
        path: `.pth` or `.safetensors` for torchvision, `.pkl` for detectron2.
        system: "torchvision" or "detectron2".

    Raises:
        ValueError: another system or ending; a model that counts background otherwise than the
            system, or has parts that it has no names for.
        OSError: it cannot be written; names the path.
    """
    path = Path(path)
    if system not in SYSTEMS:
        raise ValueError(f"{path}: expected one of {', '.join(SYSTEMS)}, got {system!r}")
    if path.suffix not in SYSTEMS[system]:
        endings = " or ".join(SYSTEMS[system])
        raise ValueError(f"{path}: weights for {system} are written as {endings}")
    _check_background(model, path, system)
    arrays = {name: np.asarray(array, order="C") for name, array in model.state_dict().items()}
    if system == "detectron2":
        write_whole(path, _pickled(_named_as_detectron2(arrays, path)))
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save

        write_whole(path, save(arrays))
    else:
        from minimask.weights.torch_writer import to_torch

        write_whole(path, to_torch(arrays))


def _check_background(model: Module, path: Path, system: str) -> None:
    convention = getattr(model, "convention", None)
    heads = hasattr(model, "roi_heads")
    if convention is not None and heads and convention.background != BACKGROUND[system]:
        raise ValueError(
            f"{path}: the model follows the convention {convention.name}, in which background "
            f"comes {convention.background}, and {system} has it {BACKGROUND[system]}: train "
            f"it with --convention {system} to use it there"
        )


def _named_as_detectron2(arrays: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    table = detectron2.table(arrays, ours=True)
    named = {name: table.theirs(name) for name in arrays}
    unknown = [name for name, theirs in named.items() if theirs is None]
    if unknown:
        raise ValueError(
            f"{path}: detectron2 has no names for {len(unknown)} arrays of this model, such as "
            f"{unknown[0]}"
        )
    return {str(named[name]): array for name, array in arrays.items()}


def _pickled(arrays: dict[str, np.ndarray]) -> bytes:
    """As its model zoo has them: beside an author it takes names as they are."""
    return pickle.dumps({"model": arrays, "__author__": "minimask"}, protocol=2)
