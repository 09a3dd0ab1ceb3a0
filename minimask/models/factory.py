"""Models by name: what to build is a plain dict that fits in a JSON file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from minimask.conventions import CONVENTIONS as NAMED
from minimask.conventions import HYPERPARAMETERS, Convention, check_choice, get_convention
from minimask.models import box_head, mask_head
from minimask.models.anchors import AnchorGenerator
from minimask.models.backbone import make_backbone
from minimask.models.box_head import BoxHead, BoxPredictor, C4BoxHead
from minimask.models.coco_classes import COCO_91
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.fpn import ResNetFPN, SingleScaleBackbone
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.resnet import STEM_CHANNELS, ResNet, residual_stage
from minimask.models.roi_heads import RoIHeads
from minimask.models.rpn import RPN, RPNHead
from minimask.nn import Module

Numbers = Sequence[int]
MODELS: dict[str, Callable[..., Any]] = {}
FEATURES = ("fpn", "c4", "c5")
MASK_HEADS = ("fcn", "mlp")


@dataclass(frozen=True)
class Architecture:
    """The sizes of a network; the defaults are those of the paper's ResNet-50-FPN."""

    backbone: str = "resnet"  # or a name of `minimask.models.register_backbone`
    block: str = "bottleneck"  # or "basic"
    layers: Numbers = (3, 4, 6, 3)  # blocks per stage
    expansion: int | None = None  # outputs of a bottleneck per channel; default 4
    width_per_group: int = 64  # inner channels of a bottleneck, per 64
    stem_channels: int = STEM_CHANNELS  # of the first convolution; all stages follow
    norm: str = "frozen_batch"  # "batch": trained; "frozen_batch": as loaded; "group"
    trainable_layers: int = 5  # of stem and four stages, counted from the end
    # "fpn"; or one map: "c4" (stride 16, the last stage is the head), "c5" (stride 32)
    features: str = "fpn"
    fpn_channels: int = 256  # also of C5's map
    # pixels, one (or several) per level; of a single map all of them
    anchor_sizes: Sequence[Any] = (32, 64, 128, 256, 512)
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0)  # height / width
    box_head_width: int = 1024  # FPN, section 4.2
    mask_head: str = "fcn"  # or "mlp": fully connected (Mask R-CNN, table 2e); not for C4
    mask_head_channels: Numbers = (256, 256, 256, 256)  # Mask R-CNN, figure 4 right
    mask_mlp_widths: Numbers = (1024, 1024)
    mask_predictor_channels: int = 256
    min_size: int | Sequence[int] | None = 800  # pixels of the short side; None: as it is
    max_size: int | None = 1333  # limit of the long side


