"""Models by name: what to build is a plain dict that fits in a JSON file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.conventions import CONVENTIONS, Convention, get_convention
from minimask.models import box_head, c4_heads, mask_head
from minimask.models.anchors import AnchorGrid
from minimask.models.box_head import BoxBranch, BoxHead, BoxPredictor
from minimask.models.c4_heads import C4BoxHead, C4MaskHead
from minimask.models.coco_classes import COCO_91
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.fpn import Backbone, OneLevel
from minimask.models.mask_head import MaskBranch, MaskHead, MaskPredictor, mask_channels
from minimask.models.mask_mlp import MaskMLP, MaskMLPPredictor
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.resnet import STEM_CHANNELS, ResNet, residual_stage
from minimask.models.rpn import RPN, RPNHead

Numbers = Sequence[int]
FEATURES = ("fpn", "c4", "c5")
MASK_HEADS = ("fcn", "mlp")


@dataclass(frozen=True)
class Architecture:
    """The sizes of a network; the defaults are those of the paper's ResNet-50-FPN."""

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
    masks: bool,
    seed: int,
    config: dict[str, Any],
) -> FasterRCNN:
    """Make every part and put them together; parameters are drawn in this order."""
    rng = np.random.default_rng(seed)
    num_classes = len(classes) + 1
    backbone, anchors = _backbone(a, c, rng)
    rpn = RPN(RPNHead(backbone.channels, anchors.per_cell, rng), anchors, c)
    boxes = _box_branch(a, c, backbone, num_classes, rng)
    rest: dict[str, Any] = {
        "classes": classes,
        "convention": c,
        "min_size": a.min_size,
        "max_size": a.max_size,
        "config": config,
    }
    if not masks:
        return FasterRCNN(backbone, rpn, boxes, **rest)
    return MaskRCNN(backbone, rpn, _mask_branch(a, c, boxes, num_classes, rng), **rest)


def _stage_options(a: Architecture, c: Convention) -> dict[str, Any]:
    return {
        "block": a.block,
        "norm": a.norm,
        "expansion": a.expansion,
        "width_per_group": a.width_per_group,
        "stem_channels": a.stem_channels,
        "convention": c,
    }


def _backbone(
    a: Architecture, c: Convention, rng: np.random.Generator
) -> tuple[Backbone | OneLevel, AnchorGrid]:
    if a.features not in FEATURES:
        raise ValueError(f"features: expected one of {', '.join(FEATURES)}, got {a.features!r}")
    body = ResNet(a.layers, rng, stages=3 if a.features == "c4" else 4, **_stage_options(a, c))
    body.freeze(a.trainable_layers)
    if a.features == "fpn":
        return Backbone(body, a.fpn_channels, rng), AnchorGrid(a.anchor_sizes, a.aspect_ratios, c)
    flat = [
        size
        for level in a.anchor_sizes
        for size in (level if isinstance(level, Sequence) else [level])
    ]
    anchors = AnchorGrid([flat], a.aspect_ratios, c)
    return OneLevel(body, rng, a.fpn_channels if a.features == "c5" else None), anchors


def _box_branch(
    a: Architecture,
    c: Convention,
    backbone: Backbone | OneLevel,
    num_classes: int,
    rng: np.random.Generator,
) -> BoxBranch:
    box_rows = num_classes if c.background == "first" else num_classes - 1
    if a.features == "c4":
        res5 = residual_stage(3, a.layers[3], backbone.channels, rng, **_stage_options(a, c))
        width = 2 * backbone.channels  # every stage doubles the channels
        predictor = BoxPredictor(width, num_classes, box_rows, rng)
        return BoxBranch(C4BoxHead(res5), predictor, c4_heads.POOLED_SIZE)
    head = BoxHead(backbone.channels * box_head.POOLED_SIZE**2, a.box_head_width, rng)
    return BoxBranch(head, BoxPredictor(a.box_head_width, num_classes, box_rows, rng))


