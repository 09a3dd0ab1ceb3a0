"""The ResNet family, dilated C5, norms and convolutions in pyramid and heads: shapes, counts."""

import numpy as np
import pytest

import minimask as mm
from minimask import models
from minimask.autograd import Tensor, no_grad
from minimask.conventions import MMDET, TORCHVISION
from minimask.models import presets
from minimask.models.anchors import AnchorGenerator, network_stride
from minimask.models.bodies.resnet import ResNet
from minimask.models.matcher import Matcher
from minimask.models.opencv import resize_bytes
from minimask.weights.recognise import recognise

# Of the networks that classify 1000 kinds of images, as torchvision's documentation has them
# (32x4d of 101 layers: timm's).
PUBLISHED = {
    "RESNET18": 11_689_512,
    "RESNET34": 21_797_672,
    "RESNET50": 25_557_032,
    "RESNET101": 44_549_160,
    "RESNET152": 60_192_808,
    "RESNEXT50_32X4D": 25_028_904,
    "RESNEXT101_32X4D": 44_177_704,
    "RESNEXT101_32X8D": 88_791_336,
    "RESNEXT101_64X4D": 83_455_272,
    "WIDE_RESNET50_2": 68_883_240,
    "WIDE_RESNET101_2": 126_886_696,
}
DETECTORS = {
    "maskrcnn_resnet50_fpn": 44_401_393,
    "fasterrcnn_resnet50_fpn": 41_755_286,
    "maskrcnn_resnet50_fpn_v2": 46_359_409,
    "fasterrcnn_resnet50_fpn_v2": 43_712_278,
}
SMALL = {
    "block": "bottleneck",
    "stem_channels": 16,
    "fpn_channels": 16,
    "box_head_width": 32,
    "mask_head_channels": (16,),
    "mask_predictor_channels": 16,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 5,
}


class Zeros:
    """Stands for a generator where only shapes matter: drawing 127 million numbers takes long."""

    def standard_normal(self, shape):
        return np.zeros(shape, np.float32)

    def uniform(self, low, high, shape):
        return np.zeros(shape, np.float32)


def small(**options):
    return mm.models.maskrcnn_laptop(["a", "b"], **(SMALL | options))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_body_has_as_many_parameters_as_published(name):
    body = ResNet(rng=Zeros(), norm="batch", **getattr(presets, name))
    classifier = body.out_channels[-1] * 1000 + 1000
    assert body.count_parameters() + classifier == PUBLISHED[name]
    assert body.strides == [4, 8, 16, 32]
    for kind in ("maskrcnn", "fasterrcnn"):
        assert f"{kind}_{name.lower()}_fpn" in models.MODELS


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_has_as_many_parameters_as_published(name, monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Zeros())
    assert getattr(models, name)().count_parameters() == DETECTORS[name]


def test_groups_see_only_their_own_channels():
    body = ResNet((1, 1, 1, 1), np.random.default_rng(0), groups=4, width_per_group=8)
    assert body.layer1[0].conv2.weight.shape == (32, 8, 3, 3)
    assert body.layer4[0].conv2.weight.shape == (256, 64, 3, 3)
    assert body.out_channels == [256, 512, 1024, 2048]  # as without groups


def test_dilated_c5_sees_as_far_at_twice_the_resolution():
    options = {"layers": (1, 1, 1, 2), "rng": np.random.default_rng(0), "stem_channels": 8}
    plain, everywhere, later = (ResNet(dilated=d, **options) for d in (None, "all", "but_first"))
    image = Tensor(np.random.default_rng(1).standard_normal((1, 3, 96, 64), np.float32))
    with no_grad():
        sizes = [[m.shape[2] for m in body(image)] for body in (plain, everywhere, later)]
    assert sizes == [[24, 12, 6, 3], [24, 12, 6, 6], [24, 12, 6, 6]]
    assert everywhere.strides == later.strides == [4, 8, 16, 16]
    dilations = [[block.conv2.dilation for block in b.layer4] for b in (plain, everywhere, later)]
    assert dilations == [[1, 1], [2, 2], [1, 2]]


