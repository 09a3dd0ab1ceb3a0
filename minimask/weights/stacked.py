"""Weights of bodies whose layers are numbered: torchvision's VGG, EfficientNet and MobileNetV3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

BODY = "backbone.body."
RES5 = "roi_heads.box_head.res5."  # the layers after C4, where they serve as the box head
Shapes = Mapping[str, tuple[int, ...]]

NUMBERED = re.compile(rf"^{re.escape(BODY)}(\d+)\.")
CLASSIFIER = re.compile(r"^features\.(\d+)\.")
# VGG's classifier up to its last layer is the head of the first Faster R-CNN
VGG_HEAD = {
    "classifier.0.": "roi_heads.box_head.fc6.",
    "classifier.3.": "roi_heads.box_head.fc7.",
}
# the last number, and one of its weights with the shape that only this body has
SIGNS: dict[str, tuple[int, str, tuple[int, ...]]] = {
    "vgg16": (28, "28.weight", (512, 512, 3, 3)),
    "vgg16_bn": (41, "40.weight", (512, 512, 3, 3)),
    "efficientnet_b0": (7, "7.0.block.3.0.weight", (320, 1152, 1, 1)),
    "efficientnet_b3": (7, "7.1.block.3.0.weight", (384, 2304, 1, 1)),
    "mobilenet_v3_large": (16, "16.0.weight", (960, 160, 1, 1)),
    "mobilenet_v3_small": (12, "12.0.weight", (576, 96, 1, 1)),
}


def is_classifier(names: Mapping[str, Any]) -> bool:
    """Whether a file has the names of such a network that classifies images."""
    return any(CLASSIFIER.match(name) for name in names)


def body_name(shapes: Shapes) -> str | None:
    """Which of the bodies a detector of these arrays has; None: none, or of another width."""
    found = body_width(shapes)
    return found[0] if found is not None and found[1] == 1 else None


def body_width(shapes: Shapes) -> tuple[str, float] | None:
    """Which of the bodies it is, and how many channels its last layer has for each of the usual."""
    last = max((int(m[1]) for m in map(NUMBERED.match, shapes) if m), default=-1)
    for name, (number, layer, usual) in SIGNS.items():
        shape = shapes.get(BODY + layer)
        if last != number or shape is None or len(shape) != 4 or shape[2:] != usual[2:]:
            continue
        if shape[0] * usual[1] == shape[1] * usual[0] and shape[0]:
            return name, shape[0] / usual[0]
    return None


def as_detector(arrays: Mapping[str, Any], own: Shapes) -> dict[str, Any]:
    """A classifier's arrays under the names that they have in a detector.

    Args:
        arrays: of the file.
        own: the shapes of the detector's arrays.

    Returns:
        Those of the body; what comes after its last map under the names of the box head, if that
        consists of it; VGG's fully connected layers, if the head has such.

    Raises:
        ValueError: the detector's body is a residual network.
    """
    numbers = [int(m[1]) for m in map(NUMBERED.match, own) if m]
    if not numbers:
        raise ValueError(
            "names as in a VGG, EfficientNet or MobileNet of torchvision, but the model's body is "
            "none of them; build it with --option backbone=vgg16 or the like"
        )
    last, found = max(numbers), {}
    for name, array in arrays.items():
        match = CLASSIFIER.match(name)
        if match and int(match[1]) <= last:
            found[BODY + name.removeprefix("features.")] = array
        elif match:  # beyond the last map: of the box head, or of the classifier
            rest = f"{RES5}{int(match[1]) - last - 1}.{name[match.end() :]}"
            if rest in own:
                found[rest] = array
        for old, new in VGG_HEAD.items():
            renamed = new + name.removeprefix(old)
            if name.startswith(old) and own.get(renamed) == array.shape:
                found[renamed] = array
    return found


def preset(shapes: Shapes, kind: str, pyramid: int | None, width: int | None) -> str | None:
    """The named detector of these sizes, such as "fasterrcnn_mobilenet_v3_large_fpn"; or None.

    Args:
        shapes: of all arrays.
        kind: "maskrcnn" or "fasterrcnn".
        pyramid: channels of the maps that the heads see.
        width: of the box head.
    """
    body = body_name(shapes)
    levels = sum(bool(re.match(r"^backbone\.fpn\.inner_blocks\.\d\.0\.weight", n)) for n in shapes)
    if body == "vgg16" and levels == 0 and (kind, width) == ("fasterrcnn", 4096):
        return "fasterrcnn_vgg16"
    if body is None or (pyramid, width) != (256, 1024):
        return None
    usual = 2 if (kind, body) == ("fasterrcnn", "mobilenet_v3_large") else 4
    known = ("vgg16", "efficientnet_b0", "efficientnet_b3", "mobilenet_v3_large")
    return f"{kind}_{body}_fpn" if levels == usual and body in known else None
