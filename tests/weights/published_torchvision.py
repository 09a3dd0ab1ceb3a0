"""The names and shapes of torchvision's published detectors and of ImageNet bodies.

As `published.py`: from the structure, without the product's tables. Of the MobileNetV3 detectors,
whose body has 30 kinds of layers, torchvision itself is asked where it is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from published import Widths, conv, d2_block, linear, norm, stages, torch_body


def torchvision(
    *,
    mask: bool = True,
    keypoints: bool = False,
    classes: int = 91,
    v2: bool = False,
    old: bool = False,
    w: Widths = Widths(),  # noqa: B008
) -> dict[str, Any]:
    """A two-stage detector on ResNet-50-FPN; `old`: as the files of 2019 name their layers."""
    kind = "batch" if v2 else "frozen"
    shapes = torch_body("backbone.body.", 50, w, kind)
    middle = "" if old else ".0"
    for i, blocks in enumerate(stages(50, w)):
        for layer, into, size in (("inner", blocks[-1][2], 1), ("layer", w.pyramid, 3)):
            name = f"backbone.fpn.{layer}_blocks.{i}"
            shapes |= conv(f"{name}{middle}", w.pyramid, into, size, bias=not v2)
            shapes |= norm(f"{name}.1", w.pyramid, kind) if v2 else {}
    rpn = ["rpn.head.conv"] if old else [f"rpn.head.conv.{i}.0" for i in range(2 if v2 else 1)]
    for name in rpn:
        shapes |= conv(name, w.pyramid, w.pyramid, 3)
    shapes |= conv("rpn.head.cls_logits", 3, w.pyramid, 1)
    shapes |= conv("rpn.head.bbox_pred", 12, w.pyramid, 1)
    shapes |= box_head(w, v2)
    shapes |= linear("roi_heads.box_predictor.cls_score", classes, w.box)
    shapes |= linear("roi_heads.box_predictor.bbox_pred", 4 * classes, w.box)
    if mask:
        shapes |= mask_head(w, classes, v2, old)
    if keypoints:
        for i in range(8):
            into = w.pyramid if i == 0 else w.keypoint
            shapes |= conv(f"roi_heads.keypoint_head.{2 * i}", w.keypoint, into, 3)
        last = "roi_heads.keypoint_predictor.kps_score_lowres"
        shapes |= {f"{last}.weight": (w.keypoint, 17, 4, 4), f"{last}.bias": (17,)}
    return shapes


def box_head(w: Widths, v2: bool) -> dict[str, Any]:
    there = "roi_heads.box_head."
    if not v2:
        return linear(f"{there}fc6", w.box, w.pyramid * 49) | linear(f"{there}fc7", w.box, w.box)
    shapes: dict[str, Any] = {}
    for i in range(4):
        shapes |= conv(f"{there}{i}.0", w.conv, w.pyramid if i == 0 else w.conv, 3, bias=False)
        shapes |= norm(f"{there}{i}.1", w.conv, "batch")
    return shapes | linear(f"{there}5", w.box, w.conv * 49)


def mask_head(w: Widths, classes: int, v2: bool, old: bool) -> dict[str, Any]:
    there, shapes = "roi_heads.mask_head.", {}
    for i in range(4):
        name = f"{there}mask_fcn{i + 1}" if old else f"{there}{i}.0"
        shapes |= conv(name, w.conv, w.pyramid if i == 0 else w.conv, 3, bias=not v2)
        shapes |= norm(f"{there}{i}.1", w.conv, "batch") if v2 else {}
    deconv = "roi_heads.mask_predictor.conv5_mask"
    shapes |= {f"{deconv}.weight": (w.conv, w.conv, 2, 2), f"{deconv}.bias": (w.conv,)}
    return shapes | conv("roi_heads.mask_predictor.mask_fcn_logits", classes, w.conv, 1)


def retinanet(*, v2: bool = False, w: Widths = Widths()) -> dict[str, Any]:  # noqa: B008
    """The first version has old names."""
    shapes = torch_body("backbone.body.", 50, w, "batch" if v2 else "frozen")
    middle = ".0" if v2 else ""
    for i, blocks in enumerate(stages(50, w)[1:]):
        for layer, into, size in (("inner", blocks[-1][2], 1), ("layer", w.pyramid, 3)):
            shapes |= conv(f"backbone.fpn.{layer}_blocks.{i}{middle}", w.pyramid, into, size)
    coarse = stages(50, w)[3][-1][2] if v2 else w.pyramid
    shapes |= conv("backbone.fpn.extra_blocks.p6", w.pyramid, coarse, 3)
    shapes |= conv("backbone.fpn.extra_blocks.p7", w.pyramid, w.pyramid, 3)
    for head, last, out in (
        ("classification", "cls_logits", 9 * 91),
        ("regression", "bbox_reg", 36),
    ):
        there = f"head.{head}_head."
        for i in range(4):
            name = f"{there}conv.{i}.0" if v2 else f"{there}conv.{2 * i}"
            shapes |= conv(name, w.pyramid, w.pyramid, 3, bias=not v2)
            shapes |= norm(f"{there}conv.{i}.1", w.pyramid, "group") if v2 else {}
        shapes |= conv(f"{there}{last}", out, w.pyramid, 3)
    return shapes


# --- bodies of ImageNet -------------------------------------------------------------------------


def classifier(
    depth: int = 50,
    groups: int = 1,
    base: int = 64,
    w: Widths = Widths(),  # noqa: B008
) -> dict[str, Any]:
    """torchvision's ResNet."""
    return torch_body("", depth, w, "batch", groups, base) | linear("fc", 1000, 32 * w.stem)


def caffe2(
    depth: int = 50,
    groups: int = 1,
    base: int = 64,
    w: Widths = Widths(),  # noqa: B008
) -> dict[str, Any]:
    """MSRA's R-50.pkl and R-101.pkl, FAIR's X-101-32x8d.pkl: blobs of Caffe2."""
    shapes: dict[str, Any] = {"conv1_w": (w.stem, 3, 7, 7)}
    shapes |= {f"res_conv1_bn_{kind}": (w.stem,) for kind in "sb"}
    for i, blocks in enumerate(stages(depth, w, groups, base)):
        for j, (into, inner, out) in enumerate(blocks):
            layers = [
                ("2a", inner, into, 1),
                ("2b", inner, inner // groups, 3),
                ("2c", out, inner, 1),
            ]
            if j == 0:
                layers.append(("1", out, into, 1))
            for branch, after, before, size in layers:
                name = f"res{i + 2}_{j}_branch{branch}"
                shapes[f"{name}_w"] = (after, before, size, size)
                shapes |= {f"{name}_bn_{kind}": (after,) for kind in "sb"}
    return shapes | {"fc1000_w": (1000, 32 * w.stem), "fc1000_b": (1000,)}


def detectron2_body(depth: int = 50, w: Widths = Widths()) -> dict[str, Any]:  # noqa: B008
    """A body of torchvision as detectron2's script converts it."""
    shapes = conv("stem.conv1", w.stem, 3, 7, bias=False) | norm(
        "stem.conv1.norm", w.stem, "frozen"
    )
    for i, blocks in enumerate(stages(depth, w)):
        for j, sizes in enumerate(blocks):
            shapes |= d2_block(f"res{i + 2}.{j}", *sizes, 1, "frozen")
    even = np.full((w.stem, 3, 7, 7), 147**-0.5, np.float32)
    shapes["stem.conv1.weight"] = even
    shapes["stem.conv1.norm.running_mean"] = np.full(w.stem, 0.1, np.float32)
    return shapes | linear("stem.fc", 1000, 32 * w.stem)
