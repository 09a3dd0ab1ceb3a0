"""Images on which choices matter, and small networks that have the part a choice is about.

A choice that changes nothing on a person's image is tried again: first on a difficult scene, with
the same network; then, with random weights, on a network that has what the choice is about.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minimask import models
from minimask.data.keypoints import spread_keypoints
from minimask.data.registry import VALIDATION_SEED
from minimask.data.sample import Target, boxes_of_masks
from minimask.data.shapes import DEFAULT_CLASSES, Shapes

LARGEST = 1.17  # sides of an image by the network's input, so that it has to be resized
WIDEST = 640  # pixels: drawing takes time
SCENE = 3  # which generated image
LIMIT = 112.0  # pixels: half of the 224 that regions on level 4 have (FPN, equation 1)
LAST_DIGITS = 16
OUTSIZE = 40.0  # times: box corrections of the stand-in that has absurd boxes

NARROW: dict[str, Any] = {
    "block": "bottleneck",
    "layers": (1, 1, 1, 1),
    "stem_channels": 8,
    "fpn_channels": 16,
    "box_head_width": 32,
    "min_size": 128,
    "max_size": 160,
    "norm": "batch",
    "seed": 1,
}
MASKS: dict[str, Any] = {"mask_head_channels": (16,), "mask_predictor_channels": 16}
SIZES = (8, 16, 32, 64, 128)
# What a stand-in has besides, where a choice only matters together with something else.
TOGETHER: dict[str, tuple[dict[str, Any], str]] = {
    "box_best_iou_min": (
        {"best_box_is_taken": True, "append_gt_boxes": False, "box_score_thresh": 0.0},
        "whose best proposals are taken and which gets no true boxes",
    ),
    "rpn_loss_divisor": ({"rpn_batch_size_per_image": 16384}, "which asks for 16384 anchors"),
    "box_positive_fraction": ({"box_batch_size_per_image": 16}, "which learns from 16 regions"),
    "rpn_pre_nms_top_n_train": (
        {"rpn_post_nms_top_n_train": 8000, "rpn_nms_thresh": 0.99},
        "which keeps nearly all proposals",
    ),
    "rpn_pre_nms_top_n_test": (
        {"rpn_post_nms_top_n_test": 8000, "rpn_nms_thresh": 0.99},
        "which keeps nearly all proposals",
    ),
}


def image_size(model: Any) -> tuple[int, int]:
    """Height and width of an image that the network must resize, round and pad.

    Of the sides after resizing one ends in a fraction of more than a half, and the padding differs
    between multiples of 32 and 64.
    """
    sizes = model.min_size
    shortest = sizes if isinstance(sizes, int) else (sizes or [128])[-1]
    longest = model.max_size or 2 * shortest
    width = min(round(min(shortest * 1.6, longest) * LARGEST), WIDEST)
    for height in range(round(0.64 * width), round(0.72 * width)):
        scale = min(shortest / height, longest / width)
        resized = height * scale
        if (resized % 1 > 0.5 and (-resized // 32) % 2) or resized == shortest:
            return height, width
    return round(0.68 * width), width


def friendly(model: Any) -> tuple[np.ndarray, Target | None]:
    """A generated image, and its objects if the network knows their classes."""
    sample = Shapes(None, image_size(model), VALIDATION_SEED, objects=(4, 5))[SCENE]
    if tuple(model.classes) != tuple(DEFAULT_CLASSES):
        return sample.image, None
    return sample.image, _target(model, sample.boxes, sample.labels, sample.masks)


def difficult(model: Any) -> tuple[np.ndarray, Target]:
    """Objects that overlap, touch the border, are tiny or very thin: where choices matter."""
    height, width = image_size(model)
    drawn = Shapes(
        None,
        (height, width),
        VALIDATION_SEED,
        objects=(12, 14),
        object_size=(0.06, 0.45),
        min_visible=0.1,
    )[SCENE]
    image, masks = drawn.image.copy(), list(np.asarray(drawn.masks, bool))
    for (y0, y1), (x0, x1), color in (
        ((0.05, 0.95), (0.0, 0.025), (240, 200, 40)),  # a thin one at the border
        ((0.52, 0.54), (0.3, 1.0), (40, 220, 120)),
        ((0.2, 0.7), (0.4, 0.75), (200, 60, 60)),  # two that overlap by most of their area
        ((0.2, 0.7), (0.46, 0.81), (60, 60, 200)),
    ):
        mask = np.zeros((height, width), bool)
        rows = slice(round(y0 * height), max(round(y1 * height), round(y0 * height) + 2))
        mask[rows, round(x0 * width) : max(round(x1 * width), round(x0 * width) + 2)] = True
        image[mask] = (image[mask] // 2 + np.array(color, np.uint8) // 2).astype(np.uint8)
        masks.append(mask)
    stacked = np.stack(masks)
    labels = np.arange(len(stacked)) % len(model.classes)
    return image, _target(model, boxes_of_masks(stacked), labels, stacked)


def _target(model: Any, boxes: Any, labels: Any, masks: Any) -> Target:
    target = Target(boxes, np.asarray(labels, np.int64) % len(model.classes), masks)
    if getattr(model, "skeleton", None) is not None:
        target.keypoints = spread_keypoints(target.boxes, len(model.skeleton))
    return target


def stand_in(field: str, convention: Any) -> tuple[Any, str]:
    """A small network with random weights that has what a field is about, and what it is.

    Args:
        field: of `Convention`, or a hyperparameter.
        convention: the choices it has before the switch.
    """
    if field.startswith("keypoint_"):
        return _of_keypoints(convention), "a small Keypoint R-CNN"
    if field in ("dilate_first_block", "single_map_divisor", "anchor_order"):
        made = models.mask_rcnn(
            4, features="dc5", anchor_sizes=SIZES[1:4], convention=convention, **NARROW, **MASKS
        )
        return made.eval(), "a small Mask R-CNN on a dilated C5"
    more, words = TOGETHER.get(field, ({}, "with bottlenecks"))
    made = models.mask_rcnn(4, anchor_sizes=SIZES, convention=convention, **NARROW, **MASKS, **more)
    if field in ("delta_clamp", "rpn_min_size", "box_min_size"):
        for layer in (made.rpn.head.bbox_pred, made.roi_heads.box_predictor.bbox_pred):
            layer.weight.data *= OUTSIZE / layer.weight.data.std()
        return made.eval(), "a small Mask R-CNN whose boxes are absurdly large and small"
    return made.eval(), f"a small Mask R-CNN {words}"


def at_limits(model: Any) -> tuple[np.ndarray, Target]:
    """Objects whose sides lie a last digit below the limit between two levels of the pyramid.

    The image is as large as the input of a stand-in: nothing is resized.
    """
    side = NARROW["min_size"]
    image = Shapes(None, side, VALIDATION_SEED)[SCENE].image
    ulp = float(np.spacing(np.float32(LIMIT / 2)))
    sides = LIMIT - ulp * np.arange(0, LAST_DIGITS)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1).astype(np.float32)
    masks = np.zeros((len(boxes), side, side), bool)
    masks[:, : int(LIMIT), : int(LIMIT)] = True
    return image, _target(model, boxes, np.arange(len(boxes)), masks)


def _of_keypoints(convention: Any) -> Any:
    narrow = NARROW | {"keypoint_head_channels": (16,)}
    return models.keypoint_rcnn(
        classes=["person"], anchor_sizes=SIZES, convention=convention, **narrow
    ).eval()
