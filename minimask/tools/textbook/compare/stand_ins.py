"""Small networks with random weights, for choices about parts that a network does not have.

They also show choices that only matter together with others, or only for an untrained network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minimask import models
from minimask.conventions import Convention
from minimask.data.sample import Target
from minimask.tools.textbook.compare import scenes

OUTSIZE = 40.0  # times: the weights of layers that shall say something absurd

NARROW: dict[str, Any] = {
    "block": "bottleneck",
    "layers": (1, 1, 1, 1),
    "stem_channels": 8,
    "fpn_channels": 16,
    "box_head_width": 32,
    "min_size": scenes.INPUT,
    "max_size": 160,
    "norm": "batch",
    "seed": 1,
}
MASKS: dict[str, Any] = {"mask_head_channels": (16,), "mask_predictor_channels": 16}
SIZES = (8, 16, 32, 64, 128)
CLASSES = ("bus", "N/A", "cup", "N/A")  # some of them are never annotated
BOX_LAYERS = ("rpn.head.bbox_pred", "roi_heads.box_predictor.bbox_pred")
CLASS_LAYER = ("roi_heads.box_predictor.cls_score",)


@dataclass(frozen=True)
class StandIn:
    """A network to be built, and the scene that it looks at.

    Attributes:
        words: what it is.
        options: of its factory.
        outsize: layers whose weights are made so large that its results are absurd.
        of_keypoints: a Keypoint R-CNN; else a Mask R-CNN.
        at_limits: its objects lie at the limit between two levels of its pyramid.
    """

    words: str = "a small Mask R-CNN"
    options: Mapping[str, Any] = field(default_factory=dict)
    outsize: tuple[str, ...] = ()
    of_keypoints: bool = False
    at_limits: bool = False

    def build(self, convention: Convention) -> tuple[Any, np.ndarray, Target]:
        """The network in eval mode, an image, and its objects."""
        options = NARROW | {"anchor_sizes": SIZES, "convention": convention}
        if self.of_keypoints:
            options |= {"classes": ["person"], "keypoint_head_channels": (16,)}
            model = models.keypoint_rcnn(**(options | self.options))
        else:
            model = models.mask_rcnn(**({"num_classes": 4} | options | MASKS | self.options))
        modules = dict(model.named_modules())
        for name in self.outsize:
            weight = modules[name].weight
            weight.data *= OUTSIZE / weight.data.std()
        return (model.eval(), *(scenes.at_limits if self.at_limits else scenes.difficult)(model))


DILATED = StandIn(
    "a small Mask R-CNN whose last stage is dilated, without a pyramid",
    {"features": "dc5", "anchor_sizes": SIZES[1:4]},
)
ABSURD = StandIn("a small Mask R-CNN whose boxes are absurdly large and small", {}, BOX_LAYERS)
KEYPOINTS = StandIn("a small Keypoint R-CNN", of_keypoints=True)
NEARLY_ALL = {"rpn_nms_thresh": 0.99}
STAND_INS = {
    "stride_in_1x1": StandIn("a small Mask R-CNN of bottlenecks"),
    "dilate_first_block": DILATED,
    "single_map_divisor": DILATED,
    "anchor_order": DILATED,
    "delta_clamp": ABSURD,
    "rpn_min_size": ABSURD,
    "box_min_size": ABSURD,
    "keypoint_loss_divisor": KEYPOINTS,
    "keypoint_score": KEYPOINTS,
    "level_rule": StandIn(
        "a small Mask R-CNN, objects whose size is the limit between two levels", at_limits=True
    ),
    "box_best_iou_min": StandIn(
        "a small Mask R-CNN whose best proposals count, without the true boxes among them",
        {"best_box_is_taken": True, "append_gt_boxes": False, "box_score_thresh": 0.0},
    ),
    "rpn_loss_divisor": StandIn(
        "a small Mask R-CNN that asks for more anchors than there are",
        {"rpn_batch_size_per_image": 16384},
    ),
    "fill_rois": StandIn(
        "a small Mask R-CNN with fewer proposals than the regions it asks for",
        {"rpn_post_nms_top_n_train": 40, "box_batch_size_per_image": 128},
    ),
    "active_classes_only": StandIn(
        "a small Mask R-CNN two of whose four classes are never annotated (N/A)",
        {"num_classes": None, "classes": CLASSES},
        CLASS_LAYER,
    ),
    "box_positive_fraction": StandIn(
        "a small Mask R-CNN that learns from 16 regions", {"box_batch_size_per_image": 16}
    ),
    "rpn_pre_nms_top_n_train": StandIn(
        "a small Mask R-CNN that keeps nearly all proposals",
        {"rpn_post_nms_top_n_train": 8000, **NEARLY_ALL},
    ),
    "rpn_pre_nms_top_n_test": StandIn(
        "a small Mask R-CNN that keeps nearly all proposals",
        {"rpn_post_nms_top_n_test": 8000, **NEARLY_ALL},
    ),
}


def stand_in(name: str, own: Mapping[str, Any]) -> StandIn:
    """A small network on which a choice can be seen.

    Args:
        name: a field of `Convention`, or a hyperparameter.
        own: options that it has besides.
    """
    chosen = STAND_INS.get(name, StandIn())
    options = {**chosen.options, **own}
    return StandIn(chosen.words, options, chosen.outsize, chosen.of_keypoints, chosen.at_limits)
