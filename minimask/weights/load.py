"""Weights into a model of the same shape."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from minimask.weights.epsilon import set_epsilon
from minimask.weights.mismatch import explain
from minimask.weights.source import Source, check_values, read_source

if TYPE_CHECKING:
    from minimask.nn import Module


def load_weights(model: Module, source: str | PathLike[str] | Source) -> None:
    """Put the weights of a file into a model of the same shape.

    Names of older torchvision files are translated. The model is unchanged when anything does not
    fit: the message says what is missing, unexpected or of another shape, and where that is much,
    what the causes are. For a model with other classes see `transfer_weights`.

    Args:
        model: what `minimask.models` builds.
        source: a file of any kind that `read_weights` knows, a run's or a checkpoint's folder, or
            what `read_source` gave.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, an unknown kind, numbers that no network has, or weights of
            another network.
        UnsafeFileError: a file that asks for more than tensors; nothing of it was run.
    """
    if not isinstance(source, Source):
        source = read_source(source)
    shapes = {name: array.shape for name, array in model.state_dict().items()}
    problem = explain(shapes, source.shapes)
    if problem:
        kind = type(model).__name__
        raise ValueError(f"{source.path}: {kind}: the weights do not fit:\n  {problem}")
    check_values(source.path, source.arrays, source.arrays)
    model.load_state_dict(source.arrays)
    set_epsilon(model, source.norm_eps)
