"""Matterport's networks as networks of this package: names, values, sizes, stages.

Keras keeps channels last, boxes begin with y, and every convolution before a batch norm has a bias.
Here the bias goes into the norm's mean; in the heads, which have no norms, the norm goes into the
layer before it.
"""

import json
import re

import h5py
import numpy as np

import minimask as mm
from minimask.models import Target
from minimask.models.transform import ImageTransform

EPS = 1e-3  # Keras's default
XY_FIRST = [1, 0, 3, 2]  # dy dx dh dw as dx dy dw dh, and boxes likewise
BRANCH = {"2a": "1", "2b": "2", "2c": "3"}


class Matterport:
    """One recorded network: this package's model with its weights, and what was computed.

    Attributes:
        meta, forward, step: the description and the two archives.
        model: in eval mode.
    """

    def __init__(self, folder, name, convention="matterport", **options):
        at = folder / "matterport" / name
        self.meta = json.loads(at.with_name(f"{name}_meta.json").read_text())
        self.config = self.meta["config"]
        self.forward, self.step = (
            dict(np.load(at.with_name(f"{name}_{part}.npz"))) for part in ("forward", "train")
        )
        self.arrays = arrays_of(at.with_name(f"{name}.h5"))
        state = state_of(self.arrays)
        options = self.network(state) | self.settings() | options
        self.model = mm.models.mask_rcnn(convention=convention, **options)
        self.model.load_state_dict(state)
        self.model.eval()
        self.side = self.config["IMAGE_MAX_DIM"]

    def network(self, state):
        """The sizes, as the shapes of the arrays say them."""
        shapes = {name: array.shape for name, array in state.items()}
        stem = shapes["backbone.body.conv1.weight"][0]
        expanded = shapes["backbone.body.layer1.0.conv3.weight"][0]
        masks = [shapes[f"roi_heads.mask_head.{i}.0.weight"][0] for i in range(4)]
        blocks = [{n.split(".")[3] for n in shapes if f"layer{i}." in n} for i in range(1, 5)]
        return {
            "num_classes": shapes["roi_heads.box_predictor.cls_score.weight"][0],
            "layers": [len(stage) for stage in blocks],
            "stem_channels": stem,
            "expansion": expanded // stem,
            "fpn_channels": shapes["backbone.fpn.inner_blocks.0.0.weight"][0],
            "rpn_channels": shapes["rpn.head.conv.0.0.weight"][0],
            "box_head_width": shapes["roi_heads.box_head.fc7.weight"][0],
            "mask_head_channels": masks,
            "mask_predictor_channels": shapes["roi_heads.mask_predictor.conv5_mask.weight"][1],
        }

    def settings(self):
        """What the description says, as options of a factory."""
        c = self.config
        assert c["IMAGE_RESIZE_MODE"] == "square" and c["MINI_MASK_SHAPE"] == [56, 56]
        return {
            "min_size": c["IMAGE_MIN_DIM"],
            "max_size": c["IMAGE_MAX_DIM"],
            "pixel_mean": c["MEAN_PIXEL"],
            "anchor_sizes": c["RPN_ANCHOR_SCALES"],
            "rpn_batch_size_per_image": c["RPN_TRAIN_ANCHORS_PER_IMAGE"],
            "rpn_pre_nms_top_n_train": c["PRE_NMS_LIMIT"],
            "rpn_pre_nms_top_n_test": c["PRE_NMS_LIMIT"],
            "rpn_post_nms_top_n_train": c["POST_NMS_ROIS_TRAINING"],
            "rpn_post_nms_top_n_test": c["POST_NMS_ROIS_INFERENCE"],
            "rpn_nms_thresh": c["RPN_NMS_THRESHOLD"],
            "box_batch_size_per_image": c["TRAIN_ROIS_PER_IMAGE"],
            "box_positive_fraction": c["ROI_POSITIVE_RATIO"],
            "box_score_thresh": c["DETECTION_MIN_CONFIDENCE"],
            "box_nms_thresh": c["DETECTION_NMS_THRESHOLD"],
            "box_detections_per_img": c["DETECTION_MAX_INSTANCES"],
        }

    def inner(self, boxes):
        """Their normalized boxes as the network's here: x first, first and last pixel."""
        return (boxes[..., XY_FIRST] * np.float32(self.side - 1)).astype(np.float32)

    def transform(self):
        """Where the photo lies in the network's input."""
        y0, x0, y1, x1 = map(int, self.forward["transform/window"][0])
        size = self.forward["image_u8"].shape[:2]
        square = (self.side, self.side)
        return ImageTransform(size, (y1 - y0, x1 - x0), (y0, x0), "pixels", square)

    def pyramid(self):
        """P2 .. P6 as they were recorded, channels first."""
        return [channels_first(self.forward[f"fpn/p{i}"]) for i in range(2, 7)]

    def target(self):
        """The recorded objects, in the photo; their boxes are not used."""
        count = len(self.step["target/class_ids"])
        masks = np.unpackbits(self.step["target/masks_packed"], axis=-1)[..., :count]
        masks = np.ascontiguousarray(masks.transpose(2, 0, 1))
        return Target(
            mm.data.sample.boxes_of_masks(masks.astype(bool)),
            self.step["target/class_ids"].astype(np.int64) - 1,
            masks,
        )


