"""Which network a file of weights belongs to, from the names and shapes in it alone.

    anatomy(shapes)         what can be seen: blocks, channels, norms, outputs
    recognise(shapes)       the config that `minimask.models.build` makes such a network from

Files of other systems are told apart by names that only they use (`FOREIGN`); a reader for one of
them translates its names before this module sees them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minimask.weights import retina, stacked

Shapes = Mapping[str, tuple[int, ...]]

BODY = "backbone.body."
RES5 = "roi_heads.box_head.res5"  # the fourth stage, where it serves as the box head
CLASS_SCORES = "roi_heads.box_predictor.cls_score.weight"
BOXES = "roi_heads.box_predictor.bbox_pred.weight"

DEPTHS: dict[tuple[str, tuple[int, ...]], int] = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
IN_PRESETS = (18, 34, 50, 101)  # depths of `maskrcnn_resnet.._fpn`
FOREIGN = (
    (re.compile(r"^backbone\.bottom_up\.|^proposal_generator\."), "detectron2"),
    (re.compile(r"^rpn_head\.|^roi_head\.|^bbox_head\."), "mmdet"),
    (re.compile(r"^mrcnn_|^fpn_c\dp\d|^res\d[a-z]_branch"), "matterport's Mask R-CNN"),
    (re.compile(r"^model\.\d+\."), "YOLO"),
)


@dataclass(frozen=True)
class Body:
    """The residual network under a detector."""

    block: str  # "basic" or "bottleneck"
    layers: tuple[int, ...]  # blocks per stage
    stem: int  # channels of the first convolution
    channels: int  # of the first stage's output
    width: int  # of the first block's first convolution
    norm: str | None  # "batch", "frozen_batch", "group"
    groups: int = 1  # of a bottleneck's 3x3 convolution

    def __str__(self) -> str:
        """Such as "a ResNet-50 (stage 1 has 3 bottlenecks, 256 channels)"."""
        depth = DEPTHS.get((self.block, self.layers))
        if depth is None:
            blocks = ", ".join(map(str, self.layers))
            name = f"a residual network of {blocks} blocks"
        else:
            name = f"a ResNet-{depth}"
        kind = "bottleneck" if self.block == "bottleneck" else "basic block"
        many = "s" * (self.layers[0] != 1)
        return f"{name} (stage 1 has {self.layers[0]} {kind}{many}, {self.channels} channels)"


@dataclass(frozen=True)
class Anatomy:
    """What the names and shapes of a network's weights show; None: no such part."""

    body: Body | None = None
    features: str | None = None  # "fpn", "c4", "c5", "dc5"
    pyramid: int | None = None  # channels of the maps that the heads see
    anchors: int | None = None  # at each place
    box_width: int | None = None
    outputs: int | None = None  # classes and background
    box_rows: int | None = None
    mask: str | None = None  # "fcn", "mlp", "c4"
    mask_channels: tuple[int, ...] = ()
    mask_predictor: int | None = None
    # options of a factory that differ from the usual: convolutions of RPN and box head, norms
    heads: Mapping[str, Any] = field(default_factory=dict)
    retina: retina.RetinaHeads | None = None  # one stage instead of two


@dataclass(frozen=True)
class Recognised:
    """A network that was recognised.

    Attributes:
        config: for `minimask.models.build`; `num_classes` is counted from the shapes.
        words: what it is, and what the file cannot say.
    """

    config: dict[str, Any]
    words: str


def anatomy(shapes: Shapes) -> Anatomy:
    """What can be seen in the names (of minimask's and torchvision's models) and shapes."""
    features = None
    if f"{RES5}.0.conv1.weight" in shapes:
        features = "c4"
    elif "backbone.fpn.inner_blocks.0.0.weight" in shapes:
        features = "fpn"
    elif "backbone.reduce.weight" in shapes:
        features = "c5"
    elif f"{BODY}layer4.0.conv1.weight" in shapes:
        features = "dc5"
    head, anchors = (shapes.get(f"rpn.head.{n}.weight") for n in ("conv.0.0", "cls_logits"))
    heads = _heads(shapes)
    last = len(heads.get("box_head_channels", ())) + 1  # after them all is flattened
    fc6 = shapes.get(f"roi_heads.box_head.{'fc6' if last == 1 else last}.weight")
    scores, boxes = shapes.get(CLASS_SCORES), shapes.get(BOXES)
    mask, channels, predictor = _mask_branch(shapes)
    body, one_stage = body_of(shapes, BODY), retina.heads(shapes)
    if one_stage is not None:
        counts = {name: getattr(one_stage, name) for name in ("pyramid", "anchors", "outputs")}
        return Anatomy(body, features, retina=one_stage, **counts)
    return Anatomy(
        body=body,
        features=features,
        pyramid=head[1] if head else None,
        anchors=anchors[0] if anchors else None,
        box_width=fc6[0] if fc6 else None,
        outputs=scores[0] if scores else None,
        box_rows=boxes[0] // 4 if boxes else None,
        mask=mask,
        mask_channels=channels,
        mask_predictor=predictor,
        heads=heads,
    )


