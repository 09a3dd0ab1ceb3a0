"""From sizes to a two-stage detector: every part is made here, and put together.

Parameters are drawn in the order of `assemble`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minimask.conventions import HYPERPARAMETERS, Convention, check_choice
from minimask.models import box_head, mask_head
from minimask.models.anchors import AnchorGenerator
from minimask.models.architecture import FEATURES, MASK_HEADS, Architecture
from minimask.models.backbone import make_backbone
from minimask.models.bodies import BODIES, Body
from minimask.models.bodies.body import Layer
from minimask.models.bodies.resnet import ResNet, residual_stage
from minimask.models.body_options import check_body_options, check_pyramid
from minimask.models.box_head import BoxHead, BoxPredictor, C4BoxHead
from minimask.models.factory import Family, among, fields_of
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.fpn import FPNBackbone, SingleScaleBackbone
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
        kind: of the detector; a `MaskRCNN` gets a mask branch.
        classes: names without background.
        c: the conventions of all parts.
        options: fields of `Architecture` and names of `HYPERPARAMETERS`.
        seed: of the random weights.
        config: what `build` needs to make this model again.
    """
    a = Architecture(**among(options, fields_of(Architecture)))
    hyperparameters = among(options, HYPERPARAMETERS)
    of_rpn = {k.removeprefix("rpn_"): v for k, v in hyperparameters.items() if k[:4] == "rpn_"}
    of_heads = {k.removeprefix("box_"): v for k, v in hyperparameters.items() if k[:4] != "rpn_"}
    rng = np.random.default_rng(seed)
    num_classes = len(classes) + 1
    backbone, anchors, rest = make_features(a, c, rng)
    rpn = RPN(RPNHead(backbone.channels, anchors.per_cell, rng), anchors, c, **of_rpn)
    heads = _box_branch(a, c, backbone, rest, num_classes, rng)
    if issubclass(kind, MaskRCNN):
        output = of_heads.get("mask_output", "sigmoid")
        channels = mask_head.mask_channels(num_classes, output, c.background)
        heads |= _mask_branch(a, channels, heads, rng)
    if a.features == "fpn" and isinstance(backbone, FPNBackbone):
        heads["pooled_levels"] = len(backbone.body.strides)  # the coarsest serves proposals only
    roi_heads = RoIHeads(**heads, num_classes=num_classes, convention=c, **of_heads)
    sizes: dict[str, Any] = {"min_size": a.min_size, "max_size": a.max_size}
    return kind(backbone, rpn, roi_heads, classes=classes, convention=c, config=config, **sizes)


def _stage_options(a: Architecture, c: Convention) -> dict[str, Any]:
    return {
        "block": a.block,
        "norm": a.norm,
        "norm_eps": c.norm_eps,
        "stride_in_1x1": c.stride_in_1x1,
        "expansion": a.expansion,
        "width_per_group": a.width_per_group,
        "stem_channels": a.stem_channels,
    }


def make_features(
    a: Architecture, c: Convention, rng: np.random.Generator
) -> tuple[Any, AnchorGenerator, list[Layer]]:
    """A backbone, anchors for its feature maps, and what of its body is left for the heads."""
    check_choice("features", a.features, FEATURES)
    sizes = list(a.anchor_sizes)
    check_body_options(a)
    if a.backbone != "resnet" and a.backbone not in BODIES:
        backbone = make_backbone(a.backbone, rng)
        return backbone, AnchorGenerator(sizes, a.aspect_ratios, c), []
    body, rest = make_body(a, c, rng)
    body.freeze(a.trainable_layers)
    if a.features == "fpn":
        check_pyramid(a, body)
        pyramid = FPNBackbone(body, a.fpn_channels, rng)
        return pyramid, AnchorGenerator(sizes, a.aspect_ratios, c), rest
    flat = [s for level in sizes for s in (level if isinstance(level, Sequence) else [level])]
    channels = a.fpn_channels if a.features == "c5" else None
    anchors = AnchorGenerator([flat], a.aspect_ratios, c)
    return SingleScaleBackbone(body, rng, channels), anchors, rest


