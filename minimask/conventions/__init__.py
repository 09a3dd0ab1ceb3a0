"""Where implementations of Mask R-CNN disagree: one frozen object holds every such choice.

The papers leave dozens of small things open, and each system chose for itself. Weights only work
with the choices they were trained with, so the choices are data here: `TORCHVISION` is the
default, the others are named after their systems, and any single field can be changed with
`dataclasses.replace` or by passing it to a model factory.

choices    what there is to choose, and the values that each field may have
systems    what each system chose
words      every field in a sentence, with the source of the systems' choices
"""

from __future__ import annotations

from minimask.conventions.choices import (
    CHOICES,
    HYPERPARAMETERS,
    SIZES,
    Convention,
    check_choice,
)
from minimask.conventions.systems import (
    CONVENTIONS,
    DETECTRON2,
    DETECTRON2_3X3,
    DETECTRON2_TORCHVISION,
    EXACT,
    MATTERPORT,
    MMDET,
    MMDET_CAFFE,
    PAPER,
    TORCHVISION,
    get_convention,
)

__all__ = [
    "CHOICES",
    "CONVENTIONS",
    "DETECTRON2",
    "DETECTRON2_3X3",
    "DETECTRON2_TORCHVISION",
    "EXACT",
]
__all__ += ["HYPERPARAMETERS", "MATTERPORT", "MMDET", "MMDET_CAFFE", "PAPER", "SIZES"]
__all__ += ["TORCHVISION", "Convention", "check_choice", "get_convention"]