def _fields(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def _assemble(
    a: Architecture,
    classes: Sequence[str],
    c: Convention,
    hyperparameters: Mapping[str, Any],
    masks: bool,
    seed: int,
    config: dict[str, Any],
) -> FasterRCNN:
    """Make every part and put them together; parameters are drawn in this order."""
    rng = np.random.default_rng(seed)
    num_classes = len(classes) + 1
    of_rpn = {k.removeprefix("rpn_"): v for k, v in hyperparameters.items() if k[:4] == "rpn_"}
    of_heads = {k.removeprefix("box_"): v for k, v in hyperparameters.items() if k[:4] != "rpn_"}
    backbone, anchors = _backbone(a, c, rng)
    rpn = RPN(RPNHead(backbone.channels, anchors.per_cell, rng), anchors, c, **of_rpn)
    heads = _box_branch(a, c, backbone, num_classes, rng)
    if masks:
        output = of_heads.get("mask_output", "sigmoid")
        channels = mask_head.mask_channels(num_classes, output, c.background)
        heads |= _mask_branch(a, channels, heads, rng)
    roi_heads = RoIHeads(**heads, num_classes=num_classes, convention=c, **of_heads)
    kind = MaskRCNN if masks else FasterRCNN
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


def _backbone(
    a: Architecture, c: Convention, rng: np.random.Generator
) -> tuple[Any, AnchorGenerator]:
    """A backbone, and anchors for its feature maps."""
    check_choice("features", a.features, FEATURES)
    sizes = list(a.anchor_sizes)
    if a.backbone != "resnet":
        if a.features != "fpn":
            raise ValueError(f"features: {a.features!r} is of ResNets, not of {a.backbone!r}")
        if a.trainable_layers != Architecture.trainable_layers:
            raise ValueError(f"trainable_layers: are of ResNets, not of {a.backbone!r}")
        return make_backbone(a.backbone, rng), AnchorGenerator(sizes, a.aspect_ratios, c)
    options = _stage_options(a, c) | {"stem_pool_padding": c.stem_pool_padding}
    body = ResNet(a.layers, rng, stages=3 if a.features == "c4" else 4, **options)
    body.freeze(a.trainable_layers)
    if a.features == "fpn":
        return ResNetFPN(body, a.fpn_channels, rng), AnchorGenerator(sizes, a.aspect_ratios, c)
    flat = [s for level in sizes for s in (level if isinstance(level, Sequence) else [level])]
    channels = a.fpn_channels if a.features == "c5" else None
    return SingleScaleBackbone(body, rng, channels), AnchorGenerator([flat], a.aspect_ratios, c)


def _box_branch(
    a: Architecture, c: Convention, backbone: Any, num_classes: int, rng: np.random.Generator
) -> dict[str, Any]:
    """The arguments of `RoIHeads` that make the box branch."""
    box_rows = num_classes if c.background == "first" else num_classes - 1
    if a.features == "c4":
        res5 = residual_stage(3, a.layers[3], backbone.channels, rng, **_stage_options(a, c))
        width = 2 * backbone.channels  # every stage doubles the channels
        return {
            "box_head": C4BoxHead(res5),
            "box_predictor": BoxPredictor(width, num_classes, box_rows, rng),
            "pooled_size": box_head.C4_POOLED_SIZE,
        }
    head = BoxHead(backbone.channels * box_head.POOLED_SIZE**2, a.box_head_width, rng)
    predictor = BoxPredictor(a.box_head_width, num_classes, box_rows, rng)
    return {"box_head": head, "box_predictor": predictor}


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


def preset(
    name: str,
    *,
    masks: bool,
    default_classes: int | None = 91,  # COCO, as torchvision counts it
    convention: str = "torchvision",
    **sizes: Any,
) -> Callable[..., Any]:
    """A function that builds the model of this name, which from now on is in `MODELS`.

    `convention` and `sizes`, options of the model, are its defaults.
    """

    def build_model(
        num_classes: int | None = None,
        *,
        classes: Sequence[str] | None = None,
        convention: str | Convention | Mapping[str, Any] = convention,
        seed: int = 0,
        **options: Any,
    ) -> FasterRCNN:
        _check_options(name, options)
        if num_classes is None and classes is None:
            num_classes = default_classes
        names = class_names(num_classes, classes)
        base = get_convention(convention)
        config = {
            "model": name,
            "classes": list(names),
            "convention": _plain(base.name if NAMED.get(base.name) == base else asdict(base)),
            "seed": seed,
            **_plain(options),
        }
        options = {**base.hyperparameters, **sizes, **options}
        architecture = Architecture(**_among(options, _fields(Architecture)))
        base = replace(base, **_among(options, _fields(Convention)))
        return _assemble(
            architecture, names, base, _among(options, HYPERPARAMETERS), masks, seed, config
        )

    numbers = ", ".join(f"{k}={v}" for k, v in sizes.items()) or "the sizes of ResNet-50-FPN"
    build_model.__name__ = build_model.__qualname__ = name
    build_model.__doc__ = f"""{"Mask" if masks else "Faster"} R-CNN with {numbers}.

    Args:
        num_classes: outputs of the network, background included; default {default_classes}.
        classes: names without background, instead of `num_classes`.
        convention: whose choices to follow: a name, a `Convention`, or a dict of its fields.
        seed: of the random weights.
        **options: fields of `Architecture` and `Convention`, and `HYPERPARAMETERS`, to change.
    """
    MODELS[name] = build_model
    return build_model


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse an option that does not exist, in a sentence that says which do."""
    known = _fields(Architecture) | _fields(Convention) | set(HYPERPARAMETERS)
    known -= {"name", "hyperparameters"}
    for option in sorted(set(options) - known):
        close = difflib.get_close_matches(option, known, n=1)
        every = f"  Options: {', '.join(sorted(known))}"
        hint = f"; did you mean {close[0]!r}?" if close else every
        raise ValueError(f"{name}: no option {option!r}{hint}")


def _among(options: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}


def build(config: Mapping[str, Any]) -> FasterRCNN:
    """The model a `model.config` describes: {"model": name, "classes": [...], ...options}.

    Raises:
        ValueError: no model of that name, or options it does not have.
    """
    options = dict(config)
    name = options.pop("model", None)
    if name not in MODELS:
        raise ValueError(f"config: model {name!r} is none of {', '.join(MODELS)}")
    return MODELS[name](**options)


def class_names(num_classes: int | None, classes: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the classes without background, from names or from their number.

    Raises:
        ValueError: neither given, both given and in disagreement, empty or repeated names.
    """
    if classes is None:
        if num_classes is None:
            raise ValueError("classes: give the names of your classes, e.g. classes=['cell']")
        if num_classes < 2:
            raise ValueError(
                f"num_classes: counts background, so it is at least 2; got {num_classes}"
            )
        return COCO_91 if num_classes == 91 else tuple(str(i + 1) for i in range(num_classes - 1))
    names = tuple(classes)
    if isinstance(classes, str) or not names or not all(isinstance(n, str) and n for n in names):
        raise ValueError(f"classes: expected a list of names, got {classes!r}")
    repeated = sorted({n for n in names if names.count(n) > 1 and n != "N/A"})
    if repeated:
        raise ValueError(f"classes: {', '.join(repeated)} occur more than once")
    if num_classes is not None and num_classes != len(names) + 1:
        raise ValueError(
            f"num_classes is {num_classes}, but {len(names)} classes and background "
            f"are {len(names) + 1}; leave num_classes out"
        )
    return names


def _plain(value: Any) -> Any:
    """The same as JSON would give it back: lists for tuples, Python numbers."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
