"""From sizes to a two-stage detector: every part is made here, and put together.

Parameters are drawn in the order of `assemble`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minimask.conventions import HYPERPARAMETERS, Convention, check_choice
from minimask.models import box_head, keypoint_head, mask_head
from minimask.models.anchors import AnchorGenerator
from minimask.models.architecture import BOX_HEADS, FEATURES, MASK_HEADS, Architecture
from minimask.models.backbone import make_backbone
from minimask.models.bodies import BODIES, Body
from minimask.models.bodies.resnet import NORMS, ResNet, residual_stage
from minimask.models.bodies.stacked import Layer, StackedBody
from minimask.models.body_options import check_body_options, check_pyramid
from minimask.models.box_head import BoxHead, BoxPredictor, C4BoxHead, ConvBoxHead
from minimask.models.factory import Family, among, fields_of
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.fpn import FPNBackbone, SingleScaleBackbone
from minimask.models.keypoint_rcnn import KeypointRCNN, MaskKeypointRCNN, skeleton_of_options
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.roi_heads import RoIHeads
from minimask.models.rpn import RPN, RPNHead
from minimask.nn import Module, Sequential


def assemble(
    kind: type[FasterRCNN],
    classes: Sequence[str],
    c: Convention,
    options: Mapping[str, Any],
    seed: int,
    config: dict[str, Any],
) -> FasterRCNN:
    """Make every part and put them together.

    Args:
        kind: of the detector; a `MaskRCNN` gets a mask branch, a `KeypointRCNN` one for keypoints.
        classes: names without background.
        c: the conventions of all parts.
        options: fields of `Architecture`, names of `HYPERPARAMETERS`, and `KEYPOINT_NAMES`.
        seed: of the random weights.
        config: what `build` needs to make this model again.
    """
    a = Architecture(**among(options, fields_of(Architecture)))
    check_fit(a)
    c = for_features(a, c)
    hyperparameters = among(options, HYPERPARAMETERS)
    of_rpn = {k.removeprefix("rpn_"): v for k, v in hyperparameters.items() if k[:4] == "rpn_"}
    of_heads = {k.removeprefix("box_"): v for k, v in hyperparameters.items() if k[:4] != "rpn_"}
    rng = np.random.default_rng(seed)
    num_classes = len(classes) + 1
    backbone, anchors = make_features(a, c, rng)
    head = rpn_head(a, backbone.channels, anchors.per_cell, rng)
    rpn = RPN(head, anchors, c, **of_rpn)
    heads = box_branch(a, c, backbone, num_classes, rng)
    if issubclass(kind, MaskRCNN):
        output = of_heads.get("mask_output", "sigmoid")
        channels = mask_head.mask_channels(num_classes, output, c.background)
        heads |= _mask_branch(a, c, backbone.channels, channels, heads, rng)
    own: dict[str, Any] = {"min_size": a.min_size, "max_size": a.max_size}
    if issubclass(kind, KeypointRCNN):
        own["skeleton"] = skeleton_of_options(**among(options, KEYPOINT_NAMES))
        heads |= _keypoint_branch(a, backbone.channels, len(own["skeleton"]), rng)
        config = {n: v for n, v in config.items() if n != "num_keypoints"}  # a skeleton says more
        config["skeleton"] = own["skeleton"].as_dict()
    roi_heads = RoIHeads(**heads, num_classes=num_classes, convention=c, **of_heads)
    judge_active(roi_heads, classes, c)
    return kind(backbone, rpn, roi_heads, classes=classes, convention=c, config=config, **own)


def for_features(a: Architecture, c: Convention) -> Convention:
    """The convention with what it says of networks without a pyramid, if this is one."""
    if a.features == "fpn" or c.single_map_divisor is None:
        return c
    return replace(c, size_divisor=c.single_map_divisor)


def check_fit(a: Architecture) -> None:
    """Refuse options that do not fit one another, in a sentence that names them.

    Raises:
        ValueError: such options, or a choice that does not exist.
    """
    check_choice("features", a.features, FEATURES)
    check_choice("box_head", a.box_head, BOX_HEADS)
    check_choice("mask_head", a.mask_head, MASK_HEADS)
    for name in ("fpn_norm", "box_head_norm", "mask_head_norm"):
        if getattr(a, name) is not None:
            check_choice(name, getattr(a, name), NORMS)
    if not isinstance(a.rpn_conv_depth, int) or a.rpn_conv_depth < 1:
        raise ValueError(
            f"rpn_conv_depth: expected a whole number from 1 up, got {a.rpn_conv_depth!r}"
        )
    if a.rpn_channels is not None and (not isinstance(a.rpn_channels, int) or a.rpn_channels < 1):
        raise ValueError(f"rpn_channels: expected a number from 1 up, got {a.rpn_channels!r}")
    if a.fpn_norm is not None and a.features != "fpn":
        raise ValueError(f'fpn_norm: there is no pyramid with features="{a.features}"')
    if a.features == "c4" and not a.backbone.startswith("vgg"):
        for name, usual in (("box_head", "mlp"), ("mask_head", "fcn"), ("mask_head_norm", None)):
            if getattr(a, name) != usual:
                raise ValueError(
                    f'{name}: with features="c4" the head is the last stage of the body; leave '
                    f"{name} out"
                )
    if a.box_head_norm is not None and a.box_head != "conv":
        raise ValueError('box_head_norm: is of convolutions; take box_head="conv"')
    if a.mask_head_norm is not None and a.mask_head != "fcn":
        raise ValueError('mask_head_norm: is of convolutions; take mask_head="fcn"')
    if a.box_head == "conv" and not a.box_head_channels:
        raise ValueError("box_head_channels: expected at least one number, got none")
    if a.mask_head == "mlp" and not a.mask_mlp_widths:
        raise ValueError("mask_mlp_widths: expected at least one width, got none")


def rpn_head(
    a: Architecture, channels: int, anchors_per_cell: int, rng: np.random.Generator
) -> RPNHead:
    """The head of the first stage on maps with `channels`."""
    sizes: dict[str, Any] = {"depth": a.rpn_conv_depth, "width": a.rpn_channels}
    return RPNHead(channels, anchors_per_cell, rng, **sizes)


def _stage_options(a: Architecture, c: Convention) -> dict[str, Any]:
    return {
        "block": a.block,
        "norm": a.norm,
        "norm_eps": c.norm_eps,
        "stride_in_1x1": c.stride_in_1x1,
        "expansion": a.expansion,
        "groups": a.groups,
        "width_per_group": a.width_per_group,
        "stem_channels": a.stem_channels,
    }


def make_features(
    a: Architecture, c: Convention, rng: np.random.Generator
) -> tuple[Any, AnchorGenerator]:
    """A backbone, and anchors for its feature maps."""
    sizes = list(a.anchor_sizes)
    if a.backbone != "resnet" and a.backbone not in BODIES:
        backbone = make_backbone(a.backbone, rng)
        check_body_options(a)
        return backbone, AnchorGenerator(sizes, a.aspect_ratios, c)
    body = make_body(a, c, rng)
    rest = body.cut(16) if a.features == "c4" and isinstance(body, StackedBody) else []
    body.freeze(a.trainable_layers)
    if a.features == "fpn":
        check_pyramid(a, body)
        pyramid = FPNBackbone(body, a.fpn_channels, rng, norm=a.fpn_norm, norm_eps=c.norm_eps)
        return pyramid, AnchorGenerator(sizes, a.aspect_ratios, c)
    flat = [s for level in sizes for s in (level if isinstance(level, Sequence) else [level])]
    channels = a.fpn_channels if a.features == "c5" else None
    backbone = SingleScaleBackbone(body, rng, channels, rest)
    return backbone, AnchorGenerator([flat], a.aspect_ratios, c)


def make_body(a: Architecture, c: Convention, rng: np.random.Generator) -> Body:
    """The classification network below pyramid and heads."""
    check_body_options(a)
    options: dict[str, Any]
    if a.backbone != "resnet":
        options = {"norm": a.norm, "norm_eps": c.norm_eps, "width": a.width_multiplier}
        if a.features == "dc5":
            options["dilated"] = True
        body = BODIES[a.backbone](rng, **options)
        return body if a.returned_layers is None else body.use(a.returned_layers)
    options = _stage_options(a, c) | {"stem_pool_padding": c.stem_pool_padding}
    if a.features == "dc5":
        options["dilated"] = "all" if c.dilate_first_block else "but_first"
    return ResNet(a.layers, rng, stages=3 if a.features == "c4" else 4, **options)


def box_branch(
    a: Architecture,
    c: Convention,
    backbone: Any,
    num_classes: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The arguments of `RoIHeads` that make the box branch; with C4 the rest of the body is it."""
    box_rows = num_classes if c.background == "first" else num_classes - 1
    channels = backbone.channels
    res5, width = _rest_of_body(a, c, backbone, rng)
    if res5 is not None:
        return {
            "box_head": C4BoxHead(res5),
            "box_predictor": BoxPredictor(width, num_classes, box_rows, rng),
            "pooled_size": box_head.C4_POOLED_SIZE,
        }
    if a.box_head == "conv":
        norm = {"norm": a.box_head_norm, "norm_eps": c.norm_eps}
        head: Module = ConvBoxHead(channels, a.box_head_channels, a.box_head_width, rng, **norm)
    else:
        head = BoxHead(channels * box_head.POOLED_SIZE**2, a.box_head_width, rng)
    predictor = BoxPredictor(a.box_head_width, num_classes, box_rows, rng)
    parts: dict[str, Any] = {"box_head": head, "box_predictor": predictor}
    if isinstance(backbone, FPNBackbone):
        parts["pooled_levels"] = len(backbone.body.strides)  # the coarsest serves proposals only
    return parts


