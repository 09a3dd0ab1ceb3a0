"""Files of five systems: whose they are, what their parameters are called here, which network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from published import Widths, as_array, detectron2, matterport, mmdet
from published_torchvision import caffe2

from minimask import models
from minimask.weights import load_weights, read_source, recognise
from minimask.weights.source import from_arrays
from minimask.weights.systems import (
    detectron2 as detectron2_names,
)
from minimask.weights.systems import (
    others,
    system_of,
    without_wrappers,
)
from minimask.weights.systems.naming import NameTable

PATH = Path("file.pth")
NARROW = Widths(stem=4, pyramid=16, box=32, conv=16, keypoint=16, rpn=32)
RECORDED = {
    "detectron2/mask_rcnn_R_50_FPN.pkl": ("Mask R-CNN R50-FPN, 6 classes", "detectron2"),
    "detectron2/mask_rcnn_R_50_C4.pkl": ("Mask R-CNN R50-C4, 6 classes", "detectron2"),
    "detectron2/mask_rcnn_R_50_DC5.pkl": ("Mask R-CNN R50-DC5, 6 classes", "detectron2"),
    "detectron2/mask_rcnn_R_50_FPN_3x_syncbn.pkl": ("with 4 convolutions in the", "detectron2"),
    "detectron2/keypoint_rcnn_R_50_FPN.pkl": ("Keypoint R-CNN R50-FPN, 1 class,", "detectron2"),
    "mmdet/mask-rcnn_r50_fpn.pth": ("Mask R-CNN R50-FPN, 6 classes", "mmdet"),
    "mmdet/mask-rcnn_r50-caffe_fpn.pth": ("Mask R-CNN R50-FPN, 6 classes", "mmdet_caffe"),
    "mmdet/mask-rcnn_r50-caffe-c4.pth": ("Mask R-CNN R50-C4, 6 classes", "mmdet_caffe"),
    "mmdet/mask-rcnn_x101-32x4d_fpn.pth": ("Mask R-CNN X50-4x2d-FPN, 6 classes", "mmdet"),
    "matterport/mask_rcnn_resnet50.h5": ("Mask R-CNN R50-FPN, 6 classes", "matterport"),
    "matterport/mask_rcnn_resnet101.h5": ("Mask R-CNN R101-FPN, 6 classes", "matterport"),
    "torchvision/maskrcnn_v2.pth": ("mask_rcnn with 7 outputs", "torchvision"),
    "torchvision/fasterrcnn_mobilenet.pth": ("_mobilenet_v3_large_fpn with 7 out", "torchvision"),
}


def made(shapes, path=None, about=None):
    arrays = {name: as_array(name, shape) for name, shape in shapes.items()}
    return from_arrays(path or PATH, arrays, about)


@pytest.mark.parametrize("name", RECORDED)
def test_recordings_load_strictly(goldens, name):
    """Each into the network that was recognised, and the numbers are those of the file."""
    if name.endswith(".h5"):
        pytest.importorskip("h5py")
    source = read_source(goldens / name)
    words, convention = RECORDED[name]
    assert words in source.words and source.convention == convention
    assert source.system == name.split("/")[0]
    model = models.build(json.loads(json.dumps(source.config)))
    load_weights(model, source)
    state = model.state_dict()
    for parameter, array in source.arrays.items():
        if parameter in state:
            np.testing.assert_array_equal(state[parameter], array, err_msg=parameter)
    assert model.config["convention"] == convention


def test_anchors_and_pixels_in_old_files_of_detectron2_are_read(goldens):
    config = read_source(goldens / "detectron2/mask_rcnn_R_50_DC5.pkl").config
    assert config["anchor_sizes"] == [16, 32, 64, 128]
    shapes = detectron2(classes=6, std=(57.375, 57.12, 58.395), w=NARROW)
    assert made(shapes).convention == "detectron2_3x3"
    shapes["pixel_mean"] = np.array([123.675, 116.28, 103.53], np.float32)
    shapes["pixel_std"] = np.array([58.395, 57.12, 57.375], np.float32)
    assert made(shapes).convention == "detectron2_torchvision"


def test_the_first_norm_says_whether_pixels_were_divided():
    shapes = detectron2(classes=6, buffers=False, w=NARROW)
    stem = "backbone.bottom_up.stem.conv1"
    shapes[f"{stem}.weight"] = np.full((4, 3, 7, 7), 147**-0.5, np.float32)
    for variance, convention in ((1.0, "detectron2_torchvision"), (3000.0, "detectron2")):
        shapes[f"{stem}.norm.running_var"] = np.full(4, variance, np.float32)
        shapes[f"{stem}.norm.running_mean"] = np.full(4, 0.1, np.float32)
        assert made(shapes).convention == convention


CONFIG = """
model = dict(type='MaskRCNN', data_preprocessor=dict(mean=[{mean}], std=[{std}], bgr_to_rgb={rgb}),
    backbone=dict(type='ResNet', depth=50, style='{style}'))
