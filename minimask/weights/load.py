"""Weights into a model of the same shape."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from minimask.weights.epsilon import set_epsilon
from minimask.weights.files import read_weights
from minimask.weights.mismatch import explain
from minimask.weights.names import current_name
from minimask.weights.source import check_values

if TYPE_CHECKING:
    from minimask.nn import Module


def load_weights(model: Module, path: str | PathLike[str]) -> None:
    """Put the weights of a file into a model of the same shape.

    Names of older torchvision files are translated. The model is unchanged when anything does not
    fit: the message says what is missing, unexpected or of another shape, and where that is much,
    what the causes are. For a model with other classes see `transfer_weights`.

    Args:
        model: what `minimask.models` builds.
        path: `.safetensors`, `.npz`, `.pth` or `.pt`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, an unknown kind, numbers that no network has, or weights of
            another network.
        UnsafeFileError: a `.pth` file that asks for more than tensors; nothing of it was run.
    """
    arrays = {current_name(name): array for name, array in read_weights(path).items()}
    shapes = {name: array.shape for name, array in model.state_dict().items()}
    problem = explain(shapes, {name: array.shape for name, array in arrays.items()})
    if problem:
        kind = type(model).__name__
        raise ValueError(f"{path}: {kind}: the weights do not fit:\n  {problem}")
    check_values(path, arrays, arrays)
    model.load_state_dict(arrays)
    set_epsilon(model, path)
