"""Frozen norms that were trained with another epsilon than they are usually built with."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minimask.nn import Module

# torchvision trained these with an epsilon of 0 in their frozen norms, and says so only in code
_WITHOUT_EPSILON = (
    "maskrcnn_resnet50_fpn_coco-",
    "fasterrcnn_resnet50_fpn_coco-",
    "keypointrcnn_resnet50_fpn_coco-",
)


def without_epsilon(path: str | PathLike[str]) -> bool:
    """Whether the weights of this file want norms with an epsilon of 0."""
    return Path(path).name.startswith(_WITHOUT_EPSILON)


def set_epsilon(model: Module, path: str | PathLike[str]) -> None:
    """Give the model's frozen norms the epsilon that the weights of this file want."""
    from minimask.nn import FrozenBatchNorm2d

    if without_epsilon(path):
        for module in model.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.eps = 0.0