def test_a_detector_on_dilated_c5_uses_all_of_its_channels():
    model = small(features="dc5")
    (level,) = model.backbone(Tensor(np.zeros((1, 3, 128, 96), np.float32)))
    assert level.shape == (1, 16 * 8 * 4, 8, 6)
    shapes = {name: array.shape for name, array in model.state_dict().items()}
    assert shapes["rpn.head.conv.0.0.weight"] == (512, 512, 3, 3)
    assert shapes["roi_heads.box_head.fc6.weight"] == (32, 512 * 49)
    assert shapes["roi_heads.mask_head.0.0.weight"] == (16, 512, 3, 3)


def test_norms_take_the_place_of_biases():
    model = small(
        fpn_norm="batch", box_head="conv", box_head_channels=(8, 8), box_head_norm="group",
        mask_head_norm="frozen_batch", rpn_conv_depth=2,
    )  # fmt: skip
    names = set(model.state_dict())
    for layer in (
        "backbone.fpn.inner_blocks.0",
        "backbone.fpn.layer_blocks.3",
        "roi_heads.box_head.1",
        "roi_heads.mask_head.0",
    ):
        assert {f"{layer}.0.weight", f"{layer}.1.weight", f"{layer}.1.bias"} <= names
        assert f"{layer}.0.bias" not in names
    assert {"rpn.head.conv.1.0.bias", "roi_heads.box_head.3.weight"} <= names
    again = models.build(model.config)
    assert set(again.state_dict()) == names


def test_batch_norms_of_the_heads_learn_their_statistics():
    model = small(fpn_norm="batch", box_head="conv", box_head_channels=(8,), box_head_norm="batch",
                  mask_head_norm="batch")  # fmt: skip
    shapes = mm.data.Shapes(size=64, seed=3, classes=("circle", "square"))
    before = model.state_dict()
    model.losses([shapes[0].image], [shapes[0].target], rng=np.random.default_rng(0))
    after = model.state_dict()
    for layer in ("backbone.fpn.layer_blocks.0", "roi_heads.box_head.0", "roi_heads.mask_head.0"):
        assert after[f"{layer}.1.num_batches_tracked"] > before[f"{layer}.1.num_batches_tracked"]
        assert np.abs(after[f"{layer}.1.running_mean"]).max() > 0
    frozen = {name for name in after if name.startswith("backbone.body.bn1.running")}
    model.eval().losses([shapes[0].image], [shapes[0].target], rng=np.random.default_rng(0))
    assert all((model.state_dict()[name] == after[name]).all() for name in frozen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "groups: expected a whole number from 1 up, got 0"),
        ({"groups": 2.5}, "groups: expected a whole number"),
        ({"groups": 2, "block": "basic"}, 'groups.*block="bottleneck"'),
        ({"width_per_group": 2}, "width_per_group: 2 per 64 channels.*at least 4"),
        ({"features": "dc5", "block": "basic"}, 'features: "dc5" dilates bottlenecks'),
        ({"features": "dc6"}, "features: expected one of fpn, c4, c5, dc5"),
        ({"fpn_norm": "layer"}, "fpn_norm: expected one of batch, frozen_batch, group"),
        ({"fpn_norm": "batch", "features": "dc5"}, 'no pyramid with features="dc5"'),
        ({"rpn_conv_depth": 0}, "rpn_conv_depth: expected a whole number from 1 up, got 0"),
        ({"box_head": "cnn"}, "box_head: expected one of mlp, conv"),
        ({"box_head": "conv", "features": "c4"}, 'box_head: with features="c4"'),
        ({"mask_head_norm": "batch", "features": "c4"}, 'mask_head_norm: with features="c4"'),
        ({"box_head_norm": "batch"}, 'box_head_norm: .* box_head="conv"'),
        ({"box_head": "conv", "box_head_channels": ()}, "box_head_channels: .* at least one"),
        ({"mask_head_norm": "group", "mask_head": "mlp"}, 'mask_head_norm: .* mask_head="fcn"'),
        ({"image_resize": "scipy"}, "image_resize: expected one of float, pillow, opencv, skimage"),
    ],
)
def test_options_that_do_not_fit_are_named_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        small(**options)
    assert "\n" not in str(caught.value)