def body_of(shapes: Shapes, prefix: str = "") -> Body | None:
    """The residual network whose names begin with `prefix`; None if there is none."""
    stem = shapes.get(f"{prefix}conv1.weight")
    first = f"{prefix}layer1.0."
    if stem is None or f"{first}conv2.weight" not in shapes:
        return None
    stages = [f"{prefix}layer{i}" for i in (1, 2, 3, 4)]
    if f"{prefix}layer4.0.conv1.weight" not in shapes:
        stages[3] = RES5
    block = "bottleneck" if f"{first}conv3.weight" in shapes else "basic"
    last = shapes[f"{first}conv3.weight" if block == "bottleneck" else f"{first}conv2.weight"]
    inner, seen = shapes[f"{first}conv2.weight"][:2]
    return Body(
        block,
        tuple(_count(shapes, stage) for stage in stages),
        stem[0],
        last[0],
        shapes[f"{first}conv1.weight"][0],
        _norm(shapes, f"{prefix}bn1"),
        max(1, inner // seen) if block == "bottleneck" and seen else 1,
    )


def recognise(shapes: Shapes) -> Recognised:
    """The network that these arrays are the weights of.

    Known are minimask's own networks and torchvision's, with a pyramid, on C4 and on C5, and
    RetinaNets.

    Raises:
        ValueError: none of them; says what was seen instead.
    """
    seen = anatomy(shapes)
    numbered = _numbered(shapes, seen)
    if numbered is not None:
        return numbered
    if seen.body is None or seen.features is None or seen.outputs is None or seen.anchors is None:
        raise ValueError(_unknown(shapes))
    if seen.box_rows == seen.outputs - 1:
        raise ValueError(
            f"{seen.outputs} class scores but {seen.box_rows} boxes: background comes last, as in "
            "detectron2 and mmdet, whose other choices these names do not tell apart; name the "
            "network with --model and the choices with --option convention=detectron2 or mmdet"
        )
    config = _preset(seen) or _by_sizes(seen)
    default = "batch" if config["model"].endswith(("_laptop", "_v2")) else "frozen_batch"
    if seen.body.norm not in (None, default):
        config["norm"] = seen.body.norm
    config["num_classes"] = seen.outputs
    words = f"recognised as {config['model']} with {seen.outputs} outputs"
    if seen.body.norm == "group":
        words += " and group norm"
    if config["model"] in ("mask_rcnn", "faster_rcnn", "retinanet"):
        words += "; anchor sizes and convention are not in it and taken as torchvision's"
    return Recognised(config, words)


def _numbered(shapes: Shapes, seen: Anatomy) -> Recognised | None:
    """A named detector on VGG, EfficientNet or MobileNetV3."""
    kind = "maskrcnn" if seen.mask else "fasterrcnn"
    name = stacked.preset(shapes, kind, seen.pyramid, seen.box_width)
    if name is None or seen.outputs is None or seen.box_rows != seen.outputs:
        return None
    config: dict[str, Any] = {"model": name, "num_classes": seen.outputs}
    if any(n.startswith(BODY) and n.endswith(".num_batches_tracked") for n in shapes):
        config["norm"] = "batch"
    return Recognised(config, f"recognised as {name} with {seen.outputs} outputs")


def _preset(seen: Anatomy) -> dict[str, Any] | None:
    """The named network of just these sizes."""
    assert seen.body is not None
    kind = "maskrcnn" if seen.mask else "fasterrcnn"
    body = seen.body
    if seen.features != "fpn" or body.stem != 64 or body.width != 64 or body.groups != 1:
        return None
    if seen.retina is not None:
        return _retina_preset(seen.retina, body)
    if seen.anchors != 3 or seen.heads:
        return None
    sizes = (seen.pyramid, seen.box_width, seen.mask_channels, seen.mask_predictor)
    depth = DEPTHS.get((body.block, body.layers))
    if depth in IN_PRESETS and body.channels == (256 if body.block == "bottleneck" else 64):
        wanted = (256, 1024, (256,) * 4, 256) if seen.mask else (256, 1024, (), None)
        return {"model": f"{kind}_resnet{depth}_fpn"} if sizes == wanted else None
    if (body.block, body.layers) == ("basic", (1, 1, 1, 1)):
        wanted = (64, 256, (64,) * 4, 64) if seen.mask else (64, 256, (), None)
        return {"model": f"{kind}_laptop"} if sizes == wanted else None
    return None


def _retina_preset(heads: retina.RetinaHeads, body: Body) -> dict[str, Any] | None:
    """The named RetinaNet with these heads on a ResNet of usual width."""
    depth = DEPTHS.get((body.block, body.layers))
    if depth not in IN_PRESETS or body.channels != (256 if body.block == "bottleneck" else 64):
        depth = None
    small = (body.block, body.layers) == ("basic", (1, 1, 1, 1))
    name = heads.preset(depth, small=small) if heads.anchors == retina.PER_CELL else None
    return {"model": name} if name else None


def _by_sizes(seen: Anatomy) -> dict[str, Any]:
    """Any other network, by what differs from the defaults of `mask_rcnn`."""
    assert seen.body is not None and seen.anchors is not None
    body = seen.body
    per_level = 3 if seen.features == "fpn" else 15
    if seen.retina is not None:
        per_level = retina.PER_CELL
    if seen.anchors != per_level:
        raise ValueError(
            f"a detector on {body} with {seen.anchors} anchors at each place, whose sizes the file "
            f"does not say ({per_level} are usual); name the network with --model and the sizes "
            + ("with --anchors" if seen.retina is None else "with --option anchor_sizes=...")
        )
    config: dict[str, Any] = {
        "model": "mask_rcnn" if seen.mask else "faster_rcnn",
        "block": body.block,
        "layers": list(body.layers),
        "stem_channels": body.stem,
        "features": seen.features,
    }
    if body.block == "bottleneck":
        config |= {
            "expansion": body.channels // body.stem,
            "width_per_group": body.width // body.groups * 64 // body.stem,
        }
    if body.groups != 1:
        config["groups"] = body.groups
    if seen.retina is not None:
        sizes = {k: v for k, v in config.items() if k != "features"}
        return sizes | {
            "model": "retinanet",
            "fpn_channels": seen.pyramid,
            **seen.retina.options,
        }
    if seen.features in ("fpn", "c5"):
        config["fpn_channels"] = seen.pyramid
    if seen.features != "c4":
        config["box_head_width"] = seen.box_width
    config |= seen.heads
    if seen.mask == "fcn":
        config["mask_head_channels"] = list(seen.mask_channels)
    if seen.mask == "mlp":
        config |= {"mask_head": "mlp", "mask_mlp_widths": list(seen.mask_channels)}
    elif seen.mask:
        config["mask_predictor_channels"] = seen.mask_predictor
    return config


def _unknown(shapes: Shapes) -> str:
    """What was seen in a file that is none of the known detectors."""
    for pattern, system in FOREIGN:
        found = next((name for name in shapes if pattern.search(name)), None)
        if found is not None:
            return f"names as in {system} ({found}), whose files are not read"
    if stacked.is_classifier(shapes):
        return (
            "names as in VGG, EfficientNet or MobileNet that classify images, but no detector: "
            "give it as --backbone-weights"
        )
    body = body_of(shapes)
    if body is not None:
        also = ", with a classifier of images" if "fc.weight" in shapes else ""
        return f"{body}{also}, but no detector: give it as --backbone-weights"
    if not shapes:
        return "there are no arrays in it"
    some = ", ".join(list(shapes)[:3])
    return f"no network that is known here: {len(shapes)} arrays such as {some}"


def _count(shapes: Shapes, stage: str) -> int:
    """The number of blocks of a stage."""
    count = 0
    while f"{stage}.{count}.conv1.weight" in shapes:
        count += 1
    return count


def _norm(shapes: Shapes, name: str) -> str | None:
    if f"{name}.running_mean" in shapes:
        # torch counts batches where norms are trained; its frozen ones have nothing to count
        return "batch" if f"{name}.num_batches_tracked" in shapes else "frozen_batch"
    return "group" if f"{name}.weight" in shapes else None


def _heads(shapes: Shapes) -> dict[str, Any]:
    """Options of a factory: convolutions of RPN and box head, norms of pyramid and heads."""
    found: dict[str, Any] = {}
    depth = len(_widths(shapes, "rpn.head.conv.{}.0.weight"))
    if depth > 1:
        found["rpn_conv_depth"] = depth
    if channels := _widths(shapes, "roi_heads.box_head.{}.0.weight"):
        found |= {"box_head": "conv", "box_head_channels": list(channels)}
    for option, layer in (
        ("fpn_norm", "backbone.fpn.inner_blocks.0.1"),
        ("box_head_norm", "roi_heads.box_head.0.1"),
        ("mask_head_norm", "roi_heads.mask_head.0.1"),
    ):
        if norm := _norm(shapes, layer):
            found[option] = norm
    return found


def _mask_branch(shapes: Shapes) -> tuple[str | None, tuple[int, ...], int | None]:
    """Kind, channels of the head's layers, and channels of the predictor."""
    head = "roi_heads.mask_head."
    if "roi_heads.mask_predictor.mask_logits.weight" in shapes:
        return "mlp", _widths(shapes, head + "layers.{}.weight"), None
    predictor = shapes.get("roi_heads.mask_predictor.conv5_mask.weight")
    if predictor is None:
        return None, (), None
    channels = _widths(shapes, head + "{}.0.weight")
    return "fcn" if channels else "c4", channels, predictor[1]


def _widths(shapes: Shapes, name: str) -> tuple[int, ...]:
    """The outputs of the layers name.format(0), name.format(1) ..."""
    found: list[int] = []
    while name.format(len(found)) in shapes:
        found.append(shapes[name.format(len(found))][0])
    return tuple(found)
