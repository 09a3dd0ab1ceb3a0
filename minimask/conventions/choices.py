"""What there is to choose: the fields of a convention, and the values that each may have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Thresholds, counts, batch sizes and switches of the two stages: no disagreement but a matter of
# taste or of an experiment.  Their defaults and sources stand in the signatures of `RPN` and
# `RoIHeads` (minimask/models); here are their names as options of a factory and in saved runs.
HYPERPARAMETERS = (
    "rpn_fg_iou_thresh",
    "rpn_bg_iou_thresh",
    "rpn_batch_size_per_image",
    "rpn_positive_fraction",
    "rpn_pre_nms_top_n_train",
    "rpn_pre_nms_top_n_test",
    "rpn_post_nms_top_n_train",
    "rpn_post_nms_top_n_test",
    "rpn_nms_thresh",
    "rpn_score_thresh",
    "roi_op",
    "roi_reduce",
    "box_fg_iou_thresh",
    "box_bg_iou_thresh",
    "box_batch_size_per_image",
    "box_positive_fraction",
    "box_negatives_per_positive",
    "box_score_thresh",
    "box_nms_thresh",
    "box_detections_per_img",
    "mask_batch_size_per_image",
    "keypoint_batch_size_per_image",
    "mask_output",
    "mask_on",
)

SIZES = ("rpn_channels", "max_size")

Four = tuple[float, float, float, float]
Three = tuple[float, float, float]


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise a ValueError that names the option unless its value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True)
class Convention:
    """Every choice a model reads; the defaults are torchvision's."""

    name: str = "torchvision"
    # options of a factory (`HYPERPARAMETERS`) that the system's own configurations set otherwise
    # than the signatures of `RPN` and `RoIHeads` do
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    # sizes of the network (`SIZES`) that they set otherwise than `Architecture` does
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    # --- the image: pixels 0..255, RGB outside --------------------------------------------------
    channels: str = "rgb"  # the network's channel order: "rgb" or "bgr"
    pixel_mean: Three = (0.485 * 255, 0.456 * 255, 0.406 * 255)  # in the network's order
    pixel_std: Three = (0.229 * 255, 0.224 * 255, 0.225 * 255)
    # "float": bilinear on floats; on 8 bits: "pillow", antialiased, "opencv", which is not, or
    # "skimage", which takes what is outside for black and cuts fractions off
    image_resize: str = "float"
    # of height and width after resizing: "floor", "nearest", or "even": halves to even numbers,
    # and the limit of the long side is looked at after rounding
    size_rounding: str = "floor"
    pad_square: bool = False  # center the image in a square of max_size, which also limits it
    pad_with: str = "zero"  # "zero" after normalizing, or "black" pixels before it
    size_divisor: int = 32  # batches are padded to a multiple of this
    single_map_divisor: int | None = None  # the same without a pyramid, where it is another

    # --- backbone --------------------------------------------------------------------------------
    stride_in_1x1: bool = False  # bottleneck: stride in the first 1x1 convolution, not the 3x3
    norm_eps: float = 1e-5
    stem_pool_padding: str = "both"  # "both" sides, or "after": only bottom and right (TF "SAME")
    dilate_first_block: bool = False  # dilated C5: also the block that would halve the size

    # --- boxes -----------------------------------------------------------------------------------
    # what boxes inside the network are named by, see minimask.models.box_corners: the "edges" of
    # their pixels, or the first and last of the "pixels", so that widths count one less
    box_corners: str = "edges"
    # where proposals are cut off: at the "image", or at the padded "input"
    proposal_limits: str = "image"
    # the boxes training learns from: as "given", or those of the resized "masks", where there are
    # masks; an object of which no pixel is left is dropped
    target_boxes: str = "given"
    # masks are resized by "cells", of which the first and last keep their size, or by "corners":
    # the centers of the first and last pixel stay where they are
    mask_resize: str = "cells"
    detection_boxes: str = "exact"  # "whole": rounded to pixels of the image; empty ones dropped
    # "background", or "ignored": boxes that touch one of the crowds are no negatives
    crowds: str = "background"

    # --- anchors and the region proposal network ------------------------------------------------
    round_anchors: bool = True  # corners of the anchor at cell (0, 0) rounded to whole pixels
    # cells between anchors, where the padded image is no multiple of the stride: "measured", the
    # image's pixels by the map's cells; "fixed", the network's stride
    map_strides: str = "measured"
    anchor_offset: float = 0.0  # center of the first anchor, in strides: 0 or 0.5
    anchor_order: str = (
        "ratio"  # which runs slowest when a level has several sizes: "ratio", "size"
    )
    rpn_box_weights: Four = (1.0, 1.0, 1.0, 1.0)
    delta_clamp: str = "upper"  # of ln(growth): "upper", "both", "none"
    # anchors that leave the image by as many pixels or more are not learned from; None: all are
    rpn_border: float | None = None
    rpn_best_iou_min: float = 0.0  # the best anchor of an object counts if its IoU is at least this
    # a box that is best for an object stands for it even where it overlaps another object more
    best_box_is_taken: bool = False
    rpn_loss_divisor: str = (
        "sampled"  # "sampled" anchors, "batch_size" (also where fewer), "positives"
    )
    rpn_loss_beta: float = 1 / 9  # smooth L1: quadratic below this; 0 is L1
    # proposals with a shorter side are dropped; 0: those without area; None: none
    rpn_min_size: float | None = 1e-3
    proposals_per_level: bool = True  # best-n and suppression on each level, or on all together

    # --- features of RoIs ------------------------------------------------------------------------
    level_rule: str = "torchvision"  # see minimask.models.roi_pooling.pyramid_levels
    roi_aligned: bool = False  # RoIAlign shifted by half a cell
    sampling_ratio: int = 2  # RoIAlign samples per bin and axis; 0: as many as cells

    # --- second stage ----------------------------------------------------------------------------
    background: str = "first"  # "first": class 0 is background; "last", without box and mask rows
    append_gt_boxes: bool = True  # ground-truth boxes join the proposals in training
    # the best proposal of an object stands for it if its IoU is at least this; None: no such rule
    box_best_iou_min: float | None = None
    box_weights: Four = (10.0, 10.0, 5.0, 5.0)
    box_loss_divisor: str = "sampled"  # "sampled" RoIs or "positives"
    box_loss_beta: float = 1 / 9
    box_min_size: float | None = 1e-2
    # RoIs to learn classes from are filled up to their number with empty background boxes
    fill_rois: bool = False
    # the gradient of the box loss also reaches the first stage, see minimask.models.moving_targets
    moving_targets: bool = False
    # RoIs taken for a class that the data lacks (named "N/A") are not learned classes from
    active_classes_only: bool = False
    best_class_only: bool = False  # an RoI yields only its most probable class

    # --- masks -----------------------------------------------------------------------------------
    # "soft": share of each cell; "hard": at least half; "polygon": drawn from the object's
    # polygons, "hard" for objects that have none; "mini": see minimask.models.mini_masks
    mask_target: str = "soft"
    mask_target_aligned: bool = False
    paste: str = "torchvision"  # see minimask.models.paste

    # --- keypoints -------------------------------------------------------------------------------
    # the loss is divided by the keypoints it is of, "visible" ones inside their RoIs, or by those
    # of as many positives as a "batch_size" allows (also where fewer)
    keypoint_loss_divisor: str = "visible"
    keypoint_score: str = "logit"  # height of the heat map's peak; "probability": its share

    def __post_init__(self) -> None:
        for choice, allowed in CHOICES.items():
            check_choice(choice, getattr(self, choice), allowed)
        unknown = sorted(set(self.hyperparameters) - set(HYPERPARAMETERS))
        unknown += sorted(set(self.sizes) - set(SIZES))
        if unknown:
            raise ValueError(f"convention: no such field: {', '.join(unknown)}")
        for field in dataclasses.fields(self):  # JSON has no tuples
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))


CHOICES = {
    "channels": ("rgb", "bgr"),
    "image_resize": ("float", "pillow", "opencv", "skimage"),
    "size_rounding": ("floor", "nearest", "even"),
    "pad_with": ("zero", "black"),
    "stem_pool_padding": ("both", "after"),
    "box_corners": ("edges", "pixels"),
    "proposal_limits": ("image", "input"),
    "target_boxes": ("given", "masks"),
    "mask_resize": ("cells", "corners"),
    "detection_boxes": ("exact", "whole"),
    "crowds": ("background", "ignored"),
    "map_strides": ("measured", "fixed"),
    "anchor_order": ("ratio", "size"),
    "delta_clamp": ("upper", "both", "none"),
    "rpn_loss_divisor": ("sampled", "batch_size", "positives"),
    "level_rule": ("torchvision", "detectron2", "mmdet", "matterport", "paper"),
    "background": ("first", "last"),
    "box_loss_divisor": ("sampled", "positives"),
    "mask_target": ("soft", "hard", "polygon", "mini"),
    "paste": ("torchvision", "detectron2", "matterport"),
    "keypoint_loss_divisor": ("visible", "batch_size"),
    "keypoint_score": ("logit", "probability"),
}
