"""What `same_results.py` compares: every factory, every convention, every switch of a model.

Nothing of `minimask` is imported here.  The networks are small; images have 64 to 256 pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CLASSES = ("disk", "box", "cross")
MASK, FASTER = "maskrcnn_laptop", "fasterrcnn_laptop"
KEYPOINT = "keypointrcnn_laptop"

# Of every network here; of those with masks the second, of those with keypoints the third.
TINY: dict[str, Any] = {
    "stem_channels": 8,
    "fpn_channels": 16,
    "box_head_width": 32,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 8,
}
TINY_MASK = {"mask_head_channels": (16, 16), "mask_predictor_channels": 16}
# Of networks with other parts, by what their names begin with.
TINY_OTHERS: dict[str, dict[str, Any]] = {
    "retinanet": {
        **{"stem_channels": 8, "fpn_channels": 16, "head_depth": 1},
        **{"box_score_thresh": 0.0, "box_detections_per_img": 8},
    },
    "rpn": {"stem_channels": 8, "fpn_channels": 16, "rpn_post_nms_top_n_test": 40},
    "fastrcnn": {**TINY, "grid_limit": 60},
    "rcnn": {
        **{"stem_channels": 8, "crop_size": 32, "crop_context": 2, "grid_limit": 60},
        **{"box_score_thresh": 0.0, "box_detections_per_img": 8},
    },
}
# Options that only such networks have, and what the values of others mean there.
OTHER_SWITCHES: dict[str, dict[str, tuple[Any, ...]]] = {
    "retinanet_laptop": {
        "head_depth": (0, 2),
        "head_norm": (None,),
        "prior_probability": (0.2,),
        "coarse_levels_from": ("c5",),
        "topk_candidates": (5,),
        "box_fg_iou_thresh": (0.7,),
        "box_bg_iou_thresh": (0.2,),
        "box_score_thresh": (0.0101,),
        "box_nms_thresh": (0.1,),
        "box_detections_per_img": (3,),
        "box_loss": ("smooth_l1", "giou"),
        "box_loss_beta": (0.5,),
        "focal_alpha": (0.5, -1),
        "focal_gamma": (0, 1.5),
    },
    "rpn_laptop": {"rpn_nms_thresh": (0.4,), "rpn_batch_size_per_image": (16,)},
    "fastrcnn_laptop": {
        "features": ("c4", "c5"),
        "roi_op": ("pool",),
        "grid_sizes": ((0.3, 0.6),),
        "grid_aspect_ratios": ((1.0,),),
        "grid_step": (0.7,),
        "grid_limit": (30,),
    },
    "rcnn_laptop": {"crop_size": (48,), "crop_context": (0, 6), "background": ("last",)},
}
TINY_KEYPOINTS = {"keypoint_head_channels": (16, 16), "num_keypoints": 5}
# Of the cases with the laptop's factories: few regions, so that every limit on their number acts.
FEW = {
    "rpn_post_nms_top_n_train": 60,
    "rpn_post_nms_top_n_test": 40,
    "box_batch_size_per_image": 24,
    "mask_batch_size_per_image": 4,
}
FEW_KEYPOINTS = {"keypoint_batch_size_per_image": 4}

FACTORIES = (
    *("mask_rcnn", "maskrcnn_resnet18_fpn", "maskrcnn_resnet34_fpn"),
    *("maskrcnn_resnet50_fpn", "maskrcnn_resnet101_fpn", "maskrcnn_laptop"),
    *("maskrcnn_resnet152_fpn", "maskrcnn_resnext50_32x4d_fpn", "maskrcnn_resnext101_32x4d_fpn"),
    *("maskrcnn_resnext101_32x8d_fpn", "maskrcnn_resnext101_64x4d_fpn"),
    *("maskrcnn_wide_resnet50_2_fpn", "maskrcnn_wide_resnet101_2_fpn", "maskrcnn_resnet50_fpn_v2"),
    *("faster_rcnn", "fasterrcnn_resnet18_fpn", "fasterrcnn_resnet34_fpn"),
    *("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet101_fpn", "fasterrcnn_laptop"),
    *("retinanet", "retinanet_resnet18_fpn", "retinanet_resnet34_fpn", "retinanet_resnet50_fpn"),
    *("retinanet_resnet101_fpn", "retinanet_resnet50_fpn_v2", "retinanet_laptop"),
    *("rpn_resnet50_fpn", "rpn_laptop", "fastrcnn_resnet50_fpn", "fastrcnn_laptop"),
    *("rcnn_resnet50", "rcnn_laptop"),
    *("keypoint_rcnn", "keypointrcnn_resnet50_fpn", "keypointrcnn_laptop"),
    *("mask_keypoint_rcnn", "maskkeypointrcnn_resnet50_fpn", "maskkeypointrcnn_laptop"),
    *("fasterrcnn_resnet152_fpn", "fasterrcnn_resnext50_32x4d_fpn"),
    *("fasterrcnn_resnext101_32x4d_fpn", "fasterrcnn_resnext101_32x8d_fpn"),
    *("fasterrcnn_resnext101_64x4d_fpn", "fasterrcnn_wide_resnet50_2_fpn"),
    *("fasterrcnn_wide_resnet101_2_fpn", "fasterrcnn_resnet50_fpn_v2"),
    *("fasterrcnn_vgg16", "fasterrcnn_vgg16_fpn", "maskrcnn_vgg16_fpn"),
    *("fasterrcnn_efficientnet_b0_fpn", "fasterrcnn_efficientnet_b3_fpn"),
    *("maskrcnn_efficientnet_b0_fpn", "maskrcnn_efficientnet_b3_fpn"),
    *("fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"),
    "maskrcnn_mobilenet_v3_large_fpn",
)
STACKED = ("vgg", "efficientnet", "mobilenet")  # bodies that have a width instead of a stem's
# Semantic segmenters give label maps and have no proposals: other results than those here.
WITHOUT_OBJECTS = ("fcn32s", "fcn16s", "fcn8s", "fcn8s_laptop", "unet", "unet_laptop")
CONVENTIONS = (
    *("torchvision", "exact", "detectron2", "mmdet", "matterport", "paper"),
    *("detectron2_3x3", "detectron2_torchvision", "mmdet_caffe"),
)


@dataclass(frozen=True)
class Case:
    """One network, built, trained for two steps, and asked for everything it can be asked for."""

    name: str
    factory: str
    options: dict[str, Any] = field(default_factory=dict)
    convention: str | None = None  # None: the factory's own
    scene: str = "mixed"  # see `same_record.scene`
    core: bool = False  # part of what the test suite compares


BOTTLENECK = {"block": "bottleneck"}
SEVERAL = {"anchor_sizes": ((8, 12), (16, 24), (32, 48), (64, 96), (128, 192))}
# Moves that grow and shrink anchors more than 62 times, from so small that it fits the image.
WILD = {
    "rpn_box_weights": (1.0, 1.0, 1e-3, 1e-3),
    "anchor_sizes": (0.25, 0.5, 1, 2, 4),
    "round_anchors": False,
}
MANY = {"box_detections_per_img": 100}  # so that unlikely ones are among them
# Few proposals, of which boxes of different levels suppress one another when they may.
CROWDED = {
    "rpn_nms_thresh": 0.3,
    "rpn_pre_nms_top_n_train": 40,
    "rpn_pre_nms_top_n_test": 40,
}
# Regions of which none fits its object well.
UNSURE = {"append_gt_boxes": False, "box_fg_iou_thresh": 0.95}
# The values of each switch but the one that the laptop's factory has (convention "exact"), and what
# must hold for the switch to act.
SWITCHES: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    # the network
    "block": ({}, ("bottleneck",)),
    "layers": ({}, ((2, 1, 1, 2),)),
    "expansion": (BOTTLENECK, (2,)),
    "groups": (BOTTLENECK | {"width_per_group": 16}, (2, 8)),
    "width_per_group": (BOTTLENECK, (32, 128)),
    "stem_channels": ({}, (16,)),
    "backbone": ({}, ("vgg11", "efficientnet_b0", "mobilenet_v3_small")),
    "width_multiplier": ({"backbone": "mobilenet_v3_small"}, (0.25, 0.5)),
    "returned_layers": ({"backbone": "mobilenet_v3_small"}, ((1, 2, 3, 4),)),
    "norm": ({"stem_channels": 32, "fpn_channels": 32}, ("frozen_batch", "group")),
    "trainable_layers": ({}, (0, 1, 2, 3, 4)),
    "features": ({}, ("c4", "c5")),
    "fpn_channels": ({}, (24,)),
    "fpn_norm": ({"fpn_channels": 32}, ("batch", "group")),
    "anchor_sizes": ({}, ((12, 24, 48, 64, 96), SEVERAL["anchor_sizes"])),
    "aspect_ratios": ({}, ((1.0,), (0.25, 0.5, 1.0, 2.0))),
    "rpn_conv_depth": ({}, (2,)),
    "rpn_channels": ({}, (24,)),
    "box_head": ({"box_head_channels": (8, 12)}, ("conv",)),
    "box_head_width": ({}, (24,)),
    "box_head_channels": ({"box_head": "conv", "box_head_channels": (8, 12)}, ((16,),)),
    "box_head_norm": ({"box_head": "conv", "box_head_channels": (8, 12)}, ("batch", "group")),
    "mask_head": ({"mask_mlp_widths": (24, 16)}, ("mlp",)),
    "mask_head_channels": ({}, ((8, 12), ())),
    "mask_head_norm": ({}, ("batch", "group")),
    "mask_mlp_widths": ({"mask_head": "mlp"}, ((24,), (16, 24, 16))),
    "mask_predictor_channels": ({}, (8,)),
    "min_size": ({}, (48, 96, (48, 64, 80))),
    "max_size": ({"min_size": 72, "max_size": 80}, (None, 90)),
    # the image
    "channels": ({}, ("bgr",)),
    "pixel_mean": ({}, ((100.0, 110.0, 120.0),)),
    "pixel_std": ({}, ((50.0, 60.0, 70.0),)),
    "image_resize": ({"min_size": 72}, ("pillow", "opencv", "skimage")),
    "size_rounding": ({"min_size": 50, "max_size": 67}, ("nearest", "even")),
    "pad_square": ({"max_size": 128}, (True,)),
    "pad_with": ({}, ("black",)),
    "size_divisor": ({}, (64, 128)),
    "single_map_divisor": ({"features": "c5", "min_size": 72}, (1, 64)),
    # the backbone
    "stride_in_1x1": (BOTTLENECK, (True,)),
    "norm_eps": ({}, (1e-3,)),
    "stem_pool_padding": ({}, ("after",)),
    "dilate_first_block": (BOTTLENECK | {"features": "dc5"}, (True,)),
    # boxes
    "box_corners": ({}, ("pixels",)),
    "proposal_limits": ({"pad_square": True, "max_size": 128}, ("input",)),
    "target_boxes": ({"min_size": 72}, ("masks",)),
    "mask_resize": ({"min_size": 72, "target_boxes": "masks"}, ("corners",)),
    "detection_boxes": ({}, ("whole",)),
    "crowds": ({}, ("ignored",)),
    # anchors and the region proposal network
    "round_anchors": ({}, (False,)),
    "map_strides": ({"min_size": 72}, ("fixed",)),
    "anchor_offset": ({}, (0.5,)),
    "anchor_order": (SEVERAL, ("size",)),
    "rpn_box_weights": ({}, ((10.0, 10.0, 5.0, 5.0),)),
    "delta_clamp": (WILD, ("both", "none")),
    "rpn_fg_iou_thresh": ({}, (0.5,)),
    "rpn_bg_iou_thresh": ({}, (0.1,)),
    "rpn_border": ({}, (0, 8)),
    "rpn_best_iou_min": ({}, (0.65,)),
    "best_box_is_taken": ({"rpn_fg_iou_thresh": 0.9}, (True,)),
    "rpn_batch_size_per_image": ({}, (16,)),
    "rpn_positive_fraction": ({"rpn_batch_size_per_image": 16}, (0.125,)),
    "rpn_loss_divisor": ({"rpn_batch_size_per_image": 4096}, ("batch_size", "positives")),
    "rpn_loss_beta": ({}, (0.0, 1.0)),
    "rpn_pre_nms_top_n_train": ({}, (30,)),
    "rpn_pre_nms_top_n_test": ({}, (5,)),
    "rpn_post_nms_top_n_train": ({}, (20,)),
    "rpn_post_nms_top_n_test": ({}, (20,)),
    "rpn_score_thresh": ({}, (0.5,)),
    "rpn_nms_thresh": ({}, (0.4,)),
    "rpn_min_size": ({}, (0.0, 12.0, None)),
    "proposals_per_level": (CROWDED, (False,)),
    # features of regions
    "roi_op": ({}, ("warp", "pool", "crop")),
    "roi_reduce": ({}, ("max",)),
    "level_rule": ({}, ("detectron2", "mmdet", "matterport", "paper")),
    "roi_aligned": ({}, (False,)),
    "sampling_ratio": ({}, (0, 1, 3)),
    # the second stage
    "background": ({}, ("last",)),
    "append_gt_boxes": ({}, (False,)),
    "box_weights": ({}, ((1.0, 1.0, 1.0, 1.0),)),
    "box_best_iou_min": (UNSURE, (0.01,)),
    "box_fg_iou_thresh": ({}, (0.7,)),
    "box_bg_iou_thresh": ({}, (0.3,)),
    "box_batch_size_per_image": ({}, (8,)),
    "box_positive_fraction": ({}, (0.125,)),
    "box_negatives_per_positive": ({}, (1.0, 2.5)),
    "box_loss_divisor": ({}, ("positives",)),
    "box_loss_beta": ({}, (0.0, 1.0)),
    "box_score_thresh": (MANY, (0.27,)),
    "box_nms_thresh": ({}, (0.1,)),
    "box_detections_per_img": ({}, (3,)),
    "box_min_size": ({}, (0.0, 12.0, None)),
    "fill_rois": ({"box_batch_size_per_image": 512}, (True,)),
    "moving_targets": ({}, (True,)),
    "active_classes_only": ({}, (True,)),
    "best_class_only": (MANY, (True,)),
    # masks
    "mask_batch_size_per_image": ({}, (None, 1)),
    "mask_target": ({}, ("hard", "polygon", "mini")),
    "mask_target_aligned": ({}, (False,)),
    "mask_output": ({}, ("softmax", "agnostic")),
    "mask_on": ({}, ("proposals",)),
    "paste": ({}, ("torchvision", "matterport")),
    # keypoints
    "skeleton": ({"num_keypoints": 17}, ("coco_person",)),
    "num_keypoints": ({}, (1, 4)),
    "keypoint_head_channels": ({}, ((8, 12), ())),
    "keypoint_batch_size_per_image": ({}, (None, 1)),
    "keypoint_loss_divisor": ({}, ("batch_size",)),
    "keypoint_score": ({}, ("logit",)),
}
# Where a switch needs larger images or more objects than most.
SCENES = {"level_rule": "large", "box_detections_per_img": "large"}
# Values that cannot be told from the factory's on any image: `rpn_min_size` and `box_min_size` of 0
# and of a thousandth or hundredth of a pixel, and the two rules whose 1e-8 float32 rounds away.
WITHOUT_EFFECT = ("rpn_min_size=0.0", "box_min_size=0.0", "level_rule=detectron2")
WITHOUT_EFFECT += ("skeleton=coco_person",)  # names of 17 keypoints
WITHOUT_EFFECT += ("crowds=ignored", "active_classes_only=True")  # of other data: test_switches.py
WITHOUT_EFFECT += ("rpn_min_size=None", "box_min_size=None")
# Switches that act together.
TOGETHER: tuple[dict[str, Any], ...] = (
    {"features": "c4", "block": "bottleneck"},
    {"features": "c4", "norm": "frozen_batch", "trainable_layers": 2},
    {"features": "c4", "roi_op": "warp", "roi_reduce": "max"},
    {"features": "c4", "mask_output": "agnostic", "mask_on": "proposals"},
    {"features": "c5", "roi_op": "pool"},
    {"features": "dc5", "block": "bottleneck"},
    {"features": "dc5", "block": "bottleneck", "box_head": "conv", "box_head_channels": (12,)},
    {"block": "bottleneck", "groups": 4, "width_per_group": 32, "norm": "frozen_batch"},
    {"box_head": "conv", "box_head_channels": (12,), "box_head_norm": "batch", "fpn_norm": "batch"},
    {"features": "c5", "mask_head": "mlp", "mask_mlp_widths": (24, 16), "background": "last"},
    {"mask_output": "softmax", "background": "last", "mask_target": "hard"},
    {"mask_output": "agnostic", "background": "last"},
    {"sampling_ratio": 0, "roi_aligned": False, "proposals_per_level": False},
    {"pad_square": True, "pad_with": "black", "max_size": 128, "min_size": 48},
    {"best_class_only": True, "background": "last", "append_gt_boxes": False},
    {"box_fg_iou_thresh": 0.7, "box_bg_iou_thresh": 0.3, "mask_batch_size_per_image": None},
)
# What the test suite compares beside the conventions: the switches that change the flow.
CORE = (
    *("features=c4", "features=c5", "mask_head=mlp", "mask_output=softmax", "mask_on=proposals"),
    *("roi_op=pool", "proposals_per_level=False", "append_gt_boxes=False", "background=last"),
    *("norm=group", "norm=frozen_batch", "rpn_loss_divisor=positives", "level_rule=matterport"),
    *("groups=2", "box_head_norm=batch", "dilate_first_block=True"),
    *("best_class_only=True", "box_loss_divisor=positives", "min_size=(48, 64, 80)"),
)


def all_cases() -> list[Case]:
    """All of them; names are unique."""
    found = [*_factories(), *_conventions(), *_switches(), *_together(), *_others()]
    assert len({case.name for case in found}) == len(found)
    return found


def _small(factory: str) -> dict[str, Any]:
    for start, options in TINY_OTHERS.items():
        if factory.startswith(start):
            return options
    small = TINY | (TINY_MASK if factory.startswith("mask") else {})
    if any(body in factory for body in STACKED):
        small = {k: v for k, v in small.items() if k != "stem_channels"} | {
            "width_multiplier": 0.125
        }
    return small | (TINY_KEYPOINTS if "keypoint" in factory else {})


def _few(factory: str) -> dict[str, Any]:
    return FEW | (FEW_KEYPOINTS if "keypoint" in factory else {})


def _of(factory: str, switch: str) -> bool:
    """Whether the switch is one of this factory's cases: those of a branch only where it is."""
    of_keypoints = switch.startswith("keypoint_") or switch in ("skeleton", "num_keypoints")
    if factory == KEYPOINT or of_keypoints:
        return factory == KEYPOINT and of_keypoints
    return factory == MASK or not switch.startswith(("mask_", "paste"))


