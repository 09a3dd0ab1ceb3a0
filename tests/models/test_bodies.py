"""VGG, EfficientNet, MobileNetV3: sizes as published, options refused in a sentence, weights."""

import numpy as np
import pytest

import minimask as mm
from minimask.autograd import Tensor, no_grad
from minimask.models.bodies import BODIES
from minimask.models.bodies.inverted_residual import rounded
from minimask.weights import save_weights, transfer_backbone
from minimask.weights.recognise import recognise

# torchvision's published numbers of parameters; less the classifier and, of EfficientNet, stage 9
PUBLISHED = {
    "vgg11": 132_863_336 - 123_642_856,
    "vgg16": 138_357_544 - 123_642_856,
    "vgg16_bn": 138_365_992 - 123_642_856,
    "vgg19": 143_667_240 - 123_642_856,
    "efficientnet_b0": 5_288_548 - 1281 * 1000 - (320 + 2) * 1280,
    "efficientnet_b3": 12_233_232 - 1537 * 1000 - (384 + 2) * 1536,
    "mobilenet_v3_large": 5_483_032 - 961 * 1280 - 1281 * 1000,
    "mobilenet_v3_small": 2_542_856 - 577 * 1024 - 1025 * 1000,
}
CHANNELS = {  # of the maps with strides 4, 8, 16 and 32
    "vgg16": [256, 512, 512, 512],
    "efficientnet_b0": [24, 40, 112, 320],
    "efficientnet_b3": [32, 48, 136, 384],
    "mobilenet_v3_large": [24, 40, 80, 960],
    "mobilenet_v3_small": [16, 24, 40, 576],
}
SMALL = {"fpn_channels": 8, "box_head_width": 8, "mask_head_channels": (8,)}


