"""From what a network's weights show to the config that `minimask.models.build` makes it from.

Named networks are preferred to lists of sizes, for they say more.
"""

from __future__ import annotations

from typing import Any

from minimask.weights import retina, stacked
from minimask.weights.anatomy import BODY, DEPTHS, Anatomy, Body, Shapes

IN_PRESETS = (18, 34, 50, 101)  # depths of `maskrcnn_resnet.._fpn`
SHORT = {
    "mask_rcnn": "maskrcnn",
    "faster_rcnn": "fasterrcnn",
    "keypoint_rcnn": "keypointrcnn",
    "mask_keypoint_rcnn": "maskkeypointrcnn",
    "fast_rcnn": "fastrcnn",
    "rpn": "rpn",
}
# families of which only one named network takes sizes
BY_SIZES = {"rpn": "rpn_resnet50_fpn", "fast_rcnn": "fastrcnn_resnet50_fpn"}
ONLY_50 = ("keypoint_rcnn", "mask_keypoint_rcnn", "rpn", "fast_rcnn")
COCO_KEYPOINTS = 17
FIRST_ANCHOR = 32  # of the usual sizes, each twice the one before
SECOND_VERSION: dict[str, Any] = {
    "rpn_conv_depth": 2,
    "box_head": "conv",
    "box_head_channels": [256] * 4,
    "fpn_norm": "batch",
    "box_head_norm": "batch",
}


def config_of(
    shapes: Shapes, seen: Anatomy, *, sized: bool = False, guess: bool = False
) -> dict[str, Any]:
    """The config of the network with these arrays, but for its classes and its convention.

    Args:
        shapes: of the arrays.
        seen: their anatomy, with a body and maps.
        sized: whether the sizes of the anchors are known from elsewhere.
        guess: whether they may be guessed from their number.

    Raises:
        ValueError: they are neither known nor usual.
    """
    config = numbered(shapes, seen) or _preset(seen)
    if config is None:
        config = _by_sizes(seen)
        per_cell = _usual_anchors(seen)
        if seen.anchors not in (None, per_cell) and not sized:
            sizes = _guessed(seen) if guess else None
            if sizes is None:
                raise ValueError(_unknown_anchors(seen, per_cell))
            config["anchor_sizes"] = sizes
    default = "batch" if config["model"].endswith(("_laptop", "_v2")) else "frozen_batch"
    if seen.body is not None and seen.body.norm not in (None, default):
        config["norm"] = seen.body.norm
    return config


def numbered(shapes: Shapes, seen: Anatomy) -> dict[str, Any] | None:
    """A named detector on VGG, EfficientNet or MobileNetV3."""
    kind = "maskrcnn" if seen.mask else "fasterrcnn"
    name = stacked.preset(shapes, kind, seen.pyramid, seen.box_width)
    narrow: dict[str, Any] = {}
    if name is None and seen.outputs is not None:
        name, narrow = _narrow_mobile(shapes, seen)
    if name is None or seen.outputs is None or seen.box_rows != seen.outputs:
        return None
    trained = any(n.startswith(BODY) and n.endswith(".num_batches_tracked") for n in shapes)
    return {"model": name, **narrow} | ({"norm": "batch"} if trained else {})


def _narrow_mobile(shapes: Shapes, seen: Anatomy) -> tuple[str | None, dict[str, Any]]:
    """Torchvision's detector on a MobileNetV3 of another width, and its sizes."""
    body = stacked.body_width(shapes)
    levels = sum(f"backbone.fpn.inner_blocks.{i}.0.weight" in shapes for i in range(5))
    if body is None or body[0] != "mobilenet_v3_large" or levels != 2 or seen.mask:
        return None, {}
    sizes = {"width_multiplier": body[1], "fpn_channels": seen.pyramid}
    return "fasterrcnn_mobilenet_v3_large_fpn", sizes | {"box_head_width": seen.box_width}


