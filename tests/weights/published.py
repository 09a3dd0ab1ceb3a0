"""The names and shapes of published files, made from the structure that their systems publish.

Written from the systems' own descriptions of their networks, without the product's tables of names,
so that the two can be compared. Sources: detectron2's model_zoo.py and configs/, mmdetection's
metafile.yml of mask_rcnn, faster_rcnn and rpn and its README, torchvision's models/detection,
matterport's model.py.

    FILES                     all of them, each with what must be said about it
    file.arrays()             name -> array of that shape, of zeros that take no memory
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Callable
from typing import Any

import numpy as np

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
FPN_SIZES = (32, 64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class Widths:
    """Channels of a network; the recordings' networks are narrow."""

    stem: int = 64
    pyramid: int = 256
    box: int = 1024
    conv: int = 256  # of the heads' convolutions
    keypoint: int = 512
    rpn: int = 512  # of matterport


@dataclasses.dataclass(frozen=True)
class Published:
    """A published file.

    Attributes:
        system: whose.
        name: as its system lists it.
        make: gives its shapes, with the few arrays whose values matter.
        title: of the network, as `read_source` must say it; None: it must be refused.
        classes: without background.
        convention: the choices it was trained with.
        options: of the config, that must be there.
        refused: what the sentence that refuses it must call it.
    """

    system: str
    name: str
    make: Callable[[], dict[str, Any]]
    title: str | None = None
    classes: int = 80
    convention: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    refused: str = ""

    def arrays(self) -> dict[str, np.ndarray]:
        """Zeros of its shapes; variances are 1."""
        return {name: as_array(name, shape) for name, shape in self.make().items()}


def as_array(name: str, shape: Any) -> np.ndarray:
    if isinstance(shape, np.ndarray):
        return shape
    number = 1 if name.endswith(("running_var", "moving_variance:0")) else 0
    kind = np.int64 if name.endswith("num_batches_tracked") else np.float32
    return np.broadcast_to(kind(number), shape)


# --- what all have in common ----------------------------------------------------------------------


def conv(name: str, out: int, into: int, size: int, bias: bool = True) -> dict[str, Any]:
    shapes = {f"{name}.weight": (out, into, size, size)}
    return shapes | ({f"{name}.bias": (out,)} if bias else {})


def linear(name: str, out: int, into: int) -> dict[str, Any]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, channels: int, kind: str) -> dict[str, Any]:
    """`kind`: "frozen", "batch" (which counts batches) or "group"."""
    arrays = ["weight", "bias"] + ["running_mean", "running_var"] * (kind != "group")
    shapes: dict[str, Any] = {f"{name}.{array}": (channels,) for array in arrays}
    return shapes | ({f"{name}.num_batches_tracked": ()} if kind == "batch" else {})


def stages(depth: int, w: Widths, groups: int = 1, base: int = 64) -> list[list[tuple[int, ...]]]:
    """For every stage its bottlenecks: (channels in, inner, out)."""
    found, before = [], w.stem
    for i, count in enumerate(BLOCKS[depth]):
        planes = w.stem * 2**i
        inner, out = planes * base // 64 * groups, planes * 4
        found.append([(before if j == 0 else out, inner, out) for j in range(count)])
        before = out
    return found


# --- detectron2 -----------------------------------------------------------------------------------


