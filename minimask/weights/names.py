"""What parameters are called: older files use names that torchvision has since changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

_RENAMES = [
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
    (
        re.compile(r"^backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)$"),
        r"backbone.fpn.\1_blocks.\2.0.\3",
    ),
]
_MASK_LAYER = re.compile(r"^roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)$")


def current_name(name: str) -> str:
    """The present name of a parameter in torchvision's models; present names stay as they are."""
    name = name.removeprefix("module.")  # left over from training on several GPUs
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return _MASK_LAYER.sub(
        lambda m: f"roi_heads.mask_head.{int(m[1]) - 1}.0.{m[2]}",  # they counted from 1
        name,
    )


def fit_counters(
    arrays: Mapping[str, np.ndarray], wanted: Iterable[str]
) -> dict[str, np.ndarray]:
    """Add or drop batch norm's counters of batches, which frozen layers do not have.

    The counters carry no part of the result: a file from frozen layers fits trained ones.
    """
    wanted = set(wanted)
    fitted = {
        name: array
        for name, array in arrays.items()
        if name in wanted or not name.endswith(".num_batches_tracked")
    }
    for name in wanted:
        if name.endswith(".num_batches_tracked") and name not in fitted:
            fitted[name] = np.zeros((), np.int64)
    return fitted