def _factories() -> Iterator[Case]:
    for factory in FACTORIES:
        sizes = {"min_size": 64, "max_size": 96}
        core = factory in ("maskrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn")
        yield Case(f"factory {factory}", factory, _small(factory) | sizes, core=core)


def _conventions() -> Iterator[Case]:
    """Each with its own thresholds and counts, and with scores of which some are kept."""
    for convention, factory in itertools.product(CONVENTIONS, (MASK, FASTER)):
        options = _small(factory) | BOTTLENECK | {"min_size": 56, "max_size": 96}
        name = f"{factory} convention {convention}"
        yield Case(name, factory, options, convention, core=factory == MASK)
        if convention == "matterport":  # no detection at all is a result, too
            yield Case(f"{name} unsure", factory, options | {"box_score_thresh": 0.7}, convention)


def _switches() -> Iterator[Case]:
    """The factory as it is, what each switch needs, and each switch that it has.

    The name of a case ends in " base" where another one is to differ from it.
    """
    yielded = set()
    for factory in (MASK, FASTER, KEYPOINT):
        for switch, (needs, values) in SWITCHES.items():
            if not _of(factory, switch):
                continue
            scene = SCENES.get(switch, "mixed")
            base = base_of(factory, switch)
            if base not in yielded:
                yielded.add(base)
                options = _fitting(_small(factory) | _few(factory) | needs)
                yield Case(base, factory, options, scene=scene, core=base == f"{MASK} base")
            for value in values:
                options = _fitting(_small(factory) | _few(factory) | needs | {switch: value})
                name, core = f"{factory} {switch}={value}", f"{switch}={value}" in CORE
                yield Case(name, factory, options, scene=scene, core=core and factory == MASK)


