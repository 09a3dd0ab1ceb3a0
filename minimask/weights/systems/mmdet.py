"""mmdetection's files: checkpoints of mmengine and mmcv, of its versions 2 and 3.

Sources: the names are those of the files of its model zoo; the configurations in configs/ say which
style of body goes with which images.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from typing import Any

from minimask.weights.systems.naming import Line, NameTable
from minimask.weights.systems.statistics import is_affine, sees_whole_pixels
from minimask.weights.systems.translated import Arrays, Translated

SYSTEM = "mmdet"
CAFFE = "mmdet_caffe"
SIGN = re.compile(
    r"^rpn_head\.rpn_(conv|cls)\.|^roi_head\.bbox_head\.(fc_|shared_)|^neck\.lateral_"
)
FAIR_WIDTH = 8  # channels per group of FAIR's ResNeXt-101-32x8d
FAIR_BODY: dict[str, Any] = {
    "channels": "bgr",
    "pixel_mean": [103.53, 116.28, 123.675],
    "pixel_std": [57.375, 57.12, 58.395],
}
_NUMBERS = r"\s*=\s*[\[(]\s*([\d., e+-]+?),?\s*[\])]"
MEAN, STD = re.compile(rf"\bmean{_NUMBERS}"), re.compile(rf"\bstd{_NUMBERS}")
TO_RGB = re.compile(r"\b(?:bgr_)?to_rgb\s*=\s*(True|False)")
STYLE = re.compile(r"\bstyle\s*=\s*['\"](pytorch|caffe)['\"]")


def table(names: Collection[str]) -> NameTable:
    """The table for a network of these names of theirs."""
    convs = 0
    while f"roi_head.bbox_head.shared_convs.{convs}.conv.weight" in names:
        convs += 1
    deep = "rpn_head.rpn_conv.1.conv.weight" in names
    there, here = "roi_head.bbox_head.shared_fcs.", "roi_heads.box_head."
    layers = (
        [(f"{there}0.", f"{here}{convs + 1}.")] if convs else [(there + "{i}.", here + "fc{i+6}.")]
    )
    return NameTable(
        [
            ("backbone.", "backbone.body."),
            ("roi_head.shared_head.layer4.", "roi_heads.box_head.res5."),
            *_convolutions("neck.lateral_convs.", "backbone.fpn.inner_blocks."),
            *_convolutions("neck.fpn_convs.", "backbone.fpn.layer_blocks."),
            ("rpn_head.rpn_conv.{i}.conv.", "rpn.head.conv.{i}.0.")
            if deep
            else ("rpn_head.rpn_conv.", "rpn.head.conv.0.0."),
            ("rpn_head.rpn_cls.", "rpn.head.cls_logits."),
            ("rpn_head.rpn_reg.", "rpn.head.bbox_pred."),
            *_convolutions("roi_head.bbox_head.shared_convs.", here),
            *layers,
            ("roi_head.bbox_head.fc_cls.", "roi_heads.box_predictor.cls_score."),
            ("roi_head.bbox_head.fc_reg.", "roi_heads.box_predictor.bbox_pred."),
            *_convolutions("roi_head.mask_head.convs.", "roi_heads.mask_head."),
            ("roi_head.mask_head.upsample.", "roi_heads.mask_predictor.conv5_mask."),
            ("roi_head.mask_head.conv_logits.", "roi_heads.mask_predictor.mask_fcn_logits."),
        ]
    )


def _convolutions(there: str, here: str) -> list[Line]:
    """Layers of a convolution and, in some networks, a norm."""
    lines = [(f"{there}{{i}}.conv.", f"{here}{{i}}.0.")]
    return lines + [(f"{there}{{i}}.{norm}.", f"{here}{{i}}.1.") for norm in ("bn", "gn")]


def is_ours(names: Collection[str]) -> bool:
    """Whether these are names of mmdetection."""
    return any(SIGN.match(name) for name in names)


def translate(arrays: Arrays, about: Mapping[str, Any]) -> Translated:
    """The arrays under minimask's names, and the choices that belong to them.

    Args:
        arrays: of the file.
        about: what the file has beside them: "meta" with the text of the configuration and the
            names of the classes.
    """
    names = table(arrays)
    here = {names.ours(name) or name: array for name, array in arrays.items()}
    meta = about.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    convention, options, remarks = _images(here, _text(meta))
    # its bodies are trained with norm_eval: statistics stay as they were
    options["norm"] = "frozen_batch"
    return Translated(SYSTEM, here, convention, options, _classes(meta), 1e-5, remarks)


def _images(here: Arrays, config: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """The style of the body, and what it is given if not what goes with that style.

    "caffe": BGR pixels as they are, the stride in the first 1x1 convolution; "pytorch": RGB,
    divided by the deviation, the stride in the 3x3. The configuration says it; where the file has
    none, the first norm does, and one map alone, which its zoo has in caffe style only.
    """
    mean, std, style = MEAN.search(config), STD.search(config), STYLE.search(config)
    if mean and std and style:
        convention = CAFFE if style[1] == "caffe" else SYSTEM
        return convention, _given(mean[1], std[1], TO_RGB.search(config), convention), ()
    norm = "backbone.body.bn1"
    whole = sees_whole_pixels(here, "backbone.body.conv1", norm)
    groups, width = _groups(here)
    if groups > 1:
        return SYSTEM, dict(FAIR_BODY) if width == FAIR_WIDTH else {}, ()
    single = "backbone.fpn.inner_blocks.0.0.weight" not in here
    if is_affine(here, norm) or whole:
        return CAFFE, {}, ()
    if whole is None and single:
        return CAFFE, {}, ("its style taken for caffe, as all without a pyramid in the zoo",)
    return SYSTEM, {}, () if whole is False else ("its style taken for pytorch",)


def _given(mean: str, std: str, rgb: re.Match[str] | None, convention: str) -> dict[str, Any]:
    """Fields of the convention that the images of a configuration change."""
    means, stds = ([float(x) for x in text.replace(",", " ").split()] for text in (mean, std))
    if len(means) != 3 or len(stds) != 3:
        return {}
    bgr = means[0] < means[2] if rgb is None else rgb[1] == "False"
    usual = (True, [1.0] * 3) if convention == CAFFE else (False, [58.395, 57.12, 57.375])
    if (bgr, stds) == usual:
        return {}
    return {"channels": "bgr" if bgr else "rgb", "pixel_mean": means, "pixel_std": stds}


def _groups(here: Arrays) -> tuple[int, int]:
    """Groups of the 3x3 convolutions, and channels in each."""
    weight = here.get("backbone.body.layer1.0.conv2.weight")
    if weight is None or weight.ndim != 4 or not weight.shape[1]:
        return 1, 0
    return weight.shape[0] // weight.shape[1], weight.shape[1]


def _text(meta: Mapping[str, Any]) -> str:
    """The configuration: mmengine calls it cfg, mmcv config."""
    texts = (meta.get(key) for key in ("cfg", "config"))
    return next((text for text in texts if isinstance(text, str)), "")


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the classes, if the file has them: mmengine's, mmcv's."""
    of_data = meta.get("dataset_meta")
    found = meta.get("CLASSES")
    if isinstance(of_data, Mapping):
        found = of_data.get("CLASSES", of_data.get("classes", found))
    elif isinstance(of_data, str):
        found = _literal(of_data).get("CLASSES", found)
    good = isinstance(found, list | tuple) and all(isinstance(n, str) and n for n in found)
    return tuple(found) if good and found else None


def _literal(text: str) -> Mapping[str, Any]:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}
