"""The names that torchvision itself builds: its R-CNNs fit, all else is called by its name."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from minimask import models
from minimask.weights.mismatch import explain
from minimask.weights.source import from_arrays

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

DETECTORS = {
    "fasterrcnn_mobilenet_v3_large_fpn": "fasterrcnn_mobilenet_v3_large_fpn with 91 outputs",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "fasterrcnn_mobilenet_v3_large_fpn with 91 outputs",
    "maskrcnn_resnet50_fpn": "maskrcnn_resnet50_fpn with 91 outputs",
    "maskrcnn_resnet50_fpn_v2": "maskrcnn_resnet50_fpn_v2 with 91 outputs",
    "fasterrcnn_resnet50_fpn_v2": "fasterrcnn_resnet50_fpn_v2 with 91 outputs",
    "keypointrcnn_resnet50_fpn": "keypointrcnn_resnet50_fpn with 2 outputs",
    "retinanet_resnet50_fpn": "retinanet_resnet50_fpn with 91 outputs",
    "retinanet_resnet50_fpn_v2": "retinanet_resnet50_fpn_v2 with 91 outputs",
}
OTHERS = {
    "fcos_resnet50_fpn": "an FCOS",
    "ssd300_vgg16": "an SSD",
    "ssdlite320_mobilenet_v3_large": "an SSD",
    "fcn_resnet50": "an FCN",
    "deeplabv3_resnet50": "a DeepLab",
    "lraspp_mobilenet_v3_large": "a DeepLab or LR-ASPP",
}


def source_of(make):
    with torch.device("meta"):
        state = make(weights=None, weights_backbone=None).state_dict()
    arrays = {
        n: np.broadcast_to(np.float32(0) if t.is_floating_point() else np.int64(0), tuple(t.shape))
        for n, t in state.items()
    }
    return from_arrays(pathlib.Path("file.pth"), arrays)


@pytest.mark.parametrize("name", DETECTORS)
def test_its_detectors_are_recognised(name):
    source = source_of(getattr(torchvision.models.detection, name))
    assert f"names, {DETECTORS[name]}" in source.words
    if "mobilenet" in name:
        shapes = {n: a.shape for n, a in models.build(source.config).state_dict().items()}
        assert explain(shapes, source.shapes) == ""


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_are_called_by_name(name):
    home = torchvision.models.detection
    if not hasattr(home, name):
        home = torchvision.models.segmentation
    source = source_of(getattr(home, name))
    assert source.config is None and source.words.startswith(OTHERS[name])
