"""detectron2's files: names of its GeneralizedRCNN, ProposalNetwork and ImageNet bodies.

Sources: the names are those of the files of its model zoo; which choices belong to which network is
in its configs/ (Base-RCNN-*.yaml, Misc, new_baselines) and in `config/defaults.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from minimask.weights.systems.naming import Line, NameTable
from minimask.weights.systems.statistics import is_affine, sees_whole_pixels
from minimask.weights.systems.translated import Arrays, Translated

SYSTEM = "detectron2"
SIGN = re.compile(
    r"^backbone\.(bottom_up\.)?(stem\.conv1|res2\.0\.conv1)\.|^proposal_generator\.rpn_head\."
)
IMAGENET = re.compile(r"^stem\.conv1\.weight$")  # a body alone, as its conversion scripts write it
CELLS = "proposal_generator.anchor_generator.cell_anchors.{}"
NO_WEIGHTS = re.compile(r"^pixel_(mean|std)$|\.cell_anchors\.\d+$|^stem\.fc\.|^fc\.")
MOST_KEYPOINT_LAYERS = 16
FAIR = "detectron2_3x3"  # its ResNeXt-101-32x8d was trained on divided pixels
TORCHVISION = "detectron2_torchvision"  # bodies of torchvision: RGB, divided
STD = {FAIR: (57.375, 57.12, 58.395), TORCHVISION: (58.395, 57.12, 57.375)}


def table(names: Collection[str], *, ours: bool = False) -> NameTable:
    """The table for a network of these names, detectron2's or ours.

    What some layers are called depends on what else there is: a body under a pyramid, the second
    convolution of the RPN, convolutions in the box head.
    """
    if ours:
        pyramid = any(name.startswith("backbone.fpn.") for name in names)
        deep = "rpn.head.conv.1.0.weight" in names
        convs = _count(names, "roi_heads.box_head.{}.0.weight", 0)
    else:
        pyramid = any(name.startswith("backbone.bottom_up.") for name in names)
        deep = "proposal_generator.rpn_head.conv.conv0.weight" in names
        convs = _count(names, "roi_heads.box_head.conv{}.weight", 1)
    body = "backbone.bottom_up." if pyramid else "backbone."
    if not ours and any(IMAGENET.match(name) for name in names):
        body = ""
    return NameTable(
        [
            *_body(body),
            *_blocks("roi_heads.res5.", "roi_heads.box_head.res5."),
            ("backbone.fpn_lateral{i+2}.norm.", "backbone.fpn.inner_blocks.{i}.1."),
            ("backbone.fpn_lateral{i+2}.", "backbone.fpn.inner_blocks.{i}.0."),
            ("backbone.fpn_output{i+2}.norm.", "backbone.fpn.layer_blocks.{i}.1."),
            ("backbone.fpn_output{i+2}.", "backbone.fpn.layer_blocks.{i}.0."),
            *_proposals("conv.conv{i}." if deep else "conv."),
            *_box_head(convs),
            ("roi_heads.box_predictor.", "roi_heads.box_predictor."),
            ("roi_heads.mask_head.mask_fcn{i+1}.norm.", "roi_heads.mask_head.{i}.1."),
            ("roi_heads.mask_head.mask_fcn{i+1}.", "roi_heads.mask_head.{i}.0."),
            ("roi_heads.mask_head.deconv.", "roi_heads.mask_predictor.conv5_mask."),
            ("roi_heads.mask_head.predictor.", "roi_heads.mask_predictor.mask_fcn_logits."),
            *_keypoint_head(),
        ]
    )


def _body(there: str) -> list[Line]:
    stem = [
        (f"{there}stem.conv1.norm.", "backbone.body.bn1."),
        (f"{there}stem.conv1.", "backbone.body.conv1."),
    ]
    return stem + _blocks(f"{there}res{{s+1}}.", "backbone.body.layer{s}.")


def _blocks(there: str, here: str) -> list[Line]:
    """The residual blocks of a stage, or of all stages."""
    return [
        (f"{there}{{b}}.shortcut.norm.", f"{here}{{b}}.downsample.1."),
        (f"{there}{{b}}.shortcut.", f"{here}{{b}}.downsample.0."),
        (f"{there}{{b}}.conv{{c}}.norm.", f"{here}{{b}}.bn{{c}}."),
        (f"{there}{{b}}.conv{{c}}.", f"{here}{{b}}.conv{{c}}."),
    ]


def _proposals(conv: str) -> list[Line]:
    there = "proposal_generator.rpn_head."
    return [
        (there + conv, "rpn.head.conv.{i}.0." if "{i}" in conv else "rpn.head.conv.0.0."),
        (f"{there}objectness_logits.", "rpn.head.cls_logits."),
        (f"{there}anchor_deltas.", "rpn.head.bbox_pred."),
    ]


def _box_head(convs: int) -> list[Line]:
    there = here = "roi_heads.box_head."
    if not convs:
        return [(f"{there}fc{{i}}.", f"{here}fc{{i+5}}.")]
    return [
        (f"{there}conv{{i+1}}.norm.", f"{here}{{i}}.1."),
        (f"{there}conv{{i+1}}.", f"{here}{{i}}.0."),
        (f"{there}fc1.", f"{here}{convs + 1}."),  # flattening has a number here
    ]


def _keypoint_head() -> list[Line]:
    here = "roi_heads.keypoint_head."  # every ReLU has a number here
    layers = [
        (f"roi_heads.keypoint_head.conv_fcn{i + 1}.", f"{here}{2 * i}.")
        for i in range(MOST_KEYPOINT_LAYERS)
    ]
    predictor = "roi_heads.keypoint_predictor.kps_score_lowres."
    return [*layers, ("roi_heads.keypoint_head.score_lowres.", predictor)]


def is_ours(names: Collection[str]) -> bool:
    """Whether these are names of detectron2."""
    return any(SIGN.match(name) or IMAGENET.match(name) for name in names)


def translate(arrays: Arrays, about: Mapping[str, Any]) -> Translated:
    """The arrays under minimask's names, and the choices that belong to them.

    Args:
        arrays: of the file.
        about: what the file has beside them.
    """
    names = table(arrays)
    here = {names.ours(n) or n: a for n, a in arrays.items() if not NO_WEIGHTS.search(n)}
    convention, options, remarks = _images(arrays, here)
    options |= _anchors(arrays)
    return Translated(SYSTEM, here, convention, options, None, 1e-5, remarks)


def _images(arrays: Arrays, here: Arrays) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """What the network is given, and where its bottlenecks have their stride.

    Bodies of MSRA see BGR pixels as they are and halve the map in the first 1x1 convolution; FAIR's
    ResNeXt divides them, torchvision's bodies are RGB, and both halve it in the 3x3. Old files of
    the zoo say the pixels' mean and deviation; of others the first norm shows whether they were
    divided.
    """
    mean, std = (arrays.get(f"pixel_{kind}") for kind in ("mean", "std"))
    if mean is not None and std is not None and mean.size == std.size == 3:
        means, stds = (np.round(a.astype(np.float64).ravel(), 3).tolist() for a in (mean, std))
        convention = TORCHVISION if means[0] > means[2] else SYSTEM if stds == [1.0] * 3 else FAIR
        if convention != SYSTEM and np.abs(np.subtract(stds, STD[convention])).max() > 0.01:
            return convention, {"pixel_std": stds}, ()
        return convention, _late_stride(here) if convention == SYSTEM else {}, ()
    norm = "backbone.body.bn1"
    if _is_grouped(here) and is_affine(here, norm):
        return FAIR, {}, ()
    if sees_whole_pixels(here, "backbone.body.conv1", norm) is False:
        if _is_grouped(here):
            return FAIR, {}, ("its pixels taken for BGR, as of FAIR's ResNeXt",)
        return TORCHVISION, {}, ("its pixels taken for RGB, as of torchvision's bodies",)
    return SYSTEM, _late_stride(here), ()


def _late_stride(here: Arrays) -> dict[str, Any]:
    """The stride is in the 3x3 convolution of ResNeXts, and in configs/Misc with GN and SyncBN."""
    normed = "backbone.fpn.inner_blocks.0.1.weight" in here
    scratch = "rpn.head.conv.1.0.weight" in here  # new_baselines, which leave it in the 1x1
    return {"stride_in_1x1": False} if _is_grouped(here) or (normed and not scratch) else {}


def _is_grouped(here: Arrays) -> bool:
    inner = here.get("backbone.body.layer1.0.conv2.weight")
    return inner is not None and inner.ndim == 4 and inner.shape[1] < inner.shape[0]


def _anchors(arrays: Arrays) -> dict[str, Any]:
    """The sizes of the anchors, which old files of the zoo have as arrays: roots of areas."""
    levels: list[list[float]] = []
    while (cells := arrays.get(CELLS.format(len(levels)))) is not None:
        if cells.ndim != 2 or cells.shape[1] != 4:
            return {}
        sides = np.sqrt(np.prod((cells[:, 2:] - cells[:, :2]).astype(np.float64), axis=1))
        levels.append(sorted({round(float(side), 2) for side in sides}))
    if not levels or any(not level or min(level) <= 0 for level in levels):
        return {}
    whole = [[int(s) if s == int(s) else s for s in level] for level in levels]
    if len(whole) == 1:
        return {"anchor_sizes": whole[0]}
    return {"anchor_sizes": [level[0] if len(level) == 1 else level for level in whole]}


def _count(names: Collection[str], layer: str, first: int) -> int:
    count = 0
    while layer.format(first + count) in names:
        count += 1
    return count
