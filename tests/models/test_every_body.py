"""A detector on every body: trained, saved, opened again, traced, profiled."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import minimask.tools.profile
from minimask.data.shapes import Shapes
from minimask.tools.cli import make_app
from minimask.tools.cli.sources import open_model
from minimask.tools.profile import Machine
from minimask.train import RunSettings, train
from minimask.train.log import read
from minimask.train.run import new_model

SIDE, STEPS = 64, 20
CLASSES = Shapes(1).classes
QUARTER = {"width_multiplier": 0.25}
BODIES = {
    "resnet18": {"block": "basic", "layers": [1, 1, 1, 1], "stem_channels": 8},
    "resnext": {
        "block": "bottleneck",
        "layers": [1, 1, 1, 1],
        "stem_channels": 8,
        "groups": 4,
        "width_per_group": 16,
    },
    "wide": {
        "block": "bottleneck",
        "layers": [1, 1, 1, 1],
        "stem_channels": 8,
        "width_per_group": 128,
    },
    "vgg11": {"backbone": "vgg11", "width_multiplier": 0.125},
    "vgg11_bn c4": {"backbone": "vgg11_bn", "width_multiplier": 0.125, "features": "c4"},
    "efficientnet_b0": {"backbone": "efficientnet_b0", **QUARTER},
    "efficientnet_b0 c4": {"backbone": "efficientnet_b0", **QUARTER, "features": "c4"},
    "efficientnet_b0 dc5": {"backbone": "efficientnet_b0", **QUARTER, "features": "dc5"},
    "mobilenet_v3_large": {
        "backbone": "mobilenet_v3_large",
        **QUARTER,
        "returned_layers": [4, 5],
        "anchor_sizes": [[8, 16, 32, 48, 64]] * 3,
    },
    "mobilenet_v3_small c5": {"backbone": "mobilenet_v3_small", **QUARTER, "features": "c5"},
}
NETWORK = {
    "anchor_sizes": [8, 16, 32, 48, 64],
    "fpn_channels": 16,
    "box_head_width": 32,
    "mask_head_channels": [16],
    "mask_predictor_channels": 16,
    "rpn_post_nms_top_n_train": 50,
    "rpn_post_nms_top_n_test": 30,
    "box_batch_size_per_image": 32,
    "box_detections_per_img": 5,
    "box_score_thresh": 0.01,
    "min_size": SIDE,
    "max_size": SIDE,
}


def invoke(*words: object) -> Result:
    result = CliRunner().invoke(make_app(), [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine that needs no measuring."""
    made_up = Machine(matrix_rate=100e9, bandwidth=10e9, threads=2)
    monkeypatch.setattr(minimask.tools.profile, "matrix_rate", lambda: 90e9)
    monkeypatch.setattr(minimask.tools.profile, "measure_machine", lambda rate_before: made_up)


@pytest.mark.parametrize("name", BODIES)
def test_trained_saved_opened_traced_profiled(name, tmp_path):
    sizes = {**NETWORK, **BODIES[name]}
    options = tuple(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in sizes.items())
    run = tmp_path / "run"
    given = {"steps": STEPS, "batch": 2, "lr": 0.004, "warmup": 2, "options": options}
    given |= {"data": "shapes", "shapes_size": SIDE, "pictures": 0}
    settings = RunSettings.of(given)
    train(new_model(settings, CLASSES), Shapes(4, SIDE), settings, run, progress=False)
    losses = np.array([float(row["loss"]) for row in read(run / "log.csv")])
    assert len(losses) == STEPS and losses[-5:].mean() < 0.8 * losses[:3].mean()

    first, again = open_model(run).model, open_model(run).model
    assert first.config["model"] == "maskrcnn_laptop"
    image = Shapes(1, SIDE, seed=9)[0].image
    (one,), (two,) = first.predict([image]), again.predict([image])
    np.testing.assert_array_equal(one.boxes, two.boxes)
    np.testing.assert_array_equal(one.masks, two.masks)

    invoke("trace", "--weights", run, "--out", tmp_path / "trace", "--size", SIDE, "--quiet")
    page = (tmp_path / "trace" / "index.html").read_text()
    assert f"backbone ({type(first.backbone.body).__name__})" in page

    out = tmp_path / "profile.json"
    words = ("--size", f"{SIDE}x{SIDE}", "--repeat", 1, "--batch", 1, "--quiet", "--json", out)
    invoke("profile", "--weights", run, *words)
    stages = {row.get("in", row["name"]) for row in json.loads(out.read_text())["stages"]}
    assert {"backbone stem", "backbone layer1", "backbone layer2", "backbone layer3"} <= stages
