"""Images with instance masks: generated, from COCO files or mask folders; transforms, loading.

Everything is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minimask.data.annotated import AnnotatedImages, open_annotations
    from minimask.data.annotations import Annotations, Collector
    from minimask.data.check import find_problems
    from minimask.data.coco import CocoDataset
    from minimask.data.findings import Finding
    from minimask.data.folder_masks import FolderMasks
    from minimask.data.formats import Format, read_annotations, register_format
    from minimask.data.images import read_image, read_mask
    from minimask.data.loader import Loader, LoadError
    from minimask.data.registry import DATASETS, open_dataset, register
    from minimask.data.sample import Dataset, Sample, Target, boxes_of_masks
    from minimask.data.shapes import Shapes

_HOME = {
    "AnnotatedImages": "annotated",
    "Annotations": "annotations",
    "Collector": "annotations",
    "DATASETS": "registry",
    "CocoDataset": "coco",
    "Dataset": "sample",
    "Finding": "findings",
    "FolderMasks": "folder_masks",
    "Format": "formats",
    "LoadError": "loader",
    "Loader": "loader",
    "Sample": "sample",
    "Shapes": "shapes",
    "Target": "sample",
    "boxes_of_masks": "sample",
    "find_problems": "check",
    "open_annotations": "annotated",
    "open_dataset": "registry",
    "read_annotations": "formats",
    "read_image": "images",
    "read_mask": "images",
    "register": "registry",
    "register_format": "formats",
}

__all__ = [
    "DATASETS",
    "AnnotatedImages",
    "Annotations",
    "CocoDataset",
    "Collector",
    "Dataset",
    "Finding",
    "FolderMasks",
    "Format",
    "LoadError",
    "Loader",
    "Sample",
    "Shapes",
    "Target",
    "boxes_of_masks",
    "find_problems",
    "open_annotations",
    "open_dataset",
    "read_annotations",
    "read_image",
    "read_mask",
    "register",
    "register_format",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(f"minimask.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'minimask.data' has no attribute {name!r}")