def _mask_branch(
    a: Architecture, c: Convention, boxes: BoxBranch, num_classes: int, rng: np.random.Generator
) -> MaskBranch:
    masks, channels = mask_channels(num_classes, c), a.fpn_channels
    if a.mask_head not in MASK_HEADS:
        raise ValueError(f"mask_head: expected one of {', '.join(MASK_HEADS)}, got {a.mask_head!r}")
    if isinstance(boxes.box_head, C4BoxHead):
        if a.mask_head != "fcn":
            raise ValueError('mask_head: with features="c4" the head is the last stage; use "fcn"')
        width = boxes.box_predictor.cls_score.weight.shape[1]
        predictor = MaskPredictor(width, a.mask_predictor_channels, masks, rng)
        size = c4_heads.POOLED_SIZE
        return MaskBranch(boxes, C4MaskHead(boxes.box_head), predictor, size)
    if a.mask_head == "mlp":
        if not a.mask_mlp_widths:
            raise ValueError("mask_mlp_widths: expected at least one width, got none")
        mlp = MaskMLP(channels * mask_head.POOLED_SIZE**2, a.mask_mlp_widths, rng)
        size = 2 * mask_head.POOLED_SIZE
        return MaskBranch(boxes, mlp, MaskMLPPredictor(a.mask_mlp_widths[-1], masks, size, rng))
    head = MaskHead(channels, a.mask_head_channels, rng)
    last = [channels, *a.mask_head_channels][-1]
    return MaskBranch(boxes, head, MaskPredictor(last, a.mask_predictor_channels, masks, rng))


def make(
    name: str,
    preset: Mapping[str, Any],
    *,
    masks: bool,
    num_classes: int | None,
    classes: Sequence[str] | None,
    convention: str | Convention | Mapping[str, Any],
    seed: int,
    options: Mapping[str, Any],
) -> FasterRCNN:
    """Build a model from a preset and the caller's options, and note how in `model.config`.

    Raises:
        ValueError: an option that does not exist, or classes that make no sense.
    """
    known = _fields(Architecture) | _fields(Convention) - {"name"}
    for option in sorted(set(options) - known):
        close = difflib.get_close_matches(option, known, n=1)
        hint = (
            f"; did you mean {close[0]!r}?" if close else f"  Options: {', '.join(sorted(known))}"
        )
        raise ValueError(f"{name}: no option {option!r}{hint}")
    names = class_names(num_classes, classes)
    base = get_convention(convention)
    named = CONVENTIONS.get(base.name) == base
    config = {
        "model": name,
        "classes": list(names),
        "convention": base.name if named else _plain(dataclasses.asdict(base)),
        "seed": seed,
        **_plain(options),
    }
    chosen = {**preset, **options}
    architecture = Architecture(**{k: v for k, v in chosen.items() if k in _fields(Architecture)})
    settled = dataclasses.replace(
        base, **{k: v for k, v in chosen.items() if k in _fields(Convention)}
    )
    return _assemble(architecture, names, settled, masks, seed, config)


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


def preset(name: str, *, masks: bool, **sizes: Any) -> Callable[..., Any]:
    """A function that builds the model of this name."""

    def build_model(
        num_classes: int | None = None,
        *,
        classes: Sequence[str] | None = None,
        convention: str | Convention | Mapping[str, Any] = "torchvision",
        seed: int = 0,
        **options: Any,
    ) -> FasterRCNN:
        if num_classes is None and classes is None:
            num_classes = 91  # COCO, as torchvision counts it
        return make(
            name,
            sizes,
            masks=masks,
            num_classes=num_classes,
            classes=classes,
            convention=convention,
            seed=seed,
            options=options,
        )

    what = "Mask R-CNN" if masks else "Faster R-CNN"
    numbers = ", ".join(f"{k}={v}" for k, v in sizes.items())
    build_model.__name__ = build_model.__qualname__ = name
    build_model.__doc__ = f"""{what} with {numbers or "the sizes of ResNet-50-FPN"}.

    Args:
        num_classes: outputs of the network, background included; default 91 as for COCO.
        classes: names without background, instead of `num_classes`.
        convention: whose choices to follow: a name, a `Convention`, or a dict of its fields.
        seed: of the random weights.
        **options: fields of `Architecture` and `Convention` to change.
    """
    return build_model
