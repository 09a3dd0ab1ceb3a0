"""What parameters are called: older files use names that torchvision has since changed."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

# what surrounds a network in training: several GPUs, torch.compile, Lightning.  (A number behind
# "model." is a layer of YOLO's.)
_PREFIX = re.compile(r"^(?:module|_orig_mod|model(?!\.\d))\.")
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


def without_prefix(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays without the prefixes that all their names share.

    Such as "module.", which training on several GPUs leaves, "_orig_mod." of `torch.compile`, and
    Lightning's "model.".
    """
    found = dict(arrays)
    while found:
        prefix = _PREFIX.match(next(iter(found)))
        if prefix is None or not all(name.startswith(prefix[0]) for name in found):
            break
        found = {name.removeprefix(prefix[0]): array for name, array in found.items()}
    return found


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
