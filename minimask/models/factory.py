"""Models by name: what to build is a plain dict that fits in a JSON file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.conventions import CONVENTIONS, Convention, get_convention
from minimask.models.anchors import AnchorGrid
from minimask.models.box_head import BoxBranch, BoxHead, BoxPredictor
from minimask.models.coco_classes import COCO_91
from minimask.models.faster_rcnn import BOX_POOLED_SIZE, FasterRCNN
from minimask.models.fpn import Backbone
from minimask.models.mask_head import MaskBranch, MaskHead, MaskPredictor
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.resnet import ResNet
from minimask.models.rpn import RPN, RPNHead

Numbers = Sequence[int]


@dataclass(frozen=True)
class Architecture:
    """The sizes of a network; the defaults are those of the paper's ResNet-50-FPN."""

    block: str = "bottleneck"  # or "basic"
    layers: Numbers = (3, 4, 6, 3)  # blocks per stage
    expansion: int | None = None  # outputs of a bottleneck per channel; default 4
    width_per_group: int = 64  # inner channels of a bottleneck, per 64
    norm: str = "frozen_batch"  # "batch": trained; "frozen_batch": as loaded; "group"
    trainable_layers: int = 5  # of stem and four stages, counted from the end
    fpn_channels: int = 256
    anchor_sizes: Sequence[Any] = (32, 64, 128, 256, 512)  # pixels, one (or several) per level
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0)  # height / width
    box_head_width: int = 1024  # FPN, section 4.2
    mask_head_channels: Numbers = (256, 256, 256, 256)  # Mask R-CNN, figure 4 right
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
    box_rows = num_classes if c.background == "first" else num_classes - 1
    body = ResNet(
        a.layers,
        rng,
        block=a.block,
        norm=a.norm,
        expansion=a.expansion,
        width_per_group=a.width_per_group,
        convention=c,
    )
    body.freeze(a.trainable_layers)
    backbone = Backbone(body, a.fpn_channels, rng)
    anchors = AnchorGrid(a.anchor_sizes, a.aspect_ratios, c)
    rpn = RPN(RPNHead(a.fpn_channels, anchors.per_cell, rng), anchors, c)
    box_head = BoxHead(a.fpn_channels * BOX_POOLED_SIZE**2, a.box_head_width, rng)
    box_predictor = BoxPredictor(a.box_head_width, num_classes, box_rows, rng)
    rest: dict[str, Any] = {
        "classes": classes,
        "convention": c,
        "min_size": a.min_size,
        "max_size": a.max_size,
        "config": config,
    }
    if not masks:
        return FasterRCNN(backbone, rpn, BoxBranch(box_head, box_predictor), **rest)
    mask_head = MaskHead(a.fpn_channels, a.mask_head_channels, rng)
    last = [a.fpn_channels, *a.mask_head_channels][-1]
    mask_predictor = MaskPredictor(last, a.mask_predictor_channels, box_rows, rng)
    branch = MaskBranch(box_head, box_predictor, mask_head, mask_predictor)
    return MaskRCNN(backbone, rpn, branch, **rest)


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
