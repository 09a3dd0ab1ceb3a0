"""The changes of images that `--augment` knows, by name.

Nothing heavy is imported here: the settings of a run are read before NumPy is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minimask.data.transforms import Transform

AUGMENTATIONS = {  # name -> module and class, which is made without arguments
    "flip": ("transforms", "Flip"),
    "vflip": ("transforms", "VerticalFlip"),
    "transpose": ("transforms", "Transpose"),
    "scale": ("transforms", "RandomZoomCrop"),
    "jitter": ("geometric", "LargeScaleJitter"),
    "rotate": ("geometric", "Rotate"),
    "copypaste": ("copy_paste", "CopyPaste"),
    "photometric": ("photometric", "Photometric"),
}


def augmentation(names: Sequence[str]) -> Transform | None:
    """The named changes, one after the other; None where there are none.

    A `Loader` binds them to its data set; whoever calls them without one does that with
    `transforms.bind`.

    Raises:
        ValueError: a name that is none of `AUGMENTATIONS`.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"augment: expected one of {', '.join(AUGMENTATIONS)}, got {name!r}")
    if not names:
        return None
    from minimask.data.transforms import Compose

    homes = [AUGMENTATIONS[name] for name in names]
    kinds = [getattr(importlib.import_module(f"minimask.data.{m}"), kind) for m, kind in homes]
    return Compose(*(kind() for kind in kinds))