def base_of(factory: str, switch: str) -> str:
    """The name of the case that the cases of this switch must differ from."""
    needs, scene = SWITCHES[switch][0], SCENES.get(switch, "mixed")
    words = [factory, *(f"{k}={v}" for k, v in needs.items()), *([scene] * (scene != "mixed"))]
    return " ".join([*words, "base"])


def _fitting(options: dict[str, Any]) -> dict[str, Any]:
    """Without the stem's channels where the body is no ResNet."""
    if "backbone" not in options:
        return options
    return {name: value for name, value in options.items() if name != "stem_channels"}


def _together() -> Iterator[Case]:
    for options, factory in itertools.product(TOGETHER, (MASK, FASTER)):
        if factory == FASTER:
            options = {k: v for k, v in options.items() if not k.startswith("mask_")}
        name = f"{factory} " + " ".join(f"{k}={v}" for k, v in options.items())
        if len(options) > 1:
            yield Case(name, factory, _small(factory) | FEW | options)


def _others() -> Iterator[Case]:
    """The options of one-stage networks, and of those before Faster R-CNN."""
    for factory, switches in OTHER_SWITCHES.items():
        yield Case(f"{factory} base", factory, _small(factory))
        for switch, values in switches.items():
            needs = {"box_loss": "smooth_l1"} if switch == "box_loss_beta" else {}
            for value in values:
                options = _small(factory) | needs | {switch: value}
                yield Case(f"{factory} {switch}={value}", factory, options)
