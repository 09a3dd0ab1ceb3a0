"""Networks known again by the names and shapes of their weights."""

from __future__ import annotations

import pytest

from minimask import models
from minimask.weights import recognise
from minimask.weights.anatomy import anatomy
from minimask.weights.systems import others, system_of

TINY = {
    "stem_channels": 8,
    "fpn_channels": 8,
    "box_head_width": 16,
    "mask_head_channels": [8, 8],
    "mask_predictor_channels": 4,
}


def shapes_of(config):
    return {n: a.shape for n, a in models.build(config).state_dict().items()}


@pytest.mark.parametrize(
    "config",
    [
        {"model": "maskrcnn_laptop"},
        {"model": "fasterrcnn_laptop", "norm": "group"},
        {"model": "maskrcnn_resnet18_fpn"},
        {"model": "fasterrcnn_resnet34_fpn", "norm": "batch"},
        {"model": "maskrcnn_resnet50_fpn"},
        {"model": "mask_rcnn", "block": "basic", "layers": [1, 1, 1, 1], **TINY},
        {
            "model": "mask_rcnn", "layers": [1, 2, 1, 1], "expansion": 2, "width_per_group": 32,
            **TINY,
        },
        {"model": "mask_rcnn", "layers": [1, 1, 1, 2], "features": "c4", "stem_channels": 8},
        {
            "model": "faster_rcnn", "block": "basic", "layers": [1, 1, 1, 1], "features": "c5",
            "stem_channels": 8, "fpn_channels": 8, "box_head_width": 16,
        },
        {
            "model": "mask_rcnn", "block": "basic", "layers": [1, 1, 1, 1], **TINY,
            "mask_head": "mlp", "mask_mlp_widths": [8, 4],
        },
    ],
    ids=str,
)  # fmt: skip
def test_a_network_is_recognised_by_its_weights(config):
    shapes = shapes_of({**config, "num_classes": 7})
    found = recognise(shapes)
    assert found.config["num_classes"] == 7
    assert (found.config["model"], found.config.get("norm")) == (
        config["model"],
        config.get("norm"),
    )
    assert shapes_of(found.config) == shapes
    assert "7 outputs" in found.words
    assert ("anchor sizes" in found.words) == (config["model"] in ("mask_rcnn", "faster_rcnn"))


def test_background_last_does_not_say_whose_choices_they_are():
    config = {"model": "mask_rcnn", "layers": [1] * 4, "block": "basic", "convention": "detectron2"}
    with pytest.raises(ValueError, match="7 class scores but 6 boxes: background comes last"):
        recognise(shapes_of({**config, "num_classes": 7, **TINY}))


def test_unusual_anchors_are_not_guessed():
    sizes = [[8, 16], [16, 32], [32, 64], [64, 128], [128, 256]]
    config = {"model": "mask_rcnn", "layers": [1] * 4, "block": "basic", "anchor_sizes": sizes}
    with pytest.raises(ValueError, match="6 anchors at each place, whose sizes the file does not"):
        recognise(shapes_of({**config, "num_classes": 3, **TINY}))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({}, "there are no arrays in it"),
        ({"a": (1,), "b": (2,)}, "no network that is known here: 2 arrays such as a, b"),
        ({"backbone.bottom_up.stem.conv1.weight": (64,)}, "names as in detectron2"),
        ({"rpn_head.rpn_conv.weight": (64,)}, "names as in mmdet"),
        ({"mrcnn_mask_conv1/kernel:0": (64,)}, "mrcnn_mask_conv1 is none of matterport's Mask R"),
        ({"model.0.conv.weight": (64,)}, "a YOLO; minimask reads Mask"),
    ],
)
def test_other_files_are_described(shapes, words):
    with pytest.raises(ValueError, match=words):
        recognise(shapes)


def test_a_classifier_is_sent_to_the_right_option():
    shapes = shapes_of({"model": "maskrcnn_resnet18_fpn", "num_classes": 3})
    body = {n.removeprefix("backbone.body."): s for n, s in shapes.items() if "body" in n}
    with pytest.raises(ValueError, match=r"a ResNet-18 .stage 1 has 2 basic blocks, 64 channels."):
        recognise(body)
    with pytest.raises(ValueError, match=r"a classifier of images, but no det.*--backbone-weights"):
        recognise({**body, "fc.weight": (1000, 512)})


def test_own_names_are_nobody_elses():
    names = shapes_of({"model": "maskrcnn_laptop", "num_classes": 3})
    assert system_of(names) == "torchvision" and others.title_of(names) is None
    assert anatomy(names).body.norm == "batch"