def make(name, width=1.0, norm=None, **options):
    norm = norm or "frozen_batch"
    rng = np.random.default_rng(0)
    return BODIES[name](rng, norm=norm, norm_eps=1e-5, width=width, **options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_parameters_as_published(name):
    body = make(name)
    learned = sum(p.size for p in body.parameters())
    scales = sum(b.size for n, b in body.named_buffers() if n.endswith(("weight", "bias")))
    assert learned + scales == PUBLISHED[name]


@pytest.mark.parametrize("name", CHANNELS)
def test_maps_have_the_channels_of_the_table(name):
    body = make(name)
    assert (body.out_channels, body.strides) == (CHANNELS[name], [4, 8, 16, 32])


@pytest.mark.parametrize("name", ["vgg11", "efficientnet_b0", "mobilenet_v3_small"])
def test_any_size_of_image(name):
    body = make(name, 0.125).eval()
    with no_grad():
        maps = body(Tensor(np.ones((1, 3, 70, 37), np.float32)))
    down = (lambda n, s: n // s) if name == "vgg11" else (lambda n, s: -(-n // s))
    for level, channels, stride in zip(maps, body.out_channels, body.strides, strict=True):
        assert level.shape == (1, channels, down(70, stride), down(37, stride))


@pytest.mark.parametrize(
    ("channels", "expected"), [(16, 16), (10, 16), (12.1, 16), (38.4, 40), (3, 8)]
)
def test_channels_are_multiples_of_eight_and_never_much_fewer(channels, expected):
    assert rounded(channels) == expected


def test_dilated_bodies_keep_stride_16():
    for name in ("efficientnet_b0", "mobilenet_v3_large"):
        body = make(name, 0.25, dilated=True)
        assert body.strides[-2:] == [16, 16]
        strides = {m.stride for m in body.modules() if getattr(m, "dilation", 1) == 2}
        assert strides == {1}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"backbone": "vgg16", "block": "basic"}, r'block: is an option of backbone="resnet"'),
        ({"backbone": "efficientnet_b0", "layers": (1, 1, 1, 1)}, "layers: is an option"),
        ({"backbone": "mobilenet_v3_large", "stem_channels": 8}, "stem_channels: is an option"),
        (
            {"width_multiplier": 0.5},
            "width_multiplier: is an option of the bodies that are no ResNets",
        ),
        ({"backbone": "vgg16", "norm": "batch"}, r'norm: vgg16 has no norms, "vgg16_bn" does'),
        ({"backbone": "vgg16_bn", "norm": "layer"}, "norm: expected one of"),
        ({"backbone": "vgg16", "features": "dc5"}, r'vgg16 has no "dc5"'),
        ({"backbone": "vgg16", "width_multiplier": 0}, "width_multiplier: expected a number"),
        ({"backbone": "vgg16", "width_multiplier": "1"}, "width_multiplier: expected a number"),
        ({"backbone": "vgg16", "returned_layers": (0, 4)}, "returned_layers: expected some of"),
        ({"backbone": "vgg16", "returned_layers": (2, 4)}, "have the strides 4, 16"),
        ({"backbone": "vgg16", "returned_layers": (3, 4)}, "pyramid has 3 levels"),
        (
            {"backbone": "vgg16", "features": "c5", "returned_layers": (3, 4)},
            r'returned_layers: are of features="fpn"',
        ),
        ({"backbone": "vgg16", "trainable_layers": 6}, r"trainable_layers: expected 0 \.\. 5"),
        ({"backbone": "efficientnet_b8"}, "'efficientnet_b8' is none of resnet, vgg11"),
        ({"backbone": "efficientnet_b0", "features": "c4", "box_head": "conv"}, "box_head: with"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        mm.models.mask_rcnn(classes=["cell"], **options)
    assert "\n" not in str(error.value)


def test_a_config_from_json_is_no_other_option():
    """A list that JSON gave back is the default's tuple."""
    config = {"backbone": "mobilenet_v3_small", "layers": [3, 4, 6, 3], "width_multiplier": 0.25}
    model = mm.models.mask_rcnn(classes=["cell"], **config, **SMALL)
    again = mm.models.build(model.config)
    assert {n: a.shape for n, a in again.state_dict().items()} == {
        n: a.shape for n, a in model.state_dict().items()
    }


def test_frozen_sections_are_those_torchvision_counts():
    """MobileNetV3-Large: `trainable_layers` 3 of 6 leaves layers 0 to 6 as they are."""
    model = mm.models.fasterrcnn_mobilenet_v3_large_fpn(
        2, trainable_layers=3, width_multiplier=0.25, fpn_channels=8, box_head_width=8
    )
    numbers = {
        int(name.split(".")[2]): parameter.requires_grad
        for name, parameter in model.named_parameters()
        if name.startswith("backbone.body.")
    }
    assert [i for i, learns in numbers.items() if not learns] == list(range(7))


def test_c4_of_vgg_is_the_first_faster_rcnn():
    model = mm.models.fasterrcnn_vgg16(21, width_multiplier=0.125, box_head_width=32)
    body, heads = model.backbone.body, model.roi_heads
    assert body.strides == [16] and heads.pooler.op == "pool"
    assert heads.box_head.fc6.weight.shape == (32, 64 * 49)
    assert model.rpn.anchor_generator.per_cell == 9
    learns = {
        n.split(".")[2] for n, p in model.named_parameters() if "body" in n and p.requires_grad
    }
    assert learns == {str(i) for i in (10, 12, 14, 17, 19, 21, 24, 26, 28)}  # conv3_1 and up


def test_c4_of_a_network_of_blocks_has_the_rest_as_its_head():
    model = mm.models.mask_rcnn(
        classes=["a"], backbone="efficientnet_b0", width_multiplier=0.25, features="c4", **SMALL
    )
    names = set(model.state_dict())
    assert {n.split(".")[2] for n in names if n.startswith("backbone.body.")} == set("012345")
    assert {n.split(".")[3] for n in names if "box_head.res5." in n} == {"0", "1"}


def classifier(body, extra=()):
    """A body's arrays under the names that a classifier's file has."""
    rng = np.random.default_rng(5)
    arrays = {
        f"features.{n}": np.abs(rng.standard_normal(a.shape)).astype(a.dtype)
        for n, a in body.state_dict().items()
    }
    return arrays | {n: rng.standard_normal(s).astype(np.float32) for n, s in extra}


class Arrays(mm.nn.Module):
    """Arrays to write as a file of weights."""

    def __init__(self, arrays):
        self.arrays = arrays

    def state_dict(self):
        return self.arrays


@pytest.mark.parametrize("features", ["fpn", "c4"])
def test_backbone_from_a_classifier(features, tmp_path):
    arrays = classifier(make("mobilenet_v3_large", 0.25, "batch"))
    arrays["classifier.0.weight"] = np.ones((4, 4), np.float32)
    save_weights(Arrays(arrays), tmp_path / "m.safetensors")
    model = mm.models.mask_rcnn(
        classes=["a"],
        backbone="mobilenet_v3_large",
        width_multiplier=0.25,
        features=features,
        **SMALL,
    )
    transfer_backbone(model, tmp_path / "m.safetensors")
    state = model.state_dict()
    last = {"fpn": "backbone.body.16", "c4": "roi_heads.box_head.res5.3"}[features] + ".0.weight"
    np.testing.assert_array_equal(state[last], arrays["features.16.0.weight"])
    np.testing.assert_array_equal(state["backbone.body.0.0.weight"], arrays["features.0.0.weight"])


def test_fc6_and_fc7_of_vgg_come_along(tmp_path):
    extra = [("classifier.0.weight", (32, 64 * 49)), ("classifier.0.bias", (32,))]
    extra += [("classifier.3.weight", (32, 32)), ("classifier.3.bias", (32,))]
    arrays = classifier(make("vgg16", 0.125), [*extra, ("classifier.6.weight", (10, 32))])
    save_weights(Arrays(arrays), tmp_path / "v.safetensors")
    model = mm.models.fasterrcnn_vgg16(3, width_multiplier=0.125, box_head_width=32)
    report = transfer_backbone(model, tmp_path / "v.safetensors")
    assert "with fc6 and fc7" in str(report)
    for ours, theirs in (("fc6", "0"), ("fc7", "3")):
        given = arrays[f"classifier.{theirs}.weight"]
        np.testing.assert_array_equal(getattr(model.roi_heads.box_head, ours).weight.data, given)


def test_a_classifier_of_another_family_is_refused(tmp_path):
    save_weights(Arrays(classifier(make("vgg11", 0.125))), tmp_path / "v.safetensors")
    for model in (
        mm.models.maskrcnn_laptop(["a"]),
        mm.models.maskrcnn_laptop(["a"], backbone="mobilenet_v3_small", width_multiplier=0.25),
    ):
        before = model.state_dict()
        with pytest.raises(ValueError, match=r"v\.safetensors"):
            transfer_backbone(model, tmp_path / "v.safetensors")
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn_mobilenet_v3_large_fpn",
        "maskrcnn_mobilenet_v3_large_fpn",
        "maskrcnn_efficientnet_b0_fpn",
        "maskrcnn_efficientnet_b3_fpn",
        "fasterrcnn_vgg16_fpn",
    ],
)
def test_files_of_detectors_are_recognised(name):
    model = mm.models.MODELS[name](5)
    found = recognise({n: a.shape for n, a in model.state_dict().items()})
    assert found.config == {"model": name, "num_classes": 5}