def test_three_stages_have_none_to_dilate():
    with pytest.raises(ValueError, match="dilated: is of the fourth stage, and there are 3"):
        ResNet((1, 1, 1, 1), np.random.default_rng(0), stages=3, dilated="all")


# --- what the systems choose differently --------------------------------------------------------


@pytest.mark.parametrize("pixels", [33, 64, 127, 177, 800, 1333])
def test_the_networks_stride_is_found_however_a_map_was_rounded(pixels):
    cells = pixels
    for halvings in range(1, 7):
        cells = -(-cells // 2)
        if cells > 1:
            assert network_stride(pixels, cells) == 2**halvings


def test_fixed_strides_where_the_image_is_no_multiple():
    shapes, image = [(2, 2)], (96, 96)  # stride 64: the second cell lies partly outside
    for convention, second in ((TORCHVISION, 48), (MMDET, 64)):
        (level,) = AnchorGenerator([8], (1.0,), convention)(shapes, image).levels
        assert level[1, 0] - level[0, 0] == second


def test_without_a_pyramid_detectron2_does_not_pad():
    image = np.zeros((100, 77, 3), np.uint8)
    options = {"convention": "detectron2", "min_size": None, "max_size": None}
    assert small(features="dc5", **options).prepare([image]).shape == (100, 77)
    assert small(features="fpn", **options).prepare([image]).shape == (128, 96)


def test_the_best_box_of_an_object_is_its_own_in_mmdet():
    """It overlaps the first object more, but no other box is closer to the second."""
    objects = np.array([[0, 0, 100, 100], [30, 0, 130, 100]], np.float32)
    boxes = np.array([[14, 0, 114, 100], [0, 0, 99, 100], [500, 500, 600, 600]], np.float32)
    assert Matcher(0.5, 0.5, 0.5)(objects, boxes).tolist() == [0, 0, -1]
    assert Matcher(0.5, 0.5, 0.5, best_is_taken=True)(objects, boxes).tolist() == [1, 0, -1]
    twins = objects[[0, 0]]  # of several objects the last
    assert Matcher(0.5, 0.5, 0.5, best_is_taken=True)(twins, boxes).tolist() == [0, 1, -1]
    none = Matcher(0.5, 0.5, 0.5, best_is_taken=True)(objects[:0], boxes)
    assert none.tolist() == [-1, -1, -1]


def test_resizing_as_opencv_keeps_what_it_must():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (37, 53, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_bytes(image, 37, 53), image)
    flat = np.full((20, 30, 3), 200, np.uint8)
    assert (resize_bytes(flat, 33, 17) == 200).all()
    # between two pixels, as by hand: a quarter and three quarters
    step = np.array([[0, 100], [0, 100]], np.uint8)[..., None].repeat(3, 2)
    assert resize_bytes(step, 2, 4)[0, :, 0].tolist() == [0, 25, 75, 100]
    cv2 = pytest.importorskip("cv2", reason="compared with OpenCV where it is installed")
    for height, width in ((99, 17), (12, 200), (74, 106), (1, 1)):
        theirs = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(resize_bytes(image, height, width), theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"features": "dc5"},
        {"groups": 4, "width_per_group": 32},
        {"features": "c4", "groups": 2, "width_per_group": 64},
        {"fpn_norm": "batch", "rpn_conv_depth": 2, "norm": "batch"},
        {"box_head": "conv", "box_head_channels": (8, 12), "box_head_norm": "group"},
        {"mask_head_norm": "frozen_batch", "box_head": "conv", "box_head_channels": (8,)},
    ],
    ids=str,
)
def test_a_file_without_its_config_is_recognised(options):
    model = small(**options)
    shapes = {name: array.shape for name, array in model.state_dict().items()}
    again = models.build(recognise(shapes).config)
    assert {name: array.shape for name, array in again.state_dict().items()} == shapes
