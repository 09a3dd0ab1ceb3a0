"""The systems whose files are read: each module knows its own names, and translates them.

torchvision   names that are minimask's own, and older ones
detectron2    files of its zoo and of its trainer, and its ImageNet bodies
mmdet         checkpoints of mmdetection 2 and 3
matterport    the Keras layers of Mask_RCNN
caffe2        ImageNet bodies of MSRA and FAIR, as blobs

`others` names networks that are none of these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from minimask.weights.systems import caffe2, detectron2, matterport, mmdet, torchvision
from minimask.weights.systems.translated import COUNTER, Arrays, Translated

__all__ = ["COUNTER", "Arrays", "Translated", "detectron2", "mmdet", "system_of", "translate"]
__all__ += ["without_wrappers"]

# Those whose names are unlike all others; of files of none of them torchvision's rules hold.
_SYSTEMS = {
    module.SYSTEM: module for module in (matterport, caffe2, detectron2, mmdet)
}  # fmt: skip
# What networks are wrapped in, and their states kept under; not "network", which begins the names
# of minimask's own semantic segmenters.
_WRAPPERS = (
    "module",
    "model",
    "_orig_mod",
    "net",
    "detector",
    "state_dict",
    "ema_model",
)


def system_of(names: Collection[str]) -> str:
    """Whose names these are; "torchvision" where they are of none of the others."""
    for system, module in _SYSTEMS.items():
        if module.is_ours(names):
            return system
    return torchvision.SYSTEM


def translate(arrays: Arrays, about: Mapping[str, Any] | None = None) -> Translated:
    """What the file's own system makes of its arrays.

    Args:
        arrays: of a file, under the names they have in it.
        about: what the file has beside them: of mmdetection "meta"; "file", its name.

    Raises:
        ValueError: names of a system with shapes that it never has.
    """
    arrays = without_wrappers(arrays)
    module = _SYSTEMS.get(system_of(arrays), torchvision)
    return module.translate(arrays, about or {})


def without_wrappers(arrays: Arrays) -> Arrays:
    """The arrays without what all names begin with: "module.", "model.", "_orig_mod." ..."""
    while arrays:
        first, _, rest = next(iter(arrays)).partition(".")
        if first not in _WRAPPERS or rest[:1].isdigit():  # model.0 is a layer, of a YOLO
            break
        if not all(name.startswith(f"{first}.") for name in arrays):
            break
        arrays = {name.removeprefix(f"{first}."): array for name, array in arrays.items()}
    return arrays
