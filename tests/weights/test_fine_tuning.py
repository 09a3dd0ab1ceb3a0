"""Training with other classes, from files of all systems, each under its own convention."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from published import Widths, as_array
from published_torchvision import caffe2, classifier, detectron2_body

from minimask import models
from minimask.autograd import Tensor, no_grad
from minimask.conventions import get_convention
from minimask.data.sample import Target
from minimask.train.settings import ModelSettings, RunSettings
from minimask.train.start import adopt, start_model
from minimask.weights import read_source, transfer_backbone, transfer_weights
from minimask.weights.source import from_arrays

FILES = {
    "detectron2": "detectron2/mask_rcnn_R_50_FPN.pkl",
    "detectron2 C4": "detectron2/mask_rcnn_R_50_C4.pkl",
    "mmdet": "mmdet/mask-rcnn_r50_fpn.pth",
    "mmdet caffe": "mmdet/mask-rcnn_r50-caffe_fpn.pth",
    "matterport": "matterport/mask_rcnn_resnet50.h5",
    "torchvision": "torchvision/maskrcnn_v2.pth",
}
SCORES = "roi_heads.box_predictor.cls_score.weight"
BOXES = "roi_heads.box_predictor.bbox_pred.weight"
MASKS = "roi_heads.mask_predictor.mask_fcn_logits.weight"


@pytest.fixture(params=FILES)
def source(request, goldens):
    path = goldens / FILES[request.param]
    if path.suffix == ".h5":
        pytest.importorskip("h5py")
    return read_source(path)


def settings_for(source, *options):
    weights = ModelSettings(model="maskrcnn_laptop", weights=str(source.path), options=options)
    return RunSettings(model=weights)


def test_a_run_takes_network_and_convention_over(source):
    settings, line = adopt(settings_for(source), source, given=(), recipe={})
    assert source.words in line
    classes = ("cell", "dust")
    start = start_model(settings, classes, source)
    model = start.model
    assert model.classes == classes
    if source.system != "torchvision":
        assert model.convention.name == source.convention
        assert "they were trained under" not in start.said[0]
    state = model.state_dict()
    for name in ("backbone.body.layer3.2.conv2.weight", "rpn.head.cls_logits.weight"):
        np.testing.assert_array_equal(state[name], source.arrays[name])
    assert state[SCORES].shape[0] == 3
    assert state[BOXES].shape[0] == 4 * (2 if model.convention.background == "last" else 3)


@pytest.mark.parametrize("source", ["detectron2 C4", "mmdet", "matterport"], indirect=True)
def test_it_learns(source):
    """A training step with the new classes gives finite losses and gradients."""
    settings, _ = adopt(settings_for(source, "min_size=96", "max_size=128"), source, (), {})
    model = start_model(settings, ("cell", "dust"), source).model.train()
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    mask = np.zeros((1, 96, 128), np.uint8)
    mask[0, 20:60, 30:80] = 1
    target = Target(np.array([[30, 20, 80, 60]], np.float32), np.array([1]), mask)
    losses = model.losses([image], [target], rng=np.random.default_rng(0))
    sum(losses.values()).backward()
    assert all(np.isfinite(loss.item()) for loss in losses.values())
    gradient = dict(model.named_parameters())[SCORES].grad
    assert np.isfinite(gradient).all() and gradient.any()


def test_rows_go_by_the_names_of_classes(source):
    """Known classes keep their rows, wherever background is counted."""
    count = len(source.classes or ()) or source.config["num_classes"] - 1
    names = [f"class{i}" for i in range(count)]
    mine = ["new", names[3], names[0]]
    config = {**source.config, "classes": mine, "num_classes": None}
    model = models.build(config)
    report = transfer_weights(model, source, classes=names)
    assert set(report.kept) == {names[3], names[0]}
    state, theirs = model.state_dict(), source.arrays
    last = model.convention.background == "last"
    first = 0 if last else 1
    for name, per_row in ((SCORES, 1), (BOXES, 4), (MASKS, 1)):
        ours = state[name].reshape(-1, per_row, *state[name].shape[1:])
        given = theirs[name].reshape(-1, per_row, *theirs[name].shape[1:])
        for here, there in ((1, 3), (2, 0)):
            np.testing.assert_array_equal(ours[first + here], given[first + there], err_msg=name)
    background = (-1, -1) if last else (0, 0)
    np.testing.assert_array_equal(state[SCORES][background[0]], theirs[SCORES][background[1]])


def test_another_convention_is_said(goldens):
    source = read_source(goldens / FILES["mmdet"])
    config = {**source.config, "convention": "torchvision", "classes": ["a", "b"]}
    report = transfer_weights(models.build(config), source)
    assert "trained under the convention mmdet, the model follows torchvision" in str(report)


def test_a_named_network_still_gets_the_convention(goldens):
    source = read_source(goldens / FILES["detectron2 C4"])
    settings, _ = adopt(settings_for(source), source, given=("model",), recipe={})
    assert 'convention="detectron2"' in settings.model.options


W = Widths(stem=8)


# --- bodies of ImageNet -------------------------------------------------------------------------

BODIES = {
    "MSRA": (lambda: caffe2(w=W), {}, "detectron2", ("detectron2", "torchvision")),
    "FAIR": (
        lambda: caffe2(50, 4, 16, w=W),
        {"groups": 4, "width_per_group": 16},
        "detectron2_3x3",
        ("detectron2_3x3",),
    ),
    "detectron2's R-50": (
        lambda: detectron2_body(w=W),
        {},
        "detectron2_torchvision",
        ("torchvision",),
    ),
    "torchvision's": (lambda: classifier(w=W), {}, "torchvision", ("torchvision", "detectron2")),
}
HEADS = {"fpn_channels": 8, "box_head_width": 8, "num_classes": 3, "stem_channels": 8}
CASES = [(name, convention) for name, body in BODIES.items() for convention in body[3]]


def random_file(shapes):
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        array = np.array(as_array(name, shape))
        if array.dtype == np.float32 and not name.endswith("running_var"):
            array = rng.normal(0, 0.1, array.shape).astype(np.float32)
        arrays[name] = array
    return from_arrays(Path("body.pkl"), arrays)


@pytest.mark.parametrize(("body", "convention"), CASES)
def test_a_body_computes_what_it_did(body, convention):
    """Its first layer sees the same in the model's images as in those it was trained on."""
    make, options, theirs, _ = BODIES[body]
    source = random_file(make())
    assert source.convention == theirs and source.config is None
    model = models.faster_rcnn(convention=convention, **options, **HEADS)
    report = transfer_backbone(model, source)
    assert "the backbone, a ResNe" in str(report)
    ours, theirs = model.convention, get_convention(theirs)
    assert ("fitted to the model's pixels" in str(report)) == (ours.channels != theirs.channels)
    assert ("--option stride_in_1x1" in str(report)) == (ours.stride_in_1x1 != theirs.stride_in_1x1)
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.float32)
    stem = model.backbone.body.conv1
    before = source.arrays.get("conv1.weight", source.arrays.get("backbone.body.conv1.weight"))
    with no_grad():
        found = stem(Tensor(seen(image, ours))).data
        stem.weight.data[...] = before
        expected = stem(Tensor(seen(image, theirs))).data
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3 * np.abs(expected).max())