def make_body(a: Architecture, c: Convention, rng: np.random.Generator) -> tuple[Body, list[Layer]]:
    """The classification network below pyramid and heads, and with C4 the layers after it."""
    if a.backbone != "resnet":
        body = BODIES[a.backbone](rng, norm=a.norm, norm_eps=c.norm_eps, width=a.width_multiplier)
        rest = body.cut(16) if a.features == "c4" else []
        return (body if a.returned_layers is None else body.use(a.returned_layers)), rest
    options = _stage_options(a, c) | {"stem_pool_padding": c.stem_pool_padding}
    return ResNet(a.layers, rng, stages=3 if a.features == "c4" else 4, **options), []


def _box_branch(
    a: Architecture,
    c: Convention,
    backbone: Any,
    rest: Sequence[Layer],
    num_classes: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The arguments of `RoIHeads` that make the box branch; with C4 the rest of the body is it."""
    box_rows = num_classes if c.background == "first" else num_classes - 1
    res5, width = _rest_of_body(a, c, backbone, rest, rng)
    if res5 is not None:
        return {
            "box_head": C4BoxHead(res5),
            "box_predictor": BoxPredictor(width, num_classes, box_rows, rng),
            "pooled_size": box_head.C4_POOLED_SIZE,
        }
    head = BoxHead(backbone.channels * box_head.POOLED_SIZE**2, a.box_head_width, rng)
    predictor = BoxPredictor(a.box_head_width, num_classes, box_rows, rng)
    return {"box_head": head, "box_predictor": predictor}


def _rest_of_body(
    a: Architecture, c: Convention, backbone: Any, rest: Sequence[Layer], rng: np.random.Generator
) -> tuple[Sequential | None, int]:
    """The layers after C4 as a head, and their channels; None where there is nothing to learn."""
    if a.features == "c4" and a.backbone == "resnet":
        res5 = residual_stage(3, a.layers[3], backbone.channels, rng, **_stage_options(a, c))
        return res5, 2 * backbone.channels  # every stage doubles the channels
    after = Sequential(*(layer.module for layer in rest))
    if not any(True for _ in after.parameters()):  # of VGG only pooling is left
        return None, 0
    return after, rest[-1].channels


def _mask_branch(
    a: Architecture, masks: int, heads: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    """The arguments of `RoIHeads` that add a branch with `masks` mask channels."""
    check_choice("mask_head", a.mask_head, MASK_HEADS)
    boxes = heads["box_head"]
    if isinstance(boxes, C4BoxHead):
        if a.mask_head != "fcn":
            raise ValueError('mask_head: with features="c4" the head is the last stage; use "fcn"')
        width = heads["box_predictor"].cls_score.weight.shape[1]
        return {
            "mask_head": mask_head.C4MaskHead(boxes),
            "mask_predictor": mask_head.MaskPredictor(width, a.mask_predictor_channels, masks, rng),
            "mask_size": mask_head.POOLED_SIZE,  # the stage halves it, the predictor doubles it
        }
    channels = boxes.fc6.weight.shape[1] // box_head.POOLED_SIZE**2
    if a.mask_head == "mlp":
        if not a.mask_mlp_widths:
            raise ValueError("mask_mlp_widths: expected at least one width, got none")
        mlp = mask_head.MaskMLP(channels * mask_head.POOLED_SIZE**2, a.mask_mlp_widths, rng)
        size = 2 * mask_head.POOLED_SIZE
        predictor: Module = mask_head.MaskMLPPredictor(a.mask_mlp_widths[-1], masks, size, rng)
        return {"mask_head": mlp, "mask_predictor": predictor}
    head = mask_head.MaskHead(channels, a.mask_head_channels, rng)
    last = [channels, *a.mask_head_channels][-1]
    predictor = mask_head.MaskPredictor(last, a.mask_predictor_channels, masks, rng)
    return {"mask_head": head, "mask_predictor": predictor}


OPTIONS = frozenset(fields_of(Architecture) | set(HYPERPARAMETERS))


def _family(kind: type[FasterRCNN], title: str) -> Family:
    def make(*arguments: Any) -> FasterRCNN:
        return assemble(kind, *arguments)

    return Family(title, OPTIONS, make)


FASTER_RCNN = _family(FasterRCNN, "Faster R-CNN")
MASK_RCNN = _family(MaskRCNN, "Mask R-CNN")