def channels_first(maps):
    """(N, H, W, C) -> (N, C, H, W)."""
    return np.ascontiguousarray(np.moveaxis(maps, -1, 1))


def arrays_of(path):
    """Every array of a Keras file as "layer/name"."""
    found = {}

    def visit(name, node):
        if isinstance(node, h5py.Dataset):
            layer, array = name.split("/")[-2:]
            found[f"{layer}/{array.split(':')[0]}"] = node[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def state_of(arrays):
    """The same arrays under this package's names and in its layout."""
    state = {}
    for name in [n.split("/")[0] for n in arrays if n.endswith("/kernel")]:
        kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
        here, weight = place_of(name), layout(name, kernel)
        norm = norm_of(name)
        if norm is None:
            bias = rows(name, bias)
        elif here.startswith("backbone."):
            state |= norm_state(place_of(norm), norm_arrays(arrays, norm), bias)
            bias = None
        else:
            gamma, beta, mean, variance = norm_arrays(arrays, norm)
            factor = gamma / np.sqrt(variance + EPS)
            weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
            bias = beta + (bias - mean) * factor
        state[f"{here}.weight"] = np.ascontiguousarray(weight, np.float32)
        if bias is not None:
            state[f"{here}.bias"] = np.asarray(bias, np.float32)
    return state


def norm_arrays(arrays, norm):
    """Its gamma, beta, mean and variance."""
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return [arrays[f"{norm}/{n}"].astype(np.float64) for n in names]


def norm_state(here, values, bias):
    gamma, beta, mean, variance = (v.astype(np.float32) for v in values)
    named = {"weight": gamma, "bias": beta, "running_mean": mean - bias, "running_var": variance}
    return {f"{here}.{name}": value for name, value in named.items()}


def norm_of(name):
    """The batch norm behind a layer, None where there is none."""
    if name == "conv1":
        return "bn_conv1"
    if name.startswith("res"):
        return name.replace("res", "bn", 1)
    if re.match(r"mrcnn_(class|mask)_conv\d$", name):
        return name.replace("conv", "bn")
    return None


def place_of(name):
    """What a layer is called here."""
    block = re.match(r"(res|bn)(\d)([a-z]\d*)_branch(\d\w?)$", name)
    if block:
        kind, stage, letter, branch = block.groups()
        number = int(letter[1:]) if letter[1:] else ord(letter) - ord("a")
        at = f"backbone.body.layer{int(stage) - 1}.{number}."
        if branch == "1":
            return f"{at}downsample.{0 if kind == 'res' else 1}"
        return f"{at}{'conv' if kind == 'res' else 'bn'}{BRANCH[branch]}"
    lateral = re.match(r"fpn_c(\d)p\d$", name)
    if lateral:
        return f"backbone.fpn.inner_blocks.{int(lateral[1]) - 2}.0"
    output = re.match(r"fpn_p(\d)$", name)
    if output:
        return f"backbone.fpn.layer_blocks.{int(output[1]) - 2}.0"
    mask = re.match(r"mrcnn_mask_conv(\d)$", name)
    if mask:
        return f"roi_heads.mask_head.{int(mask[1]) - 1}.0"
    return {
        "conv1": "backbone.body.conv1",
        "bn_conv1": "backbone.body.bn1",
        "rpn_conv_shared": "rpn.head.conv.0.0",
        "rpn_class_raw": "rpn.head.cls_logits",
        "rpn_bbox_pred": "rpn.head.bbox_pred",
        "mrcnn_class_conv1": "roi_heads.box_head.fc6",
        "mrcnn_class_conv2": "roi_heads.box_head.fc7",
        "mrcnn_class_logits": "roi_heads.box_predictor.cls_score",
        "mrcnn_bbox_fc": "roi_heads.box_predictor.bbox_pred",
        "mrcnn_mask_deconv": "roi_heads.mask_predictor.conv5_mask",
        "mrcnn_mask": "roi_heads.mask_predictor.mask_fcn_logits",
    }[name]


def layout(name, kernel):
    """A kernel as a weight: (H, W, in, out) or (in, out) -> (out, in, H, W) or (out, in)."""
    if kernel.ndim == 2:
        return rows(name, kernel.T)
    weight = kernel.transpose(3, 2, 0, 1)  # of the transposed one: (H, W, out, in) -> (in, out)
    if name.startswith("mrcnn_class_conv"):
        return weight.reshape(len(weight), -1)
    return rows(name, weight)


def rows(name, values):
    """The outputs of a layer in the order they have here."""
    if name == "rpn_class_raw":  # of each anchor background and object; tall anchors come first
        values = values.reshape(-1, 2, *values.shape[1:])[::-1]
        return values[:, 1] - values[:, 0]
    if name == "rpn_bbox_pred":
        values = values.reshape(-1, 4, *values.shape[1:])[::-1, XY_FIRST]
    elif name == "mrcnn_bbox_fc":
        values = values.reshape(-1, 4, *values.shape[1:])[:, XY_FIRST]
    else:
        return values
    return values.reshape(-1, *values.shape[2:])
