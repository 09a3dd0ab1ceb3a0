"""The same network with the same weights and other choices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minimask import models
from minimask.conventions import get_convention
from minimask.tools.textbook.compare.fields import field_names

OUTPUTS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.")  # their rows count classes


def variant(model: Any, changes: Mapping[str, Any]) -> Any:
    """The same network with the same weights and other choices: fields or hyperparameters."""
    names = set(field_names())
    config = {name: value for name, value in model.config.items() if name not in names}
    own = {name: value for name, value in model.config.items() if name == "norm_eps"}
    # a network without a pyramid has `single_map_divisor` in its place
    given = get_convention(model.config.get("convention", model.convention)).size_divisor
    own["size_divisor"] = model.config.get("size_divisor", given)
    own |= {name: value for name, value in changes.items() if name in names}
    config["convention"] = dataclasses.asdict(dataclasses.replace(model.convention, **own))
    thresholds = {"box_score_thresh": getattr(model.selection, "score_thresh", None)}
    if hasattr(model, "roi_heads"):  # lowered where nothing was found
        config |= {name: value for name, value in thresholds.items() if value is not None}
    config |= {name: value for name, value in changes.items() if name not in names}
    other = models.build(config)
    shapes = {name: array.shape for name, array in other.state_dict().items()}
    other.load_state_dict(
        {name: _fitted(name, array, shapes[name]) for name, array in model.state_dict().items()}
    )
    _copy_epsilons(model, other, own)
    for name in {"min_size", "max_size"} - set(changes):
        setattr(other, name, getattr(model, name))
    return other.eval()


def _fitted(name: str, array: Any, shape: Sequence[int]) -> Any:
    """Rows of the last layers where the classes are counted otherwise: in the file's order.

    That is what a reader does that does not know: one row too many is left out, a missing one is 0.
    """
    if tuple(array.shape) == tuple(shape) or not name.startswith(OUTPUTS):
        return array
    rows = np.zeros(shape, array.dtype)
    count = min(len(array), shape[0])
    rows[:count] = array[:count]
    return rows


def _copy_epsilons(model: Any, other: Any, changes: Mapping[str, Any]) -> None:
    """Norms whose epsilon belongs to the file, not to the convention."""
    from minimask.nn import FrozenBatchNorm2d

    if "norm_eps" in changes:
        return
    for one, same in zip(model.modules(), other.modules(), strict=True):
        if isinstance(one, FrozenBatchNorm2d):
            same.eps = one.eps
