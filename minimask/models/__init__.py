"""Faster R-CNN and Mask R-CNN, one file per box of the paper's figure.

    import minimask as mm
    model = mm.models.maskrcnn_laptop(["cell", "nucleus"])     # small: trains on two cores
    model = mm.models.maskrcnn_resnet50_fpn()                  # torchvision's network
    detections = model.predict([image])

`model.config` is a dict that fits in a JSON file, and `build(model.config)` makes the model again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minimask.conventions import Convention
from minimask.models.backbone import register_backbone
from minimask.models.detections import Detections, Target
from minimask.models.factory import Architecture, make, preset
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.matcher import RecordedSampling

__all__ = [
    "MODELS",
    "Architecture",
    "Detections",
    "FasterRCNN",
    "MaskRCNN",
    "RecordedSampling",
    "Samples",
    "Target",
    "build",
    "faster_rcnn",
    "fasterrcnn_laptop",
    "fasterrcnn_resnet18_fpn",
    "fasterrcnn_resnet34_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet101_fpn",
    "mask_rcnn",
    "maskrcnn_laptop",
    "maskrcnn_resnet18_fpn",
    "maskrcnn_resnet34_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet101_fpn",
    "register_backbone",
]

Samples = RecordedSampling  # its name before

_DEPTHS: dict[int, dict[str, Any]] = {
    18: {"block": "basic", "layers": (2, 2, 2, 2)},
    34: {"block": "basic", "layers": (3, 4, 6, 3)},
    50: {"block": "bottleneck", "layers": (3, 4, 6, 3)},
    101: {"block": "bottleneck", "layers": (3, 4, 23, 3)},
}

mask_rcnn = preset("mask_rcnn", masks=True)
faster_rcnn = preset("faster_rcnn", masks=False)
maskrcnn_resnet18_fpn = preset("maskrcnn_resnet18_fpn", masks=True, **_DEPTHS[18])
maskrcnn_resnet34_fpn = preset("maskrcnn_resnet34_fpn", masks=True, **_DEPTHS[34])
maskrcnn_resnet50_fpn = preset("maskrcnn_resnet50_fpn", masks=True, **_DEPTHS[50])
maskrcnn_resnet101_fpn = preset("maskrcnn_resnet101_fpn", masks=True, **_DEPTHS[101])
fasterrcnn_resnet18_fpn = preset("fasterrcnn_resnet18_fpn", masks=False, **_DEPTHS[18])
fasterrcnn_resnet34_fpn = preset("fasterrcnn_resnet34_fpn", masks=False, **_DEPTHS[34])
fasterrcnn_resnet50_fpn = preset("fasterrcnn_resnet50_fpn", masks=False, **_DEPTHS[50])
fasterrcnn_resnet101_fpn = preset("fasterrcnn_resnet101_fpn", masks=False, **_DEPTHS[101])

LAPTOP: dict[str, Any] = {
    "block": "basic",
    "layers": (1, 1, 1, 1),
    "norm": "batch",
    "fpn_channels": 64,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "box_head_width": 256,
    "mask_head_channels": (64, 64, 64, 64),
    "mask_predictor_channels": 64,
    "min_size": None,
    "max_size": 1024,
    "rpn_pre_nms_top_n_train": 500,
    "rpn_post_nms_top_n_train": 200,
    "rpn_pre_nms_top_n_test": 500,
    "rpn_post_nms_top_n_test": 200,
    # Half of many regions are positives: from random weights the classes are what takes longest to
    # learn.  The mask branch costs more than all else, and learns as fast from a few of them.
    "box_batch_size_per_image": 128,
    "box_positive_fraction": 0.5,
    "mask_batch_size_per_image": 8,
}


def maskrcnn_laptop(
    classes: Sequence[str] | None = None,
    *,
    num_classes: int | None = None,
    convention: str | Convention | Mapping[str, Any] = "exact",
    seed: int = 0,
    **options: Any,
) -> MaskRCNN:
    """A small Mask R-CNN that trains from random weights on two cores in minutes.

    Args:
        classes: names of the classes, without background.
        num_classes: instead of `classes`: their number, background included.
        convention: whose choices to follow; "exact" is torchvision's with half pixels put
            right, which small objects gain from.
        seed: of the random weights.
        **options: fields of `Architecture` and `Convention`, and `HYPERPARAMETERS`, to change. Images are used at their
            own size up to 1024 pixels unless `min_size` and `max_size` say otherwise.
    """
    choices = (num_classes, classes, convention, seed, options)
    model = _laptop("maskrcnn_laptop", True, *choices)
    assert isinstance(model, MaskRCNN)
    return model


def fasterrcnn_laptop(
    classes: Sequence[str] | None = None,
    *,
    num_classes: int | None = None,
    convention: str | Convention | Mapping[str, Any] = "exact",
    seed: int = 0,
    **options: Any,
) -> FasterRCNN:
    """`maskrcnn_laptop` without its mask branch; arguments as there."""
    choices = (num_classes, classes, convention, seed, options)
    return _laptop("fasterrcnn_laptop", False, *choices)


def _laptop(
    name: str,
    masks: bool,
    num_classes: int | None,
    classes: Sequence[str] | None,
    convention: str | Convention | Mapping[str, Any],
    seed: int,
    options: Mapping[str, Any],
) -> FasterRCNN:
    return make(
        name,
        LAPTOP,
        masks=masks,
        num_classes=num_classes,
        classes=classes,
        convention=convention,
        seed=seed,
        options=options,
    )


MODELS = {
    function.__name__: function
    for function in (
        mask_rcnn,
        faster_rcnn,
        maskrcnn_resnet18_fpn,
        maskrcnn_resnet34_fpn,
        maskrcnn_resnet50_fpn,
        maskrcnn_resnet101_fpn,
        fasterrcnn_resnet18_fpn,
        fasterrcnn_resnet34_fpn,
        fasterrcnn_resnet50_fpn,
        fasterrcnn_resnet101_fpn,
        maskrcnn_laptop,
        fasterrcnn_laptop,
    )
}


def build(config: Mapping[str, Any]) -> FasterRCNN:
    """The model a `model.config` describes: {"model": name, "classes": [...], ...options}.

    Raises:
        ValueError: no model of that name, or options it does not have.
    """
    options = dict(config)
    name = options.pop("model", None)
    if name not in MODELS:
        raise ValueError(f"config: model {name!r} is none of {', '.join(MODELS)}")
    return MODELS[name](**options)