def _preset(seen: Anatomy) -> dict[str, Any] | None:
    """The named network of just these sizes."""
    assert seen.body is not None and seen.kind is not None
    body = seen.body
    if seen.features != "fpn" or body.stem != 64 or body.width != 64 or body.groups != 1:
        return None
    if seen.retina is not None:
        return _retina_preset(seen.retina, body)
    if seen.anchors not in (None, 3):
        return None
    depth = DEPTHS.get((body.block, body.layers))
    short = SHORT[seen.kind]
    if depth in IN_PRESETS and body.channels == (256 if body.block == "bottleneck" else 64):
        if not _has_sizes(seen, 256, 1024, 512) or (depth != 50 and seen.kind in ONLY_50):
            return None
        second = SECOND_VERSION | ({"mask_head_norm": "batch"} if seen.mask else {})
        if seen.heads == second and body.norm == "batch" and depth == 50:
            return {"model": f"{short}_resnet50_fpn_v2"}
        return None if seen.heads else {"model": f"{short}_resnet{depth}_fpn"}
    if (body.block, body.layers) == ("basic", (1, 1, 1, 1)) and not seen.heads:
        return {"model": f"{short}_laptop"} if _has_sizes(seen, 64, 256, 64) else None
    return None


def _has_sizes(seen: Anatomy, channels: int, width: int, points: int) -> bool:
    """Whether pyramid and heads are as wide as in the named networks."""
    found: list[tuple[Any, Any]] = [(seen.pyramid, channels)]
    if seen.outputs is not None:
        found.append((seen.box_width, width))
    if seen.mask is not None:
        found.append((seen.mask_predictor, channels))
        found.append((seen.mask_channels, (channels,) * 4))
    if seen.keypoints is not None:
        depth = 8 if points == 512 else 4
        found.append((seen.keypoint_channels, (points,) * depth))
        found.append((seen.keypoints, COCO_KEYPOINTS))
    return all(there == usual for there, usual in found)


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
    assert seen.body is not None and seen.kind is not None
    body = seen.body
    layers = list(body.layers)
    if seen.kind == "rpn" and not layers[3]:
        layers[3] = 3  # of a network without its last stage, which is not built
    config: dict[str, Any] = {
        "model": BY_SIZES.get(seen.kind, seen.kind),
        "block": body.block,
        "layers": layers,
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
    if seen.box_width is not None:
        config["box_head_width"] = seen.box_width
    config |= seen.heads
    if seen.mask == "fcn":
        config["mask_head_channels"] = list(seen.mask_channels)
    if seen.mask == "mlp":
        config |= {"mask_head": "mlp", "mask_mlp_widths": list(seen.mask_channels)}
    elif seen.mask:
        config["mask_predictor_channels"] = seen.mask_predictor
    if seen.keypoints is not None:
        config["keypoint_head_channels"] = list(seen.keypoint_channels)
        if seen.keypoints != COCO_KEYPOINTS:
            config["num_keypoints"] = seen.keypoints
    return config


def _usual_anchors(seen: Anatomy) -> int:
    if seen.retina is not None:
        return retina.PER_CELL
    return 3 if seen.features == "fpn" else 15


def _guessed(seen: Anatomy) -> list[int] | None:
    """As many of the usual sizes, three ratios of each, as a single map has anchors."""
    if seen.features == "fpn" or seen.retina is not None or not seen.anchors or seen.anchors % 3:
        return None
    return [FIRST_ANCHOR * 2**i for i in range(seen.anchors // 3)] if seen.anchors < 30 else None


def _unknown_anchors(seen: Anatomy, usual: int) -> str:
    return (
        f"a detector on {seen.body} with {seen.anchors} anchors at each place, whose sizes the "
        f"file does not say ({usual} are usual); name the network with --model and the sizes "
        + ("with --anchors" if seen.retina is None else "with --option anchor_sizes=...")
    )
