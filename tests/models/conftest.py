"""The recorded network, and what torchvision computed with it."""

import json

import numpy as np
import pytest


def narrow_options(meta):
    """The recorded network's sizes (see its description): few channels, so that files are small."""
    return {
        "num_classes": meta["kwargs"]["num_classes"],
        "block": "bottleneck",
        "layers": (1, 1, 1, 1),
        "expansion": 1,
        "width_per_group": 16,
        "norm": "batch",
        "fpn_channels": 32,
        "anchor_sizes": (16, 32, 64, 128, 256),
        "box_head_width": 64,
        "mask_head_channels": (32, 32, 32, 32),
        "mask_predictor_channels": 32,
        "min_size": meta["min_size"],
        "max_size": meta["max_size"],
    }


@pytest.fixture(scope="session")
def meta(goldens):
    return json.loads((goldens / "maskrcnn_meta.json").read_text())


@pytest.fixture(scope="session")
def recorded_forward(goldens):
    with np.load(goldens / "maskrcnn_forward.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def recorded_step(goldens):
    with np.load(goldens / "maskrcnn_train.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def golden_model(meta, goldens):
    """The recorded network with the recorded weights, in eval mode; tests must not change it."""
    import minimask as mm

    model = mm.models.mask_rcnn(**narrow_options(meta))
    mm.load_weights(model, goldens / "maskrcnn.safetensors")
    return model.eval()
