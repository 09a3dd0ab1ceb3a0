"""The models by name: nothing but sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minimask.models.factory import preset
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.keypoint_rcnn import KeypointRCNN, MaskKeypointRCNN
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.two_stage import FASTER_RCNN, KEYPOINT_RCNN, MASK_KEYPOINT_RCNN, MASK_RCNN

# What each body has of its own (ResNet and ResNeXt: their tables 1; wide ResNets: torchvision's)
RESNET18: dict[str, Any] = {"block": "basic", "layers": (2, 2, 2, 2)}
RESNET34: dict[str, Any] = {"block": "basic", "layers": (3, 4, 6, 3)}
RESNET50: dict[str, Any] = {"block": "bottleneck", "layers": (3, 4, 6, 3)}
RESNET101: dict[str, Any] = {"block": "bottleneck", "layers": (3, 4, 23, 3)}
RESNET152: dict[str, Any] = {"block": "bottleneck", "layers": (3, 8, 36, 3)}
RESNEXT50_32X4D = RESNET50 | {"groups": 32, "width_per_group": 4}
RESNEXT101_32X4D = RESNET101 | {"groups": 32, "width_per_group": 4}
RESNEXT101_32X8D = RESNET101 | {"groups": 32, "width_per_group": 8}
RESNEXT101_64X4D = RESNET101 | {"groups": 64, "width_per_group": 4}
WIDE_RESNET50_2 = RESNET50 | {"width_per_group": 128}
WIDE_RESNET101_2 = RESNET101 | {"width_per_group": 128}
# torchvision's second version, after "Benchmarking detection transfer learning with vision
# transformers" (Li et al. 2021): batch norms that are trained, and more convolutions
V2 = RESNET50 | {
    "norm": "batch",
    "fpn_norm": "batch",
    "rpn_conv_depth": 2,
    "box_head": "conv",
    "box_head_norm": "batch",
}

mask_rcnn = preset("mask_rcnn", MASK_RCNN)
faster_rcnn = preset("faster_rcnn", FASTER_RCNN)
maskrcnn_resnet18_fpn = preset("maskrcnn_resnet18_fpn", MASK_RCNN, **RESNET18)
maskrcnn_resnet34_fpn = preset("maskrcnn_resnet34_fpn", MASK_RCNN, **RESNET34)
maskrcnn_resnet50_fpn = preset("maskrcnn_resnet50_fpn", MASK_RCNN, **RESNET50)
maskrcnn_resnet101_fpn = preset("maskrcnn_resnet101_fpn", MASK_RCNN, **RESNET101)
maskrcnn_resnet152_fpn = preset("maskrcnn_resnet152_fpn", MASK_RCNN, **RESNET152)
maskrcnn_resnext50_32x4d_fpn = preset("maskrcnn_resnext50_32x4d_fpn", MASK_RCNN, **RESNEXT50_32X4D)
maskrcnn_resnext101_32x4d_fpn = preset(
    "maskrcnn_resnext101_32x4d_fpn", MASK_RCNN, **RESNEXT101_32X4D
)
maskrcnn_resnext101_32x8d_fpn = preset(
    "maskrcnn_resnext101_32x8d_fpn", MASK_RCNN, **RESNEXT101_32X8D
)
maskrcnn_resnext101_64x4d_fpn = preset(
    "maskrcnn_resnext101_64x4d_fpn", MASK_RCNN, **RESNEXT101_64X4D
)
maskrcnn_wide_resnet50_2_fpn = preset("maskrcnn_wide_resnet50_2_fpn", MASK_RCNN, **WIDE_RESNET50_2)
maskrcnn_wide_resnet101_2_fpn = preset(
    "maskrcnn_wide_resnet101_2_fpn", MASK_RCNN, **WIDE_RESNET101_2
)
fasterrcnn_resnet18_fpn = preset("fasterrcnn_resnet18_fpn", FASTER_RCNN, **RESNET18)
fasterrcnn_resnet34_fpn = preset("fasterrcnn_resnet34_fpn", FASTER_RCNN, **RESNET34)
fasterrcnn_resnet50_fpn = preset("fasterrcnn_resnet50_fpn", FASTER_RCNN, **RESNET50)
fasterrcnn_resnet101_fpn = preset("fasterrcnn_resnet101_fpn", FASTER_RCNN, **RESNET101)
fasterrcnn_resnet152_fpn = preset("fasterrcnn_resnet152_fpn", FASTER_RCNN, **RESNET152)
fasterrcnn_resnext50_32x4d_fpn = preset(
    "fasterrcnn_resnext50_32x4d_fpn", FASTER_RCNN, **RESNEXT50_32X4D
)
fasterrcnn_resnext101_32x4d_fpn = preset(
    "fasterrcnn_resnext101_32x4d_fpn", FASTER_RCNN, **RESNEXT101_32X4D
)
fasterrcnn_resnext101_32x8d_fpn = preset(
    "fasterrcnn_resnext101_32x8d_fpn", FASTER_RCNN, **RESNEXT101_32X8D
)
fasterrcnn_resnext101_64x4d_fpn = preset(
    "fasterrcnn_resnext101_64x4d_fpn", FASTER_RCNN, **RESNEXT101_64X4D
)
fasterrcnn_wide_resnet50_2_fpn = preset(
    "fasterrcnn_wide_resnet50_2_fpn", FASTER_RCNN, **WIDE_RESNET50_2
)
fasterrcnn_wide_resnet101_2_fpn = preset(
    "fasterrcnn_wide_resnet101_2_fpn", FASTER_RCNN, **WIDE_RESNET101_2
)
maskrcnn_resnet50_fpn_v2 = preset(
    "maskrcnn_resnet50_fpn_v2", MASK_RCNN, **V2, mask_head_norm="batch"
)
fasterrcnn_resnet50_fpn_v2 = preset("fasterrcnn_resnet50_fpn_v2", FASTER_RCNN, **V2)

_PERSON: dict[str, Any] = {
    "default_classes": ("person",),
    "min_size": (640, 672, 704, 736, 768, 800),  # Mask R-CNN, section 5
}
keypoint_rcnn = preset("keypoint_rcnn", KEYPOINT_RCNN, **_PERSON)
keypointrcnn_resnet50_fpn = preset(
    "keypointrcnn_resnet50_fpn", KEYPOINT_RCNN, **_PERSON, **RESNET50
)
mask_keypoint_rcnn = preset("mask_keypoint_rcnn", MASK_KEYPOINT_RCNN, **_PERSON)
maskkeypointrcnn_resnet50_fpn = preset(
    "maskkeypointrcnn_resnet50_fpn", MASK_KEYPOINT_RCNN, **_PERSON, **RESNET50
)

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
    "rpn_channels": None,
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
# The heat maps of a keypoint say one pixel each, where a mask says all: more RoIs are learned.
LAPTOP_KEYPOINTS: dict[str, Any] = {
    "keypoint_head_channels": (64,) * 4,
    "keypoint_batch_size_per_image": 16,
}

LAPTOP_DEFAULTS: dict[str, Any] = {"convention": "exact", "default_classes": None, **LAPTOP}
_maskrcnn_laptop = preset("maskrcnn_laptop", MASK_RCNN, **LAPTOP_DEFAULTS)
_fasterrcnn_laptop = preset("fasterrcnn_laptop", FASTER_RCNN, **LAPTOP_DEFAULTS)
_with_keypoints = LAPTOP_DEFAULTS | LAPTOP_KEYPOINTS
_keypointrcnn_laptop = preset("keypointrcnn_laptop", KEYPOINT_RCNN, **_with_keypoints)
_maskkeypointrcnn_laptop = preset("maskkeypointrcnn_laptop", MASK_KEYPOINT_RCNN, **_with_keypoints)


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


def keypointrcnn_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> KeypointRCNN:
    """A small Keypoint R-CNN, as `maskrcnn_laptop` is a small Mask R-CNN.

    Args:
        classes: names of the classes, without background; all have the same keypoints.
        num_classes: instead of `classes`: their number, background included.
        **options: skeleton or num_keypoints, and as for `maskrcnn_laptop`.
    """
    return _keypointrcnn_laptop(num_classes, classes=classes, **options)


def maskkeypointrcnn_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> MaskKeypointRCNN:
    """`keypointrcnn_laptop` with the mask branch of `maskrcnn_laptop`; arguments as there."""
    return _maskkeypointrcnn_laptop(num_classes, classes=classes, **options)
