"""matterport's Mask_RCNN: layers of Keras, whose arrays are laid out otherwise too.

What differs, and is put right exactly: kernels are (height, width, in, out); every convolution has
a bias, although a norm follows; boxes are y x height width; the ratios of anchors are width by
height, so their order is mirrored; the RPN has two scores for each anchor, background's and
object's; the box head's layers are convolutions over the whole of a RoI; in both heads norms follow
layers.

Source: model.py of matterport/Mask_RCNN 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from minimask.weights.systems.translated import Arrays, Translated

SYSTEM = "matterport"
EPS = 1e-3  # Keras's usual one
SIGN = re.compile(
    r"(^|/)(mrcnn_class_conv1|mrcnn_mask_conv1|rpn_conv_shared|res2a_branch2a)(_\d+)?/"
)
LAYER = re.compile(r"(?:^|/)([^/]+)/([^/:]+)(?::0)?$")
BLOCK = re.compile(r"^(res|bn)(\d)([a-z])_branch(1|2[abc])$")
PARTS = {"2a": "1", "2b": "2", "2c": "3"}
NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
BOX_ORDER = [1, 0, 3, 2]  # of y x height width: x y width height
PYRAMID = {f"fpn_c{i + 2}p{i + 2}": f"backbone.fpn.inner_blocks.{i}.0" for i in range(4)} | {
    f"fpn_p{i + 2}": f"backbone.fpn.layer_blocks.{i}.0" for i in range(4)
}
PLAIN = PYRAMID | {
    "rpn_conv_shared": "rpn.head.conv.0.0",
    "mrcnn_mask_deconv": "roi_heads.mask_predictor.conv5_mask",
    "mrcnn_mask": "roi_heads.mask_predictor.mask_fcn_logits",
}
MASK_LAYERS = 4

Layers = dict[str, dict[str, np.ndarray]]  # layer -> kernel, bias, gamma, ... -> array


def is_ours(names: Collection[str]) -> bool:
    """Whether these are layers of matterport's network."""
    return any(SIGN.search(name) for name in names)


def translate(arrays: Arrays, about: Mapping[str, Any]) -> Translated:
    """The arrays under minimask's names, in its layout, with its order of boxes and anchors.

    Args:
        arrays: of the file, named "layer/weight:0".
        about: what the file has beside them.

    Raises:
        ValueError: an array of a shape that no network of matterport has; names it.
    """
    layers = _layers(arrays)
    here: dict[str, np.ndarray] = {}
    for name, layer in layers.items():
        try:
            here |= _translated(name, layer, layers)
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(f"layer {name} is none of matterport's Mask R-CNN: {error}") from None
    options: dict[str, Any] = {"min_size": 800, "max_size": 1024}
    return Translated(SYSTEM, here, SYSTEM, options, None, EPS)


def _layers(arrays: Arrays) -> Layers:
    found: Layers = {}
    for name, array in arrays.items():
        match = LAYER.search(name)
        if match:
            layer = re.sub(r"_\d+$", "", match[1])  # Keras counts layers of one name
            found.setdefault(layer, {})[match[2]] = array
    return found


def _translated(name: str, layer: dict[str, np.ndarray], layers: Layers) -> dict[str, np.ndarray]:
    """The arrays of one layer, and with a convolution those of the norm after it."""
    if name in PLAIN:
        return {f"{PLAIN[name]}.weight": _kernel(layer), f"{PLAIN[name]}.bias": layer["bias"]}
    if name == "conv1":
        return _conv_norm("backbone.body.conv1", "backbone.body.bn1", layer, layers["bn_conv1"])
    block = BLOCK.match(name)
    if block and block[1] == "res":
        place = f"backbone.body.layer{int(block[2]) - 1}.{ord(block[3]) - ord('a')}."
        conv, after = "downsample.0", "downsample.1"
        if block[4] != "1":
            conv, after = f"conv{PARTS[block[4]]}", f"bn{PARTS[block[4]]}"
        return _conv_norm(place + conv, place + after, layer, layers["bn" + name[3:]])
    for i in range(MASK_LAYERS):
        if name == f"mrcnn_mask_conv{i + 1}":
            norm = layers[f"mrcnn_mask_bn{i + 1}"]
            return _folded(f"roi_heads.mask_head.{i}.0", _kernel(layer), layer, norm)
    if name in ("mrcnn_class_conv1", "mrcnn_class_conv2"):
        norm = layers[name.replace("conv", "bn")]
        weight = _kernel(layer)  # over the whole of a RoI: a fully connected layer
        weight = weight.reshape(len(weight), -1)
        return _folded(f"roi_heads.box_head.fc{int(name[-1]) + 5}", weight, layer, norm)
    return _predictor(name, layer)


def _predictor(name: str, layer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The last layers of the RPN and the box head, with their rows in our order."""
    if name == "mrcnn_class_logits":
        return _rows("roi_heads.box_predictor.cls_score", layer["kernel"].T, layer["bias"])
    if name == "mrcnn_bbox_fc":
        rows = np.arange(layer["bias"].size).reshape(-1, 4)[:, BOX_ORDER].ravel()
        weight, bias = layer["kernel"].T[rows], layer["bias"][rows]
        return _rows("roi_heads.box_predictor.bbox_pred", weight, bias)
    if name == "rpn_class_raw":  # background, object of each anchor
        weight, bias = _kernel(layer), layer["bias"]
        weight, bias = (weight[1::2] - weight[::2])[::-1], (bias[1::2] - bias[::2])[::-1]
        return _rows("rpn.head.cls_logits", weight, bias)
    if name == "rpn_bbox_pred":
        rows = np.arange(layer["bias"].size).reshape(-1, 4)[::-1, BOX_ORDER].ravel()
        return _rows("rpn.head.bbox_pred", _kernel(layer)[rows], layer["bias"][rows])
    return {}


def _rows(name: str, weight: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}.weight": np.ascontiguousarray(weight), f"{name}.bias": bias.copy()}


def _kernel(layer: dict[str, np.ndarray]) -> np.ndarray:
    """(height, width, in, out) -> (out, in, height, width); transposed convolutions: (in, out)."""
    return np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))


def _conv_norm(
    conv: str, norm: str, layer: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A convolution without a bias, which the mean of the norm after it takes over."""
    found = {f"{conv}.weight": _kernel(layer)}
    found |= {f"{norm}.{ours}": after[theirs] for theirs, ours in NORM.items()}
    if "bias" in layer:
        found[f"{norm}.running_mean"] = after["moving_mean"] - layer["bias"]
    return found


def _folded(
    name: str, weight: np.ndarray, layer: dict[str, np.ndarray], norm: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A layer that does what it and the norm after it did, for heads here have none."""
    scale = norm["gamma"].astype(np.float64) / np.sqrt(
        norm["moving_variance"].astype(np.float64) + EPS
    )
    bias = (layer["bias"] - norm["moving_mean"].astype(np.float64)) * scale + norm["beta"]
    factor = scale.reshape(-1, *[1] * (weight.ndim - 1))
    kind = layer["kernel"].dtype
    return {f"{name}.weight": (weight * factor).astype(kind), f"{name}.bias": bias.astype(kind)}