def seen(image, convention):
    pixels = image[..., ::-1] if convention.channels == "bgr" else image
    normal = (pixels - np.float32(convention.pixel_mean)) / np.float32(convention.pixel_std)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None], np.float32)


def test_norms_without_statistics_scale_and_shift():
    """Of Caffe2's bodies: mean 0, and a variance that the epsilon makes 1."""
    source = random_file(caffe2(w=W))
    arrays = source.arrays
    np.testing.assert_array_equal(arrays["bn1.running_mean"], 0)
    np.testing.assert_allclose(arrays["bn1.running_var"] + 1e-5, 1)
    assert "fc1000_w" not in arrays and source.norm_eps == 1e-5
    model = models.faster_rcnn(convention="detectron2", norm_eps=1e-3, **HEADS)
    transfer_backbone(model, source)
    assert model.backbone.body.bn1.eps == 1e-5
    assert "norm_eps" not in model.config  # detectron2's, again


def test_a_bias_of_a_convolution_goes_into_the_norm():
    shapes = caffe2(w=W) | {"conv1_b": (8,)}
    with_bias, bias = random_file(shapes), np.zeros(8, np.float32)
    assert with_bias.arrays["bn1.bias"].shape == bias.shape
    rng = np.random.default_rng(2)
    arrays = {n: np.array(as_array(n, s)) for n, s in shapes.items()}
    for name in ("conv1_b", "res_conv1_bn_s", "res_conv1_bn_b"):
        arrays[name] = rng.normal(0, 1, 8).astype(np.float32)
    found = from_arrays(Path("body.pkl"), arrays).arrays["bn1.bias"]
    expected = arrays["res_conv1_bn_b"] + arrays["res_conv1_bn_s"] * arrays["conv1_b"]
    np.testing.assert_array_equal(found, expected)