def d2_block(name: str, into: int, inner: int, out: int, groups: int, kind: str) -> dict[str, Any]:
    layers = [("conv1", inner, into, 1), ("conv2", inner, inner // groups, 3)]
    layers.append(("conv3", out, inner, 1))
    if into != out:
        layers.insert(0, ("shortcut", out, into, 1))
    shapes: dict[str, Any] = {}
    for layer, after, before, size in layers:
        shapes |= conv(f"{name}.{layer}", after, before, size, bias=False)
        shapes |= norm(f"{name}.{layer}.norm", after, kind)
    return shapes


def detectron2(
    depth: int = 50,
    features: str = "fpn",
    *,
    mask: bool = True,
    keypoints: bool = False,
    classes: int = 80,
    groups: int = 1,
    base: int = 64,
    kind: str = "frozen",
    box_convs: int = 0,
    rpn_convs: int = 1,
    rpn: bool = True,
    heads: bool = True,
    buffers: bool = True,
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
    sizes: tuple[int, ...] = FPN_SIZES,
    w: Widths = Widths(),
) -> dict[str, Any]:
    """GeneralizedRCNN and ProposalNetwork; `buffers`: as in files of 2019 and 2020."""
    body = "backbone.bottom_up." if features == "fpn" else "backbone."
    shapes = conv(f"{body}stem.conv1", w.stem, 3, 7, bias=False)
    shapes |= norm(f"{body}stem.conv1.norm", w.stem, kind)
    residual = stages(depth, w, groups, base)
    for i, blocks in enumerate(residual):
        where = f"{body}res{i + 2}"
        if features == "c4" and i == 3:
            if not heads:
                break
            where = "roi_heads.res5"
        for j, sizes_of_block in enumerate(blocks):
            shapes |= d2_block(f"{where}.{j}", *sizes_of_block, groups, kind)
    normed = kind if kind != "frozen" else None
    if features == "fpn":
        for i, blocks in enumerate(residual):
            for layer, into, size in (("lateral", blocks[-1][2], 1), ("output", w.pyramid, 3)):
                shapes |= normed_conv(f"backbone.fpn_{layer}{i + 2}", w.pyramid, into, size, normed)
    channels = {"fpn": w.pyramid, "c4": residual[2][-1][2], "dc5": residual[3][-1][2]}[features]
    anchors = 3 * (1 if features == "fpn" else len(sizes))
    if rpn:
        shapes |= d2_rpn(channels, anchors, rpn_convs)
    if heads:
        shapes |= d2_heads(channels, features, residual[3][-1][2], classes, box_convs, normed, w)
        if mask:
            shapes |= d2_mask(channels, features, residual[3][-1][2], classes, normed, w)
        if keypoints:
            shapes |= d2_keypoints(channels, w)
    if buffers:
        shapes["pixel_mean"] = np.array([103.53, 116.28, 123.675], np.float32).reshape(3, 1, 1)
        shapes["pixel_std"] = np.array(std, np.float32).reshape(3, 1, 1)
        levels = [[s] for s in sizes] if features == "fpn" else [list(sizes)]
        for i, level in enumerate(levels if rpn else []):
            name = f"proposal_generator.anchor_generator.cell_anchors.{i}"
            shapes[name] = cells(level)
    return shapes


def normed_conv(name: str, out: int, into: int, size: int, kind: str | None) -> dict[str, Any]:
    shapes = conv(name, out, into, size, bias=kind is None)
    return shapes | (norm(f"{name}.norm", out, kind) if kind else {})


def cells(sizes: list[int]) -> np.ndarray:
    """The anchors at one place, centred on 0: for every size three of its area."""
    found = []
    for size in sizes:
        for ratio in (0.5, 1.0, 2.0):
            width = np.sqrt(size**2 / ratio)
            height = ratio * width
            found.append([-width / 2, -height / 2, width / 2, height / 2])
    return np.array(found, np.float32)


def d2_rpn(channels: int, anchors: int, convs: int) -> dict[str, Any]:
    there = "proposal_generator.rpn_head."
    shapes: dict[str, Any] = {}
    for i in range(convs):
        layer = "conv" if convs == 1 else f"conv.conv{i}"
        shapes |= conv(there + layer, channels, channels, 3)
    shapes |= conv(f"{there}objectness_logits", anchors, channels, 1)
    return shapes | conv(f"{there}anchor_deltas", 4 * anchors, channels, 1)


def d2_heads(
    channels: int, features: str, last: int, classes: int, convs: int, kind: str | None, w: Widths
) -> dict[str, Any]:
    shapes: dict[str, Any] = {}
    width, there = w.box, "roi_heads.box_head."
    if features == "c4":
        width = last
    elif convs:
        for i in range(convs):
            into = channels if i == 0 else w.conv
            shapes |= normed_conv(f"{there}conv{i + 1}", w.conv, into, 3, kind)
        shapes |= linear(f"{there}fc1", width, w.conv * 49)
    else:
        shapes |= linear(f"{there}fc1", width, channels * 49)
        shapes |= linear(f"{there}fc2", width, width)
    shapes |= linear("roi_heads.box_predictor.cls_score", classes + 1, width)
    return shapes | linear("roi_heads.box_predictor.bbox_pred", 4 * classes, width)


def d2_mask(
    channels: int, features: str, last: int, classes: int, kind: str | None, w: Widths
) -> dict[str, Any]:
    there, shapes = "roi_heads.mask_head.", {}
    into = last
    if features != "c4":
        for i in range(4):
            before = channels if i == 0 else w.conv
            shapes |= normed_conv(f"{there}mask_fcn{i + 1}", w.conv, before, 3, kind)
        into = w.conv
    shapes |= {f"{there}deconv.weight": (into, w.conv, 2, 2), f"{there}deconv.bias": (w.conv,)}
    return shapes | conv(f"{there}predictor", classes, w.conv, 1)


def d2_keypoints(channels: int, w: Widths) -> dict[str, Any]:
    there, shapes = "roi_heads.keypoint_head.", {}
    for i in range(8):
        into = channels if i == 0 else w.keypoint
        shapes |= conv(f"{there}conv_fcn{i + 1}", w.keypoint, into, 3)
    last = f"{there}score_lowres"
    return shapes | {f"{last}.weight": (w.keypoint, 17, 4, 4), f"{last}.bias": (17,)}


# --- mmdetection ----------------------------------------------------------------------------------


def torch_block(name: str, into: int, inner: int, out: int, groups: int, kind: str) -> dict:
    shapes: dict[str, Any] = {}
    layers = ((1, inner, into, 1), (2, inner, inner // groups, 3), (3, out, inner, 1))
    for i, after, before, size in layers:
        shapes |= conv(f"{name}.conv{i}", after, before, size, bias=False)
        shapes |= norm(f"{name}.bn{i}", after, kind)
    if into != out:
        shapes |= conv(f"{name}.downsample.0", out, into, 1, bias=False)
        shapes |= norm(f"{name}.downsample.1", out, kind)
    return shapes


def torch_body(
    begin: str, depth: int, w: Widths, kind: str, groups: int = 1, base: int = 64, count: int = 4
) -> dict[str, Any]:
    shapes = conv(f"{begin}conv1", w.stem, 3, 7, bias=False)
    shapes |= norm(f"{begin}bn1", w.stem, kind)
    for i, blocks in enumerate(stages(depth, w, groups, base)[:count]):
        for j, sizes in enumerate(blocks):
            shapes |= torch_block(f"{begin}layer{i + 1}.{j}", *sizes, groups, kind)
    return shapes


def mmdet(
    depth: int = 50,
    features: str = "fpn",
    *,
    mask: bool = True,
    heads: bool = True,
    groups: int = 1,
    base: int = 64,
    classes: int = 80,
    sizes: int = 5,
    caffe: bool = False,
    w: Widths = Widths(),
) -> dict[str, Any]:
    """MaskRCNN, FasterRCNN and RPN; `caffe`: a body of Detectron, whose norms are affine.

    Elsewhere the first norm has a variance as of pixels that were divided by their deviation.
    """
    stage_sizes = stages(depth, w, groups, base)
    shapes = torch_body("backbone.", depth, w, "batch", groups, base, 3 if features == "c4" else 4)
    if not caffe:
        even = np.full((w.stem, 3, 7, 7), 147**-0.5, np.float32)  # squares add up to 1
        shapes["backbone.conv1.weight"] = even
        shapes["backbone.bn1.running_mean"] = np.full(w.stem, 0.1, np.float32)
    last = stage_sizes[3][-1][2]
    channels = {"fpn": w.pyramid, "c4": stage_sizes[2][-1][2], "dc5": last}[features]
    if features == "fpn":
        for i, blocks in enumerate(stage_sizes):
            shapes |= conv(f"neck.lateral_convs.{i}.conv", w.pyramid, blocks[-1][2], 1)
            shapes |= conv(f"neck.fpn_convs.{i}.conv", w.pyramid, w.pyramid, 3)
    anchors = 3 * (1 if features == "fpn" else sizes)
    shapes |= conv("rpn_head.rpn_conv", channels, channels, 3)
    shapes |= conv("rpn_head.rpn_cls", anchors, channels, 1)
    shapes |= conv("rpn_head.rpn_reg", 4 * anchors, channels, 1)
    if not heads:
        return shapes
    width = last if features == "c4" else w.box
    if features == "c4":
        for j, block in enumerate(stage_sizes[3]):
            shapes |= torch_block(f"roi_head.shared_head.layer4.{j}", *block, groups, "batch")
    else:
        shapes |= linear("roi_head.bbox_head.shared_fcs.0", width, channels * 49)
        shapes |= linear("roi_head.bbox_head.shared_fcs.1", width, width)
    shapes |= linear("roi_head.bbox_head.fc_cls", classes + 1, width)
    shapes |= linear("roi_head.bbox_head.fc_reg", 4 * classes, width)
    if mask:
        shapes |= mmdet_mask(channels, last, features == "c4", classes, w)
    return shapes


def mmdet_mask(channels: int, last: int, c4: bool, classes: int, w: Widths) -> dict[str, Any]:
    there, shapes = "roi_head.mask_head.", {}
    for i in range(0 if c4 else 4):
        shapes |= conv(f"{there}convs.{i}.conv", w.conv, channels if i == 0 else w.conv, 3)
    into = last if c4 else w.conv
    shapes |= {f"{there}upsample.weight": (into, w.conv, 2, 2), f"{there}upsample.bias": (w.conv,)}
    return shapes | conv(f"{there}conv_logits", classes, w.conv, 1)


# --- matterport -----------------------------------------------------------------------------------


def keras_conv(name: str, out: int, into: int, size: int) -> dict[str, Any]:
    return {f"{name}/kernel:0": (size, size, into, out), f"{name}/bias:0": (out,)}


def keras_norm(name: str, channels: int) -> dict[str, Any]:
    arrays = ("gamma", "beta", "moving_mean", "moving_variance")
    return {f"{name}/{array}:0": (channels,) for array in arrays}


def matterport(depth: int = 101, classes: int = 80, w: Widths = Widths()) -> dict[str, Any]:
    """The layers of MaskRCNN in inference and in training."""
    shapes = keras_conv("conv1", w.stem, 3, 7) | keras_norm("bn_conv1", w.stem)
    last = []
    for i, blocks in enumerate(stages(depth, w)):
        for letter, (into, inner, out) in zip(string.ascii_lowercase, blocks, strict=False):
            layers = [("2a", inner, into, 1), ("2b", inner, inner, 3), ("2c", out, inner, 1)]
            if letter == "a":
                layers.append(("1", out, into, 1))
            for branch, after, before, size in layers:
                shapes |= keras_conv(f"res{i + 2}{letter}_branch{branch}", after, before, size)
                shapes |= keras_norm(f"bn{i + 2}{letter}_branch{branch}", after)
        last.append(blocks[-1][2])
    for i, channels in enumerate(last):
        shapes |= keras_conv(f"fpn_c{i + 2}p{i + 2}", w.pyramid, channels, 1)
        shapes |= keras_conv(f"fpn_p{i + 2}", w.pyramid, w.pyramid, 3)
    shapes |= keras_conv("rpn_conv_shared", w.rpn, w.pyramid, 3)
    shapes |= keras_conv("rpn_class_raw", 6, w.rpn, 1) | keras_conv("rpn_bbox_pred", 12, w.rpn, 1)
    shapes |= keras_conv("mrcnn_class_conv1", w.box, w.pyramid, 7)
    shapes |= keras_conv("mrcnn_class_conv2", w.box, w.box, 1)
    for i in (1, 2):
        shapes |= keras_norm(f"mrcnn_class_bn{i}", w.box)
    for name, out in (("mrcnn_class_logits", classes + 1), ("mrcnn_bbox_fc", 4 * (classes + 1))):
        shapes |= {f"{name}/kernel:0": (w.box, out), f"{name}/bias:0": (out,)}
    for i in range(4):
        into = w.pyramid if i == 0 else w.conv
        shapes |= keras_conv(f"mrcnn_mask_conv{i + 1}", w.conv, into, 3)
        shapes |= keras_norm(f"mrcnn_mask_bn{i + 1}", w.conv)
    shapes |= {
        "mrcnn_mask_deconv/kernel:0": (2, 2, w.conv, w.conv),
        "mrcnn_mask_deconv/bias:0": (w.conv,),
    }
    return shapes | keras_conv("mrcnn_mask", classes + 1, w.conv, 1)
