"""What a network is given: pixels in the order and on the scale that its weights expect.

A body that was trained on BGR pixels of 0 .. 255 computes the same from RGB pixels that were
divided by their deviation, when its first convolution has its channels turned round and multiplied
by that deviation. So a backbone can be taken over into a model of another convention.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from minimask.conventions import Convention, get_convention
from minimask.weights.anatomy import BODY

if TYPE_CHECKING:
    from minimask.nn import Module
    from minimask.weights.source import Source

STEM = f"{BODY}conv1.weight"


def convention_of(source: Source) -> Convention | None:
    """The choices that weights were trained with; None: nobody says."""
    config = source.config or {}
    name = config.get("convention", source.convention)
    if name is None:
        return None
    try:
        base = get_convention(name)
        known = {field.name for field in dataclasses.fields(Convention)}
        changed = {n: v for n, v in config.items() if n in known and n not in ("name",)}
        return dataclasses.replace(base, **changed)
    except (ValueError, TypeError):  # of a newer version
        return None


def to_pixels_of(
    model: Module, arrays: Mapping[str, np.ndarray], source: Source
) -> tuple[dict[str, np.ndarray], str]:
    """A backbone's arrays for the images that a model gives it, and what was changed in words.

    Only the first convolution changes, and only where order or scale of the pixels differ.
    """
    theirs, ours = convention_of(source), getattr(model, "convention", None)
    weight = arrays.get(STEM)
    if theirs is None or ours is None or weight is None or weight.shape[1:2] != (3,):
        return dict(arrays), ""
    turn = slice(None, None, -1 if theirs.channels != ours.channels else 1)
    scale = np.divide(ours.pixel_std, np.asarray(theirs.pixel_std)[turn])
    words = ""
    result = dict(arrays)
    if turn.step == -1 or np.abs(scale - 1).max() > 1e-3:
        scaled = weight[:, turn] * scale.reshape(1, 3, 1, 1)
        result[STEM] = np.ascontiguousarray(scaled, weight.dtype)
        words = " with its first convolution fitted to the model's pixels"
    if theirs.stride_in_1x1 != ours.stride_in_1x1 and f"{BODY}layer1.0.conv3.weight" in arrays:
        there, here = ("1x1", "3x3") if theirs.stride_in_1x1 else ("3x3", "1x1")
        words += (
            f" (it was trained with the stride in the {there} convolutions, the model has it in "
            f"the {here}: --option stride_in_1x1={str(theirs.stride_in_1x1).lower()})"
        )
    return result, words