def _rest_of_body(
    a: Architecture, c: Convention, backbone: Any, rng: np.random.Generator
) -> tuple[Sequential | None, int]:
    """The layers after C4 as a head, and their channels; None where there is nothing to learn."""
    if a.features == "c4" and a.backbone == "resnet":
        res5 = residual_stage(3, a.layers[3], backbone.channels, rng, **_stage_options(a, c))
        return res5, 2 * backbone.channels  # every stage doubles the channels
    rest: Sequence[Layer] = getattr(backbone, "rest", ())
    after = Sequential(*(layer.module for layer in rest))
    if not any(True for _ in after.parameters()):  # of VGG only pooling is left
        return None, 0
    return after, rest[-1].channels


def judge_active(heads: RoIHeads, classes: Sequence[str], c: Convention) -> None:
    """Tell the second stage which classes data can have, where its convention asks for that."""
    if c.active_classes_only:
        heads.active_classes = box_head.active_classes(classes, c.background)


def _mask_branch(
    a: Architecture,
    c: Convention,
    channels: int,
    masks: int,
    heads: Mapping[str, Any],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The arguments of `RoIHeads` that add a branch with `masks` mask channels."""
    boxes = heads["box_head"]
    if isinstance(boxes, C4BoxHead):
        width = heads["box_predictor"].cls_score.weight.shape[1]
        return {
            "mask_head": mask_head.C4MaskHead(boxes),
            "mask_predictor": mask_head.MaskPredictor(width, a.mask_predictor_channels, masks, rng),
            "mask_size": mask_head.POOLED_SIZE,  # the stage halves it, the predictor doubles it
        }
    if a.mask_head == "mlp":
        mlp = mask_head.MaskMLP(channels * mask_head.POOLED_SIZE**2, a.mask_mlp_widths, rng)
        size = 2 * mask_head.POOLED_SIZE
        predictor: Module = mask_head.MaskMLPPredictor(a.mask_mlp_widths[-1], masks, size, rng)
        return {"mask_head": mlp, "mask_predictor": predictor}
    norm = {"norm": a.mask_head_norm, "norm_eps": c.norm_eps}
    head = mask_head.MaskHead(channels, a.mask_head_channels, rng, **norm)
    last = [channels, *a.mask_head_channels][-1]
    predictor = mask_head.MaskPredictor(last, a.mask_predictor_channels, masks, rng)
    return {"mask_head": head, "mask_predictor": predictor}


def _keypoint_branch(
    a: Architecture, channels: int, num_keypoints: int, rng: np.random.Generator
) -> dict[str, Any]:
    """The arguments of `RoIHeads` that add a branch for keypoints on maps with `channels`."""
    last = [channels, *a.keypoint_head_channels][-1]
    return {
        "keypoint_head": keypoint_head.KeypointHead(channels, a.keypoint_head_channels, rng),
        "keypoint_predictor": keypoint_head.KeypointPredictor(last, num_keypoints, rng),
        "num_keypoints": num_keypoints,
    }


KEYPOINT_NAMES = ("skeleton", "num_keypoints")
EVERY_OPTION = frozenset(fields_of(Architecture) | set(HYPERPARAMETERS) | set(KEYPOINT_NAMES))
OF_KEYPOINTS = frozenset(
    name
    for name in EVERY_OPTION | fields_of(Convention)
    if name.startswith("keypoint_") or name in KEYPOINT_NAMES
)


def _family(kind: type[FasterRCNN], title: str) -> Family:
    def make(*arguments: Any) -> FasterRCNN:
        return assemble(kind, *arguments)

    masks = issubclass(kind, MaskRCNN)
    if issubclass(kind, KeypointRCNN):
        return Family(title, EVERY_OPTION, make, masks=masks)
    return Family(title, EVERY_OPTION - OF_KEYPOINTS, make, unread=OF_KEYPOINTS, masks=masks)


FASTER_RCNN = _family(FasterRCNN, "Faster R-CNN")
MASK_RCNN = _family(MaskRCNN, "Mask R-CNN")
KEYPOINT_RCNN = _family(KeypointRCNN, "Keypoint R-CNN")
MASK_KEYPOINT_RCNN = _family(MaskKeypointRCNN, "Mask R-CNN with keypoints")
