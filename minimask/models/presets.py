"""The models by name: nothing but sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minimask.models.factory import preset
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.two_stage import FASTER_RCNN, MASK_RCNN

_DEPTHS: dict[int, dict[str, Any]] = {
    18: {"block": "basic", "layers": (2, 2, 2, 2)},
    34: {"block": "basic", "layers": (3, 4, 6, 3)},
    50: {"block": "bottleneck", "layers": (3, 4, 6, 3)},
    101: {"block": "bottleneck", "layers": (3, 4, 23, 3)},
}

mask_rcnn = preset("mask_rcnn", MASK_RCNN)
faster_rcnn = preset("faster_rcnn", FASTER_RCNN)
maskrcnn_resnet18_fpn = preset("maskrcnn_resnet18_fpn", MASK_RCNN, **_DEPTHS[18])
maskrcnn_resnet34_fpn = preset("maskrcnn_resnet34_fpn", MASK_RCNN, **_DEPTHS[34])
maskrcnn_resnet50_fpn = preset("maskrcnn_resnet50_fpn", MASK_RCNN, **_DEPTHS[50])
maskrcnn_resnet101_fpn = preset("maskrcnn_resnet101_fpn", MASK_RCNN, **_DEPTHS[101])
fasterrcnn_resnet18_fpn = preset("fasterrcnn_resnet18_fpn", FASTER_RCNN, **_DEPTHS[18])
fasterrcnn_resnet34_fpn = preset("fasterrcnn_resnet34_fpn", FASTER_RCNN, **_DEPTHS[34])
fasterrcnn_resnet50_fpn = preset("fasterrcnn_resnet50_fpn", FASTER_RCNN, **_DEPTHS[50])
fasterrcnn_resnet101_fpn = preset("fasterrcnn_resnet101_fpn", FASTER_RCNN, **_DEPTHS[101])

# three levels, and on each of them all sizes, as torchvision has it
_MOBILENET_FPN: dict[str, Any] = {
    "backbone": "mobilenet_v3_large",
    "returned_layers": (4, 5),
    "anchor_sizes": ((32, 64, 128, 256, 512),) * 3,
    "rpn_score_thresh": 0.05,
}
fasterrcnn_mobilenet_v3_large_fpn = preset(
    "fasterrcnn_mobilenet_v3_large_fpn", FASTER_RCNN, **_MOBILENET_FPN
)
fasterrcnn_mobilenet_v3_large_320_fpn = preset(
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    FASTER_RCNN,
    **_MOBILENET_FPN,
    min_size=320,
    max_size=640,
    rpn_pre_nms_top_n_test=150,
    rpn_post_nms_top_n_test=150,
)
# Faster R-CNN as first published, on conv5_3: sections 3.3 and 4; RoIPool, fc6 and fc7 of VGG-16
fasterrcnn_vgg16 = preset(
    "fasterrcnn_vgg16",
    FASTER_RCNN,
    backbone="vgg16",
    features="c4",
    trainable_layers=3,  # conv3_1 and up
    anchor_sizes=(128, 256, 512),
    roi_op="pool",
    box_head_width=4096,
    box_batch_size_per_image=128,
    box_nms_thresh=0.3,
    min_size=600,
    max_size=1000,
    rpn_pre_nms_top_n_train=12000,
    rpn_pre_nms_top_n_test=6000,
    rpn_post_nms_top_n_test=300,
)


def _pyramid_on(kind: str, body: str) -> Any:
    family = MASK_RCNN if kind == "maskrcnn" else FASTER_RCNN
    return preset(f"{kind}_{body}_fpn", family, backbone=body)


fasterrcnn_vgg16_fpn = _pyramid_on("fasterrcnn", "vgg16")
fasterrcnn_efficientnet_b0_fpn = _pyramid_on("fasterrcnn", "efficientnet_b0")
fasterrcnn_efficientnet_b3_fpn = _pyramid_on("fasterrcnn", "efficientnet_b3")
maskrcnn_vgg16_fpn = _pyramid_on("maskrcnn", "vgg16")
maskrcnn_efficientnet_b0_fpn = _pyramid_on("maskrcnn", "efficientnet_b0")
maskrcnn_efficientnet_b3_fpn = _pyramid_on("maskrcnn", "efficientnet_b3")
maskrcnn_mobilenet_v3_large_fpn = _pyramid_on("maskrcnn", "mobilenet_v3_large")

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

_laptop: dict[str, Any] = {"convention": "exact", "default_classes": None, **LAPTOP}
_maskrcnn_laptop = preset("maskrcnn_laptop", MASK_RCNN, **_laptop)
_fasterrcnn_laptop = preset("fasterrcnn_laptop", FASTER_RCNN, **_laptop)


def maskrcnn_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> MaskRCNN:
    """A small Mask R-CNN that trains from random weights on two cores in minutes.

    Its convention is "exact", torchvision's with half pixels put right, which small objects gain
    from; images are used at their own size up to 1024 pixels unless `min_size` and `max_size` say
    otherwise.

    Args:
        classes: names of the classes, without background.
        num_classes: instead of `classes`: their number, background included.
        **options: convention, seed, and what else `mask_rcnn` takes.
    """
    return _maskrcnn_laptop(num_classes, classes=classes, **options)


def fasterrcnn_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> FasterRCNN:
    """`maskrcnn_laptop` without its mask branch; arguments as there."""
    return _fasterrcnn_laptop(num_classes, classes=classes, **options)