"""


@pytest.mark.parametrize(
    ("given", "convention", "options"),
    [
        (("123.675, 116.28, 103.53", "58.395, 57.12, 57.375", "True", "pytorch"), "mmdet", {}),
        (("103.53, 116.28, 123.675", "1.0, 1.0, 1.0", "False", "caffe"), "mmdet_caffe", {}),
        (
            ("103.530, 116.280, 123.675", "57.375, 57.120, 58.395", "False", "pytorch"),
            "mmdet",
            {"channels": "bgr", "pixel_std": [57.375, 57.12, 58.395]},
        ),
    ],
)
@pytest.mark.parametrize("key", ["cfg", "config"])
def test_the_configuration_beside_the_weights_says_the_style(given, convention, options, key):
    text = CONFIG.format(**dict(zip(("mean", "std", "rgb", "style"), given, strict=True)))
    meta = {key: text, "CLASSES": ["a", "b", "c", "d", "e", "f"]}
    source = made(mmdet(classes=6, w=NARROW), about={"meta": meta})
    assert source.convention == convention and source.classes == ("a", "b", "c", "d", "e", "f")
    assert options.items() <= source.config.items()


def test_what_the_file_does_not_say_is_said():
    shapes = mmdet(classes=6, w=NARROW) | {"backbone.conv1.weight": (4, 3, 7, 7)}
    assert "its style taken for pytorch" in made(shapes).words


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod."])
def test_what_all_names_begin_with_is_left_out(prefix):
    shapes = detectron2(classes=6, w=NARROW)
    source = made({prefix + name: shape for name, shape in shapes.items()})
    assert source.system == "detectron2" and source.config
    assert without_wrappers({"model.0.conv.weight": 1}) == {"model.0.conv.weight": 1}  # of a YOLO


@pytest.mark.parametrize("name", [name for name in models.MODELS if name.endswith("_laptop")])
def test_what_all_our_own_names_begin_with_belongs_to_them(name):
    names = dict.fromkeys(models.MODELS[name](classes=["a", "b"]).state_dict(), 0)
    assert without_wrappers(names) == names


def test_names_of_four_systems_are_told_apart():
    for make, system in ((detectron2, "detectron2"), (mmdet, "mmdet"), (matterport, "matterport")):
        assert system_of(make(w=NARROW)) == system
    assert system_of(caffe2()) == "caffe2"
    assert (
        "mmdet, Mask R-CNN R50-FPN, 6 classes"
        in recognise(
            {
                n: s.shape if hasattr(s, "shape") else s
                for n, s in mmdet(classes=6, w=NARROW).items()
            }
        ).words
    )


# --- tables of names ----------------------------------------------------------------------------


def test_a_table_reads_both_ways():
    table = NameTable([("res{s+1}.{b}.norm.", "layer{s}.{b}.1."), ("stem.", "first.")])
    assert table.ours("res2.10.norm.weight") == "layer1.10.1.weight"
    assert table.theirs("layer1.10.1.weight") == "res2.10.norm.weight"
    assert table.ours("res0.1.norm.weight") is None  # would be layer -1
    assert table.ours("head.weight") is None and table.theirs("res2.0.norm.a") is None


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"features": "c4"},
        {"features": "dc5"},
        {"mask": False, "keypoints": True, "classes": 1},
        {"kind": "batch", "box_convs": 4, "rpn_convs": 2},
        {"kind": "group", "box_convs": 4},
        {"mask": False, "rpn": False},
    ],
    ids=str,
)
def test_detectron2s_names_come_back(given):
    names = detectron2(buffers=False, w=NARROW, **given)
    there = detectron2_names.table(names)
    ours = [there.ours(name) for name in names]
    assert None not in ours and len(set(ours)) == len(ours)
    back = detectron2_names.table(ours, ours=True)
    assert [back.theirs(name) for name in ours] == list(names)


# --- values -------------------------------------------------------------------------------------


def test_matterports_values_are_put_in_our_order():
    rng = np.random.default_rng(0)
    shapes = matterport(50, classes=2, w=NARROW)
    arrays = {n: rng.normal(1, 0.1, s).astype(np.float32) for n, s in shapes.items()}
    here = from_arrays(PATH, arrays).arrays
    # kernels (height, width, in, out); a convolution's bias goes into the mean of its norm
    np.testing.assert_array_equal(
        here["backbone.body.conv1.weight"][3, 2, 5, 6], arrays["conv1/kernel:0"][5, 6, 2, 3]
    )
    mean = arrays["bn_conv1/moving_mean:0"] - arrays["conv1/bias:0"]
    np.testing.assert_array_equal(here["backbone.body.bn1.running_mean"], mean)
    # boxes y x height width; of three anchors the ratios run the other way
    rows = here["roi_heads.box_predictor.bbox_pred.weight"]
    np.testing.assert_array_equal(rows[4], arrays["mrcnn_bbox_fc/kernel:0"][:, 5])
    rpn = here["rpn.head.bbox_pred.bias"]
    np.testing.assert_array_equal(rpn[:4], arrays["rpn_bbox_pred/bias:0"][[9, 8, 11, 10]])
    raw = arrays["rpn_class_raw/bias:0"]
    np.testing.assert_array_equal(here["rpn.head.cls_logits.bias"], (raw[1::2] - raw[::2])[::-1])


def test_matterports_box_head_computes_the_same():
    rng = np.random.default_rng(1)
    shapes = matterport(50, classes=2, w=NARROW)
    arrays = {n: rng.normal(1, 0.1, s).astype(np.float32) for n, s in shapes.items()}
    here = from_arrays(PATH, arrays).arrays
    region = rng.normal(0, 1, (16, 7, 7))
    kernel = arrays["mrcnn_class_conv1/kernel:0"].astype(np.float64)
    out = np.einsum("chw,hwco->o", region, kernel) + arrays["mrcnn_class_conv1/bias:0"]
    gamma, beta, mean, var = (
        arrays[f"mrcnn_class_bn1/{n}:0"].astype(np.float64)
        for n in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    expected = (out - mean) / np.sqrt(var + 1e-3) * gamma + beta
    weight, bias = (here[f"roi_heads.box_head.fc6.{n}"] for n in ("weight", "bias"))
    np.testing.assert_allclose(weight @ region.ravel() + bias, expected, rtol=1e-5)


def test_a_layer_of_another_shape_is_named():
    shapes = matterport(50, classes=2, w=NARROW) | {"mrcnn_bbox_fc/bias:0": (13,)}
    with pytest.raises(
        ValueError, match=r"^file\.pth: layer mrcnn_bbox_fc is none of matterport's"
    ):
        made(shapes)


# --- other networks -----------------------------------------------------------------------------

FOREIGN = {
    "a YOLO": ["model.0.conv.weight", "model.24.m.0.weight"],
    "an SSD": ["backbone.features.0.weight", "head.classification_head.module_list.0.weight"],
    "an FCOS": ["backbone.body.conv1.weight", "head.regression_head.bbox_ctrness.weight"],
    "a DETR": ["transformer.encoder.layers.0.linear1.weight", "query_embed.weight"],
    "a Cascade R-CNN": ["rpn_head.rpn_conv.weight", "roi_head.bbox_head.0.fc_cls.weight"],
    "a Hybrid Task Cascade": [
        "neck.lateral_convs.0.conv.weight",
        "roi_head.semantic_head.a.weight",
    ],
    "a Swin Transformer": ["backbone.layers.0.blocks.0.norm1.weight", "rpn_head.rpn_conv.weight"],
    "PointRend": ["rpn_head.rpn_conv.weight", "roi_head.point_head.fcs.0.conv.weight"],
    "a RetinaNet": ["neck.lateral_convs.0.conv.weight", "bbox_head.retina_cls.weight"],
    "a DeepLab": ["backbone.conv1.weight", "classifier.0.convs.0.0.weight"],
    "an FCN": ["backbone.conv1.weight", "classifier.0.weight", "classifier.4.weight"],
    "Segment Anything": ["image_encoder.pos_embed", "mask_decoder.iou_token.weight"],
}


@pytest.mark.parametrize("title", FOREIGN)
def test_other_networks_are_named_in_one_sentence(title):
    source = made(dict.fromkeys(FOREIGN[title], (1,)))
    assert source.config is None and source.words.startswith(title)
    assert len(source.words) < 160 and "\n" not in source.words
    with pytest.raises(ValueError, match=title) as caught:
        load_weights(models.maskrcnn_laptop(["a"]), source)
    assert len(str(caught.value).splitlines()) <= 2


def test_every_pattern_is_of_one_network():
    titles = [title for _, title in others.NETWORKS]
    assert all(title[0].islower() or title[0].isupper() for title in titles)
    assert others.title_of(detectron2(w=NARROW)) is None
