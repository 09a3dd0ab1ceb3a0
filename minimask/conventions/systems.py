"""What each system chose, and the conventions by name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from minimask.conventions.choices import Convention

TORCHVISION = Convention()

EXACT = Convention(
    # torchvision's choices with its half pixels put right, and keypoints with scores of 0 .. 1 as
    # everything else has: for your own training
    name="exact",
    roi_aligned=True,
    mask_target_aligned=True,
    paste="detectron2",
    keypoint_score="probability",
)

DETECTRON2 = Convention(
    name="detectron2",  # its defaults, for weights with the stride in the 1x1 convolution
    channels="bgr",
    pixel_mean=(103.530, 116.280, 123.675),
    pixel_std=(1.0, 1.0, 1.0),
    image_resize="pillow",
    size_rounding="nearest",
    single_map_divisor=1,
    stride_in_1x1=True,
    dilate_first_block=True,
    round_anchors=False,
    map_strides="fixed",
    anchor_order="size",
    rpn_loss_divisor="batch_size",
    rpn_loss_beta=0.0,
    hyperparameters={"rpn_post_nms_top_n_train": 1000},
    rpn_min_size=0.0,
    level_rule="detectron2",
    roi_aligned=True,
    sampling_ratio=0,
    background="last",
    box_loss_beta=0.0,
    box_min_size=0.0,
    mask_target="polygon",
    mask_target_aligned=True,
    paste="detectron2",
    keypoint_score="probability",
)

DETECTRON2_3X3 = dataclasses.replace(
    # its ResNeXt-101-32x8d: stride in the 3x3 convolution, still BGR, divided by ImageNet's spread
    DETECTRON2,
    name="detectron2_3x3",
    pixel_std=(57.375, 57.12, 58.395),
    stride_in_1x1=False,
)

DETECTRON2_TORCHVISION = dataclasses.replace(
    # bodies that its tools/convert-torchvision-to-d2.py made of torchvision's
    DETECTRON2_3X3,
    name="detectron2_torchvision",
    channels="rgb",
    pixel_mean=(123.675, 116.28, 103.53),
    pixel_std=(58.395, 57.12, 57.375),
)

MMDET = Convention(
    name="mmdet",  # version 3, "pytorch" style
    pixel_mean=(123.675, 116.28, 103.53),
    pixel_std=(58.395, 57.12, 57.375),
    image_resize="opencv",
    size_rounding="nearest",
    dilate_first_block=True,
    round_anchors=False,
    map_strides="fixed",
    delta_clamp="both",
    rpn_best_iou_min=0.3,
    best_box_is_taken=True,
    rpn_loss_beta=0.0,
    hyperparameters={"rpn_post_nms_top_n_train": 1000},
    rpn_min_size=0.0,
    level_rule="mmdet",
    roi_aligned=True,
    sampling_ratio=0,
    background="last",
    box_best_iou_min=0.5,
    box_loss_beta=0.0,
    box_min_size=0.0,
    mask_target="hard",
    mask_target_aligned=True,
    paste="detectron2",
)

MMDET_CAFFE = dataclasses.replace(
    MMDET,  # "caffe" style: bodies that Detectron trained
    name="mmdet_caffe",
    channels="bgr",
    pixel_mean=(103.53, 116.28, 123.675),
    pixel_std=(1.0, 1.0, 1.0),
    stride_in_1x1=True,
)

MATTERPORT = Convention(
    name="matterport",
    pixel_mean=(123.7, 116.8, 103.9),
    pixel_std=(1.0, 1.0, 1.0),
    image_resize="skimage",
    size_rounding="even",
    pad_square=True,
    pad_with="black",
    size_divisor=64,
    stride_in_1x1=True,
    norm_eps=1e-3,
    stem_pool_padding="after",
    box_corners="pixels",
    proposal_limits="input",
    target_boxes="masks",
    mask_resize="corners",
    detection_boxes="whole",
    crowds="ignored",
    round_anchors=False,
    rpn_box_weights=(10.0, 10.0, 5.0, 5.0),
    delta_clamp="none",
    rpn_loss_divisor="positives",
    rpn_loss_beta=1.0,
    hyperparameters={
        "rpn_pre_nms_top_n_train": 6000,
        "rpn_pre_nms_top_n_test": 6000,
        "box_batch_size_per_image": 200,
        "box_positive_fraction": 0.33,
        "box_negatives_per_positive": 1 / 0.33 - 1,
        "box_score_thresh": 0.7,
        "box_nms_thresh": 0.3,
        "roi_op": "crop",
    },
    sizes={"rpn_channels": 512, "max_size": 1024},
    rpn_min_size=None,
    proposals_per_level=False,
    level_rule="matterport",
    sampling_ratio=1,
    append_gt_boxes=False,
    box_loss_divisor="positives",
    box_loss_beta=1.0,
    box_min_size=None,
    fill_rois=True,
    moving_targets=True,
    active_classes_only=True,
    best_class_only=True,
    mask_target="mini",
    paste="matterport",
)

PAPER = Convention(
    name="paper",  # Mask R-CNN, FPN and Fast R-CNN as printed, where they are specific
    size_rounding="nearest",
    stride_in_1x1=True,  # ResNet's figure 5 and the text of section 3.4
    dilate_first_block=True,  # Deformable ConvNets, section 3.1
    round_anchors=False,
    rpn_border=0,  # Faster R-CNN, section 3.3
    rpn_loss_beta=1.0,  # Fast R-CNN, equation 3
    rpn_min_size=0.0,
    level_rule="paper",  # FPN, equation 1
    sampling_ratio=2,  # Mask R-CNN, section 3: four samples in each bin
    box_loss_beta=1.0,
    box_min_size=0.0,
    mask_target="hard",  # Mask R-CNN, section 3: average *binary* cross-entropy
    paste="detectron2",
)

CONVENTIONS = {
    c.name: c
    for c in (
        *(TORCHVISION, EXACT, DETECTRON2, DETECTRON2_3X3, DETECTRON2_TORCHVISION),
        *(MMDET, MMDET_CAFFE, MATTERPORT, PAPER),
    )
}


def get_convention(which: str | Convention | Mapping[str, Any]) -> Convention:
    """The convention of that name; an object is passed through, a dict of fields is read.

    Raises:
        ValueError: no convention of that name, or a field that does not exist.
    """
    if isinstance(which, Convention):
        return which
    if isinstance(which, Mapping):
        known = {field.name for field in dataclasses.fields(Convention)}
        fields = {name: value for name, value in which.items() if name in known}
        # runs that were saved when these were fields of a convention have them beside the others
        others = {name: value for name, value in which.items() if name not in known}
        fields["hyperparameters"] = {**fields.get("hyperparameters", {}), **others}
        return Convention(**fields)
    if which not in CONVENTIONS:
        close = difflib.get_close_matches(str(which), CONVENTIONS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"convention: {which!r} is none of {', '.join(CONVENTIONS)}{hint}")
    return CONVENTIONS[which]
