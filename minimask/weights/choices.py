"""Which of a system's configurations a recognised network belongs to."""

from __future__ import annotations

from typing import Any

from minimask.weights.anatomy import Anatomy
from minimask.weights.titles import CITYSCAPES, LVIS_COUNTS

# networks of the first stage alone keep more proposals (detectron2's rpn_*.yaml, mmdetection's
# configs/_base_/models/rpn_r50_fpn.py)
_FIRST_STAGE: dict[tuple[str, str | None], dict[str, Any]] = {
    ("detectron2", "fpn"): {"rpn_post_nms_top_n_test": 2000},
    ("detectron2", "c4"): {"rpn_pre_nms_top_n_test": 12000, "rpn_post_nms_top_n_test": 2000},
    ("mmdet", "fpn"): {"rpn_pre_nms_top_n_test": 2000},
}


def choices_of(system: str, seen: Anatomy, model: str, convention: str) -> dict[str, Any]:
    """Options of a factory that the system's configuration of such a network sets.

    Args:
        system: whose network it is.
        seen: the network.
        model: name of its factory.
        convention: the style that was seen in the weights.
    """
    kind = _kind(system, seen, convention)
    if kind is None:
        return {}
    from minimask.models.factory import takes
    from minimask.models.system_configs import SYSTEM_CONFIGS

    options = dict(SYSTEM_CONFIGS[kind].options)
    if seen.kind == "rpn":
        options |= _FIRST_STAGE.get((system, seen.features), {})
    plain = {n: list(v) if isinstance(v, tuple) else v for n, v in options.items()}
    return {name: value for name, value in plain.items() if takes(model, name)}


def _kind(system: str, seen: Anatomy, convention: str) -> str | None:
    """The key of the configuration."""
    if system == "mmdet":
        style = "caffe-" if convention == "mmdet_caffe" else ""
        if seen.features != "fpn":
            return f"mmdet/caffe-{seen.features}" if seen.features in ("c4", "dc5") else None
        return f"mmdet/{style}fpn" + ("" if seen.mask else "-boxes")
    if system != "detectron2":
        return None
    if seen.keypoints is not None:
        return "detectron2/keypoint"
    if seen.features in ("c4", "dc5"):
        return f"detectron2/{seen.features}"
    classes = (seen.outputs or 1) - 1
    if classes in LVIS_COUNTS:
        return "detectron2/lvis"
    if classes == len(CITYSCAPES):
        return "detectron2/cityscapes"
    if seen.heads.get("rpn_conv_depth", 1) > 1:
        return "detectron2/lsj"
    if seen.body is not None and seen.body.norm == "group":
        return "detectron2/gn"
    return "detectron2/4conv1fc" if "box_head" in seen.heads else "detectron2/fpn"
