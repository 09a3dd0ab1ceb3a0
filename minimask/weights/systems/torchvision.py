"""torchvision's files, whose present names are minimask's own; older files have others.

The first files (2019) were trained with frozen norms without an epsilon, which torchvision keeps in
code (`overwrite_eps`), not in them; they are known by their names, which no later release writes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from minimask.weights.systems.translated import COUNTER, Arrays, Translated

SYSTEM = "torchvision"
_RENAMES = [
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
    (
        re.compile(r"^backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)$"),
        r"backbone.fpn.\1_blocks.\2.0.\3",
    ),
]
_RETINA_LAYER = re.compile(
    r"^(head\.(?:classification|regression)_head\.conv)\.(\d+)\.(weight|bias)$"
)
_MASK_LAYER = re.compile(r"^roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)$")
# a parameter of each of the first detectors as it was called then
_OLD = ("rpn.head.conv.weight", "head.classification_head.conv.0.weight")
_OLD_PYRAMID = "backbone.fpn.inner_blocks.0.weight"
# arrays of the first Mask, Faster and Keypoint R-CNN and of the first RetinaNet
FIRST_FILES = (307, 295, 313, 301)
_STATISTICS = "backbone.body.bn1.running_var"
# the first keypoint detector, which has the same names and was trained with an epsilon
_LEGACY = "keypointrcnn_resnet50_fpn_coco-9f466800"


def current_name(name: str) -> str:
    """The present name of a parameter in torchvision's models; present names stay as they are."""
    name = name.removeprefix("module.")  # left over from training on several GPUs
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    name = _RETINA_LAYER.sub(
        lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}",  # they counted each ReLU too
        name,
    )
    return _MASK_LAYER.sub(
        lambda m: f"roi_heads.mask_head.{int(m[1]) - 1}.0.{m[2]}",  # they counted from 1
        name,
    )


def without_epsilon(names: Collection[str]) -> bool:
    """Whether these are the names of the first files: old ones, frozen norms, no counters.

    All four are of a ResNet-50, and by their number of arrays.
    """
    old = _OLD_PYRAMID in names and any(name in names for name in _OLD)
    counted = any(name.endswith(COUNTER) for name in names)
    return len(names) in FIRST_FILES and old and _STATISTICS in names and not counted


def translate(arrays: Arrays, about: Mapping[str, Any]) -> Translated:
    """The arrays under their present names.

    Args:
        arrays: of the file.
        about: what the file has beside them, and its name.
    """
    names = {name.removeprefix("module.") for name in arrays}
    here: dict[str, np.ndarray] = {current_name(name): array for name, array in arrays.items()}
    eps: float | None = None
    remarks: tuple[str, ...] = ()
    if without_epsilon(names) and not str(about.get("file", "")).startswith(_LEGACY):
        eps, remarks = 0.0, ("norms without an epsilon, as in torchvision's first files",)
    elif _OLD_PYRAMID in names or any(name.endswith(COUNTER) for name in names):
        eps = 1e-5
    return Translated(SYSTEM, here, SYSTEM, {}, None, eps, remarks)
