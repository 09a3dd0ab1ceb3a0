"""A detector on every body: trained, saved, opened again, traced, profiled.

One small body of each family, for a few steps.  All of them, with every kind of features that they
have, for twenty steps, and all of it traced and profiled (30 networks and these, many minutes):

    MINIMASK_EVERY_BODY=1 python -m pytest tests/models/test_every_body.py
"""

from __future__ import annotations

import json
import os

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

ALL = bool(os.environ.get("MINIMASK_EVERY_BODY"))
SIDE, STEPS = 64, 20 if ALL else 8
CLASSES = Shapes(1).classes
QUARTER = {"width_multiplier": 0.25}
BOTTLENECK = {"block": "bottleneck", "layers": [1, 1, 1, 1], "stem_channels": 8}
LATE = {"returned_layers": [4, 5], "anchor_sizes": [[8, 16, 32, 48, 64]] * 3}
SHORT = {
    "resnext": {**BOTTLENECK, "groups": 4, "width_per_group": 16},
    "vgg11_bn c4": {"backbone": "vgg11_bn", "width_multiplier": 0.125, "features": "c4"},
    "efficientnet_b0": {"backbone": "efficientnet_b0", **QUARTER},
    "mobilenet_v3_large": {"backbone": "mobilenet_v3_large", **QUARTER, **LATE},
}
LOOKED_AT = ("resnext", "efficientnet_b0")  # traced and profiled in the short form
FEATURES = {  # of which kinds each has any
    "resnet": ("fpn", "c4", "c5", "dc5"),
    "resnext": ("fpn", "c4", "c5", "dc5"),
    "wide": ("fpn", "c4", "c5", "dc5"),
    "vgg16": ("fpn", "c4", "c5"),
    "vgg16_bn": ("fpn", "c4", "c5"),
    "efficientnet_b0": ("fpn", "c4", "c5", "dc5"),
    "efficientnet_b3": ("fpn", "c4", "c5", "dc5"),
    "mobilenet_v3_large": ("fpn", "c4", "c5", "dc5"),
}
RESNETS = {
    "resnet": BOTTLENECK,
    "resnext": SHORT["resnext"],
    "wide": {**BOTTLENECK, "width_per_group": 128},
}
LONG = SHORT | {
    f"{name} {features}": RESNETS.get(name, {"backbone": name, **QUARTER}) | {"features": features}
    for name, kinds in FEATURES.items()
    for features in kinds
}
BODIES = LONG if ALL else SHORT
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
    """Few steps, small images: what each body has to itself is there all the same."""
    sizes = {**NETWORK, **BODIES[name]}
    options = tuple(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in sizes.items())
    run = tmp_path / "run"
    given = {"steps": STEPS, "batch": 2, "lr": 0.004, "warmup": 2, "options": options}
    given |= {"data": "shapes", "shapes_size": SIDE, "pictures": 0, "threads": 1}
    settings = RunSettings.of(given)
    train(
        new_model(settings, CLASSES), Shapes(4 if ALL else 2, SIDE), settings, run, progress=False
    )
    losses = np.array([float(row["loss"]) for row in read(run / "log.csv")])
    last = losses[-5 if ALL else -3 :]
    assert len(losses) == STEPS and last.mean() < 0.8 * losses[:3].mean()

    first, again = open_model(run).model, open_model(run).model
    assert first.config["model"] == "maskrcnn_laptop"
    image = Shapes(1, SIDE, seed=9)[0].image
    (one,), (two,) = first.predict([image]), again.predict([image])
    np.testing.assert_array_equal(one.boxes, two.boxes)
    np.testing.assert_array_equal(one.masks, two.masks)

    if not ALL and name not in LOOKED_AT:
        return
    invoke("trace", "--weights", run, "--out", tmp_path / "trace", "--size", SIDE, "--quiet")
    page = (tmp_path / "trace" / "index.html").read_text()
    assert f"backbone ({type(first.backbone.body).__name__})" in page

    out = tmp_path / "profile.json"
    words = ("--size", f"{SIDE}x{SIDE}", "--repeat", 1, "--batch", 1, "--quiet", "--json", out)
    invoke("profile", "--weights", run, *words)
    stages = {row.get("in", row["name"]) for row in json.loads(out.read_text())["stages"]}
    assert {"backbone stem", "backbone layer1", "backbone layer2", "backbone layer3"} <= stages
