"""From sizes to the detectors before Faster R-CNN, and to its first stage alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minimask.conventions import HYPERPARAMETERS, Convention
from minimask.models.architecture import Architecture
from minimask.models.bodies import BODIES
from minimask.models.box_head import BoxPredictor
from minimask.models.factory import Family, among, fields_of
from minimask.models.fast_rcnn import FastRCNN
from minimask.models.given_proposals import GridProposer
from minimask.models.proposal_network import ProposalNetwork
from minimask.models.rcnn import RCNN, CropHeads, CropNetwork, ImageItself
from minimask.models.roi_heads import RoIHeads
from minimask.models.rpn import RPN
from minimask.models.two_stage import (
    box_branch,
    for_features,
    judge_active,
    make_body,
    make_features,
    rpn_head,
)

SIZES = frozenset(fields_of(Architecture))
MASKS = ("mask_", "keypoint_")
RPN_OPTIONS = frozenset(name for name in HYPERPARAMETERS if name.startswith("rpn_"))
BOX_OPTIONS = frozenset(n for n in HYPERPARAMETERS if not n.startswith(("rpn_", *MASKS)))
GRID = frozenset(f"grid_{name}" for name in fields_of(GridProposer))
CROPS = frozenset({"crop_size", "crop_context"})

# fields of `Convention`
OF_MASKS = frozenset({"mask_target", "mask_target_aligned", "paste"})
OF_KEYPOINTS = frozenset({"keypoint_loss_divisor", "keypoint_score"})
OF_POOLING = frozenset({"level_rule", "roi_aligned", "sampling_ratio"})
OF_MAPS = frozenset({"map_strides", "single_map_divisor", "dilate_first_block"})
OF_BOXES = frozenset(
    {
        *("background", "append_gt_boxes", "box_weights", "box_loss_divisor", "box_loss_beta"),
        *("box_best_iou_min", "box_min_size", "best_class_only", "fill_rois"),
        *("active_classes_only", "moving_targets"),
    }
)
OF_ANCHORS = frozenset(
    {
        *("round_anchors", "anchor_offset", "anchor_order", "rpn_box_weights", "rpn_best_iou_min"),
        *("rpn_loss_divisor", "rpn_loss_beta", "rpn_min_size", "proposals_per_level"),
        *("rpn_border", "proposal_limits"),
    }
)


def _without(*prefixes: str) -> frozenset[str]:
    """The options of an architecture but for those of parts that are not there."""
    return frozenset(name for name in SIZES if not name.startswith(prefixes))


def assemble_rpn(
    classes: Sequence[str],
    c: Convention,
    options: Mapping[str, Any],
    seed: int,
    config: dict[str, Any],
) -> ProposalNetwork:
    """Make a network of the first stage; arguments as for `two_stage.assemble`."""
    a = Architecture(**among(options, SIZES))
    c = for_features(a, c)
    rng = np.random.default_rng(seed)
    backbone, anchors = make_features(a, c, rng)
    of_rpn = {name.removeprefix("rpn_"): v for name, v in among(options, RPN_OPTIONS).items()}
    head = rpn_head(a, backbone.channels, anchors.per_cell, rng)
    rpn = RPN(head, anchors, c, **of_rpn)
    return ProposalNetwork(backbone, rpn, **_shared(a, c, classes, config))


def assemble_fast(
    classes: Sequence[str],
    c: Convention,
    options: Mapping[str, Any],
    seed: int,
    config: dict[str, Any],
) -> FastRCNN:
    """Make a Fast R-CNN; arguments as for `two_stage.assemble`."""
    a = Architecture(**among(options, SIZES))
    c = for_features(a, c)
    rng = np.random.default_rng(seed)
    num_classes = len(classes) + 1
    backbone, _ = make_features(a, c, rng)
    heads = box_branch(a, c, backbone, num_classes, rng)
    roi_heads = RoIHeads(**heads, num_classes=num_classes, convention=c, **_of_boxes(options))
    judge_active(roi_heads, classes, c)
    return FastRCNN(backbone, roi_heads, _grid(options), **_shared(a, c, classes, config))


def assemble_rcnn(
    classes: Sequence[str],
    c: Convention,
    options: Mapping[str, Any],
    seed: int,
    config: dict[str, Any],
) -> RCNN:
    """Make an R-CNN; arguments as for `two_stage.assemble`."""
    a = Architecture(**among(options, SIZES))
    if a.backbone != "resnet" and a.backbone not in BODIES:
        raise ValueError(
            f"backbone: R-CNN classifies crops with a body, and {a.backbone!r} is none"
        )
    rng = np.random.default_rng(seed)
    body = make_body(a, c, rng)
    body.freeze(a.trainable_layers)
    num_classes = len(classes) + 1
    rows = num_classes if c.background == "first" else num_classes - 1
    predictor = BoxPredictor(body.out_channels[-1], num_classes, rows, rng)
    crops = among(options, CROPS)
    roi_heads = CropHeads(
        CropNetwork(body), predictor, num_classes, c, **crops, **_of_boxes(options)
    )
    judge_active(roi_heads, classes, c)
    return RCNN(ImageItself(), roi_heads, _grid(options), **_shared(a, c, classes, config))


def _shared(
    a: Architecture, c: Convention, classes: Sequence[str], config: dict[str, Any]
) -> dict[str, Any]:
    """What every `Detector` takes."""
    sizes: dict[str, Any] = {"min_size": a.min_size, "max_size": a.max_size}
    return {"classes": classes, "convention": c, "config": config, **sizes}


def _of_boxes(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `RoIHeads` among the options."""
    return {name.removeprefix("box_"): v for name, v in among(options, BOX_OPTIONS).items()}


def _grid(options: Mapping[str, Any]) -> GridProposer:
    return GridProposer(**{n.removeprefix("grid_"): v for n, v in among(options, GRID).items()})


PROPOSALS = Family(
    "A region proposal network",
    _without("box_", *MASKS) | RPN_OPTIONS,
    assemble_rpn,
    unread=OF_MASKS | OF_KEYPOINTS | OF_POOLING | OF_BOXES,
)
FAST_RCNN = Family(
    "Fast R-CNN",
    (_without("rpn_", "anchor_", "aspect_", *MASKS) | BOX_OPTIONS | GRID),
    assemble_fast,
    unread=OF_MASKS | OF_KEYPOINTS | OF_ANCHORS | {"moving_targets"},
)
R_CNN = Family(
    "R-CNN",
    _without("rpn_", "anchor_", "aspect_", "box_", "fpn_", "features", *MASKS)
    | (BOX_OPTIONS - {"roi_op", "roi_reduce"})
    | GRID
    | CROPS,
    assemble_rcnn,
    unread=OF_MASKS | OF_KEYPOINTS | OF_ANCHORS | OF_POOLING | OF_MAPS | {"moving_targets"},
)
