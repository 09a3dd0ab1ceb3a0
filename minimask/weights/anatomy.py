"""What the names and shapes of a network's weights show: blocks, channels, norms, outputs.

Names are those of minimask's models, which are torchvision's; `systems` translates all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minimask.weights import retina

Shapes = Mapping[str, tuple[int, ...]]

BODY = "backbone.body."
RES5 = "roi_heads.box_head.res5"  # the fourth stage, where it serves as the box head
CLASS_SCORES = "roi_heads.box_predictor.cls_score.weight"
BOXES = "roi_heads.box_predictor.bbox_pred.weight"
LATERAL = "backbone.fpn.inner_blocks.0.0.weight"
KEYPOINTS = "roi_heads.keypoint_predictor.kps_score_lowres.weight"

DEPTHS: dict[tuple[str, tuple[int, ...]], int] = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}


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
            if self.groups > 1:
                name = f"a ResNeXt-{depth}-{self.groups}x{self.width // self.groups}d"
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
    keypoints: int | None = None  # of each object
    keypoint_channels: tuple[int, ...] = ()

    @property
    def kind(self) -> str | None:
        """The family: "mask_rcnn", "rpn" ...; None: no detector."""
        if self.retina is not None:
            return "retinanet"
        if self.outputs is None:
            return None if self.anchors is None else "rpn"
        if self.anchors is None:
            return "fast_rcnn"
        if self.keypoints is not None:
            return "mask_keypoint_rcnn" if self.mask else "keypoint_rcnn"
        return "mask_rcnn" if self.mask else "faster_rcnn"


def anatomy(shapes: Shapes) -> Anatomy:
    """What can be seen in the names (of minimask's and torchvision's models) and shapes."""
    try:
        return _anatomy(shapes)
    except (IndexError, ValueError):  # a layer with fewer dimensions than it has anywhere
        return Anatomy()


def _anatomy(shapes: Shapes) -> Anatomy:
    features = _features(shapes)
    head, anchors = (shapes.get(f"rpn.head.{n}.weight") for n in ("conv.0.0", "cls_logits"))
    heads = _heads(shapes)
    last = len(heads.get("box_head_channels", ())) + 1  # after them all is flattened
    fc6 = shapes.get(f"roi_heads.box_head.{'fc6' if last == 1 else last}.weight")
    scores, boxes = shapes.get(CLASS_SCORES), shapes.get(BOXES)
    mask, channels, predictor = _mask_branch(shapes)
    lateral, points = shapes.get(LATERAL), shapes.get(KEYPOINTS)
    body, one_stage = body_of(shapes, BODY), retina.heads(shapes)
    if one_stage is not None:
        counts = {name: getattr(one_stage, name) for name in ("pyramid", "anchors", "outputs")}
        return Anatomy(body, features, retina=one_stage, **counts)
    return Anatomy(
        body=body,
        features=features,
        pyramid=head[1] if head else lateral[0] if lateral else None,
        anchors=anchors[0] if anchors else None,
        box_width=fc6[0] if fc6 else None,
        outputs=scores[0] if scores else None,
        box_rows=boxes[0] // 4 if boxes else None,
        mask=mask,
        mask_channels=channels,
        mask_predictor=predictor,
        heads=heads,
        keypoints=points[1] if points else None,
        keypoint_channels=_widths(shapes, "roi_heads.keypoint_head.{}.weight", step=2),
    )


def _features(shapes: Shapes) -> str | None:
    """Which maps the heads look at."""
    if LATERAL in shapes:
        return "fpn"
    if f"{RES5}.0.conv1.weight" in shapes:
        return "c4"
    if "backbone.reduce.weight" in shapes:
        return "c5"
    if f"{BODY}layer4.0.conv1.weight" in shapes:
        return "dc5"
    return "c4" if f"{BODY}layer3.0.conv1.weight" in shapes else None  # the first stage alone


def body_of(shapes: Shapes, prefix: str = "") -> Body | None:
    """The residual network whose names begin with `prefix`; None if there is none."""
    try:
        return _body(shapes, prefix)
    except IndexError:  # no convolutions
        return None


def _body(shapes: Shapes, prefix: str) -> Body | None:
    stem = shapes.get(f"{prefix}conv1.weight")
    first = f"{prefix}layer1.0."
    if stem is None or f"{first}conv2.weight" not in shapes:
        return None
    if tuple(stem[2:]) != (7, 7):  # RegNets and others have the same names
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
    width = shapes.get("rpn.head.conv.0.0.weight")
    if width and width[0] != width[1]:
        found["rpn_channels"] = width[0]
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


def _widths(shapes: Shapes, name: str, step: int = 1) -> tuple[int, ...]:
    """The outputs of the layers name.format(0), name.format(step) ..."""
    found: list[int] = []
    while (shape := shapes.get(name.format(step * len(found)))) is not None:
        found.append(shape[0])
    return tuple(found)
