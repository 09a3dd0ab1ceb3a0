"""Small networks with random weights, for choices about parts that a network does not have.

They also show choices that only matter together with others, or only for an untrained network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from minimask import models
from minimask.conventions import Convention
from minimask.data.sample import Target
from minimask.tools.textbook.compare import scenes

SHRUNK = -10.0  # logarithm of the growth of boxes that become absurdly narrow
# shifts in widths: of boxes at the border that nearly, and that wholly, leave the image
NEARLY_OUT, OUT = -0.5 + 2e-5, -2.0
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
FEW = {"rpn_pre_nms_top_n_train": 100, "rpn_pre_nms_top_n_test": 100}
MASKS: dict[str, Any] = {"mask_head_channels": (16,), "mask_predictor_channels": 16}
SIZES = (8, 16, 32, 64, 128)
STEM, USUAL_STD = "backbone.body.conv1", 57.0
CLASSES = ("bus", "N/A", "cup", "N/A")  # some of them are never annotated
BOX_LAYERS = ("rpn.head.bbox_pred", "roi_heads.box_predictor.bbox_pred")
CLASS_LAYER = ("roi_heads.box_predictor.cls_score",)


@dataclass(frozen=True, eq=False)
class StandIn:
    """A network to be built, and the scene that it looks at.

    Attributes:
        words: what it is.
        options: of its factory.
        outsize: layers whose weights are made so large that its results are absurd.
        shrunk: some of its boxes become absurdly narrow, or leave the image.
        of_keypoints: a Keypoint R-CNN; else a Mask R-CNN.
        by_level: the best proposals of every level are kept, so that they are of all sizes; else
            as the convention wants it.
        min_score: detections from this score on are shown; None: the best few.
        scene: gives the image and the objects that a model looks at.
    """

    words: str = "a small Mask R-CNN"
    options: Mapping[str, Any] = field(default_factory=dict)
    outsize: tuple[str, ...] = ()
    shrunk: bool = False
    of_keypoints: bool = False
    by_level: bool = True
    min_score: float | None = None
    scene: Callable[[Any], tuple[np.ndarray, Target]] = scenes.difficult

    def build(self, convention: Convention) -> tuple[Any, np.ndarray, Target]:
        """The network in eval mode, an image, and its objects."""
        options = NARROW | {"anchor_sizes": SIZES, "convention": convention}
        if self.by_level:
            options |= {"proposals_per_level": True, **FEW}
        if self.of_keypoints:
            options |= {"classes": ["person"], "keypoint_head_channels": (16,)}
            model = models.keypoint_rcnn(**{**options, **self.options})
        else:
            model = models.mask_rcnn(**{"num_classes": 4, **options, **MASKS, **self.options})
        modules = dict(model.named_modules())
        # random weights are made for numbers near 1, whatever pixels are divided by
        modules[STEM].weight.data *= np.float32(np.mean(convention.pixel_std) / USUAL_STD)
        for name in self.outsize:
            weight = modules[name].weight
            weight.data *= OUTSIZE / weight.data.std()
        if self.shrunk:
            for name, weights in zip(
                BOX_LAYERS, (convention.rpn_box_weights, convention.box_weights), strict=True
            ):
                _shrink(modules[name], weights)
        return (model.eval(), *self.scene(model))


def _shrink(layer: Any, weights: Sequence[float]) -> None:
    """Let a box layer say the same everywhere: nearly out of the image, narrow, or out."""
    layer.weight.data *= 0
    corrections = layer.bias.data.reshape(-1, 4)
    corrections[0::3, 0] = NEARLY_OUT * weights[0]
    corrections[1::3, 2] = SHRUNK * weights[2]
    corrections[2::3, 0] = OUT * weights[0]


ANY = StandIn()
DILATED = StandIn(
    "a small Mask R-CNN whose last stage is dilated, without a pyramid",
    {"features": "dc5", "anchor_sizes": SIZES[1:4]},
)
ABSURD = StandIn("a small Mask R-CNN whose boxes are absurdly large and small", {}, BOX_LAYERS)
HARDLY_ANY = "a small Mask R-CNN some of whose boxes have hardly any area, or none"
NEARLY_ALL = {f"rpn_{n}_nms_top_n_{m}": 3000 for n in ("pre", "post") for m in ("train", "test")}
# where boxes may only become 60 times narrower, the smallest anchors are small enough
TINY = StandIn(HARDLY_ANY, {**NEARLY_ALL, "anchor_sizes": (0.05, *SIZES[1:])}, shrunk=True)
UNROUNDED = StandIn(
    HARDLY_ANY,
    {**NEARLY_ALL, "detection_boxes": "exact", "best_class_only": False},
    shrunk=True,
)
KEYPOINTS = StandIn("a small Keypoint R-CNN", of_keypoints=True)
ALIGNS = StandIn("a small Mask R-CNN with RoIAlign", {"roi_op": "align"})
ALL = {"rpn_post_nms_top_n_train": 8000, "rpn_post_nms_top_n_test": 8000, "rpn_nms_thresh": 0.99}
# as given: true boxes that are no whole pixels stay what they are
EXACT_BOXES = {"append_gt_boxes": True, "target_boxes": "given", "box_corners": "edges"}
STAND_INS = {
    "size_rounding": StandIn(
        "a small Mask R-CNN, an image whose side becomes 100 pixels and a half",
        scene=scenes.half_a_pixel,
    ),
    "stride_in_1x1": StandIn("a small Mask R-CNN of bottlenecks"),
    "dilate_first_block": DILATED,
    "single_map_divisor": DILATED,
    "anchor_order": DILATED,
    "map_strides": StandIn(
        "a small Mask R-CNN, an image whose sides are no multiple of its largest stride",
        {"size_divisor": 32},
    ),
    "delta_clamp": ABSURD,
    "rpn_min_size": TINY,
    "box_min_size": UNROUNDED,
    "rpn_loss_divisor": StandIn(
        "a small Mask R-CNN that asks for more anchors than there are",
        {"rpn_batch_size_per_image": 16384},
    ),
    "proposals_per_level": StandIn(
        "a small Mask R-CNN that keeps 100 proposals", FEW, by_level=False
    ),
    "rpn_pre_nms_top_n_train": StandIn("a small Mask R-CNN that keeps nearly all proposals", ALL),
    "rpn_pre_nms_top_n_test": StandIn("a small Mask R-CNN that keeps nearly all proposals", ALL),
    "level_rule": StandIn(
        "a small Mask R-CNN, objects whose size is the limit between two levels",
        {**EXACT_BOXES, "pad_square": False},
        scene=scenes.at_limits,
    ),
    "roi_aligned": ALIGNS,
    "sampling_ratio": ALIGNS,
    "box_best_iou_min": StandIn(
        "a small Mask R-CNN whose regions count from an IoU of 0.7 on, or as the best of an object",
        {
            "best_box_is_taken": True,
            "append_gt_boxes": False,
            "box_fg_iou_thresh": 0.7,
            "box_bg_iou_thresh": 0.7,
        },
    ),
    "box_positive_fraction": StandIn(
        "a small Mask R-CNN that learns from 16 regions",
        {"append_gt_boxes": True, "box_batch_size_per_image": 16},
    ),
    "fill_rois": StandIn(
        "a small Mask R-CNN with fewer proposals than the regions it asks for",
        {"rpn_post_nms_top_n_train": 40, "box_batch_size_per_image": 128},
    ),
    "moving_targets": StandIn(
        "a small Mask R-CNN that takes regions for an object from an IoU of 0.2 on",
        {"box_fg_iou_thresh": 0.2, "box_bg_iou_thresh": 0.2},
    ),
    "active_classes_only": StandIn(
        "a small Mask R-CNN two of whose four classes are never annotated (N/A)",
        {"num_classes": None, "classes": CLASSES},
        CLASS_LAYER,
    ),
    "best_class_only": StandIn(
        "a small Mask R-CNN with 12 proposals that shows all results, whatever their scores",
        {"box_score_thresh": 0.05, "rpn_post_nms_top_n_test": 12},
        min_score=0.05,
    ),
    "mask_target_aligned": StandIn(
        "a small Mask R-CNN that learns the share of each cell",
        {"mask_target": "soft", "append_gt_boxes": True},
    ),
    "paste": StandIn(
        "a small Mask R-CNN whose boxes are not rounded", {"detection_boxes": "exact"}
    ),
    "keypoint_loss_divisor": KEYPOINTS,
    "keypoint_score": KEYPOINTS,
}


MORE = {"rpn_min_size": ABSURD, "box_min_size": ABSURD}  # the second best


def stand_ins(name: str, own: Mapping[str, Any]) -> list[StandIn]:
    """Small networks on which a choice may be seen, the best first.

    Args:
        name: a field of `Convention`, or a hyperparameter.
        own: options that they have besides.
    """
    return [
        replace(one, options={**one.options, **own})
        for one in dict.fromkeys((STAND_INS.get(name, ANY), MORE.get(name, ANY), ANY))
    ]
