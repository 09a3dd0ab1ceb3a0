"""Weights under the names of torchvision and detectron2, and back."""

from __future__ import annotations

import importlib.util
import pickle

import numpy as np
import pytest
from published import Widths, detectron2

from minimask import models
from minimask.weights import export_weights, load_weights, read_source, read_weights
from minimask.weights.torch_writer import to_torch

SMALL = {"layers": [1, 1, 1, 1], "stem_channels": 8, "fpn_channels": 16, "box_head_width": 32}
SMALL |= {"mask_head_channels": [16] * 4, "mask_predictor_channels": 16}
NETWORKS = {
    "FPN": {},
    "C4": {"features": "c4"},
    "DC5": {"features": "dc5"},
    "norms": {"norm": "batch", "fpn_norm": "batch", "mask_head_norm": "batch"},
    "convolutions": {
        "box_head": "conv", "box_head_channels": [16] * 4, "box_head_norm": "group",
        "norm": "group", "fpn_norm": "group", "rpn_conv_depth": 2,
    },
}  # fmt: skip
installed = importlib.util.find_spec("torchvision") is not None


def small(convention, options):
    sizes = {n: v for n, v in SMALL.items() if "dc5" not in str(options) or n != "fpn_channels"}
    if "c4" in str(options):
        sizes = {"layers": [1, 1, 1, 1], "stem_channels": 8}
    sizes["anchor_sizes"] = [16, 32, 64, 128, 256]
    return models.mask_rcnn(classes=["a", "b"], convention=convention, **sizes, **options)


@pytest.mark.parametrize("network", NETWORKS)
def test_detectron2s_names_and_back(network, tmp_path):
    model = small("detectron2", NETWORKS[network])
    export_weights(model, tmp_path / "a.pkl", "detectron2")
    with (tmp_path / "a.pkl").open("rb") as file:
        content = pickle.load(file)
    assert content["__author__"] == "minimask"
    source = read_source(tmp_path / "a.pkl")
    assert source.system == "detectron2"
    state = model.state_dict()
    assert source.arrays.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(source.arrays[name], array, err_msg=name)
    again = small("detectron2", NETWORKS[network])
    load_weights(again, source)


def test_the_names_are_those_of_its_zoo(tmp_path):
    model = models.mask_rcnn(classes=["a", "b"], convention="detectron2", stem_channels=8)
    export_weights(model, tmp_path / "a.pkl", "detectron2")
    expected = detectron2(classes=2, buffers=False, w=Widths(stem=8))
    found = {n: a.shape for n, a in read_weights(tmp_path / "a.pkl").items()}
    assert found == {n: s for n, s in expected.items()}


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("norm", ["frozen_batch", "batch"])
def test_torchvisions_file_and_back(ending, norm, tmp_path):
    model = small("torchvision", {"norm": norm})
    path = tmp_path / f"a{ending}"
    export_weights(model, path, "torchvision")
    arrays, state = read_weights(path), model.state_dict()
    assert arrays.keys() == state.keys()
    for name, array in state.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


@pytest.mark.skipif(not installed, reason="needs torchvision")
@pytest.mark.parametrize(
    "name",
    [
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn_v2",
        "keypointrcnn_resnet50_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "retinanet_resnet50_fpn_v2",
    ],
)
def test_torchvision_loads_it_strictly(name, tmp_path):
    import torch
    import torchvision

    model = getattr(models, name)(3) if "keypoint" not in name else getattr(models, name)(2)
    export_weights(model, tmp_path / "a.pth", "torchvision")
    with torch.device("meta"):
        theirs = getattr(torchvision.models.detection, name)(
            weights=None, weights_backbone=None, num_classes=2 if "keypoint" in name else 3
        )
    loaded = torch.load(tmp_path / "a.pth", weights_only=True)
    theirs.load_state_dict(loaded, strict=True, assign=True)
    for parameter, array in model.state_dict().items():
        np.testing.assert_array_equal(loaded[parameter].numpy(), array, err_msg=parameter)


def test_scalars_and_large_and_other_numbers_are_written():
    content = to_torch(
        {"a": np.array(3, np.int64), "b": np.ones((2, 0, 3), np.float16), "c": np.ones(2)}
    )
    assert b"LongStorage" in content and b"HalfStorage" in content and b"DoubleStorage" in content
    with pytest.raises(TypeError, match="numbers of type int8"):
        to_torch({"a": np.zeros(1, np.int8)})


def test_what_cannot_be_exported_is_said(tmp_path):
    model = small("torchvision", {})
    with pytest.raises(ValueError, match=r"background comes first, and detectron2 has it last"):
        export_weights(model, tmp_path / "a.pkl", "detectron2")
    with pytest.raises(
        ValueError, match=r"a\.pkl: expected one of torchvision, detectron2, got 'm"
    ):
        export_weights(model, tmp_path / "a.pkl", "mmdet")
    with pytest.raises(ValueError, match=r"weights for torchvision are written as \.pth or \.safe"):
        export_weights(model, tmp_path / "a.pkl", "torchvision")
    mlp = models.mask_rcnn(
        2, convention="detectron2", mask_head="mlp", mask_mlp_widths=[8], layers=[1] * 4,
        stem_channels=8, fpn_channels=8, box_head_width=8,
    )  # fmt: skip
    with pytest.raises(ValueError, match="detectron2 has no names for 4 arrays of this model"):
        export_weights(mlp, tmp_path / "a.pkl", "detectron2")
    assert not list(tmp_path.iterdir())
