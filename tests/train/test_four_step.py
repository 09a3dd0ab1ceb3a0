"""Alternating training: after step 3 the shared layers stay as they are, to the last bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minimask.data.shapes import Shapes
from minimask.models import build
from minimask.train.four_step import REPORT, STEPS, four_step, part_hash
from minimask.train.loop import Run
from minimask.train.settings import TrainSettings

CLASSES = ["circle", "star"]
SETTINGS = TrainSettings(steps=2, batch=2, warmup=0, pictures=0, lr=1e-2)


def network(features):
    return build(
        {
            "model": "maskrcnn_laptop",
            "classes": CLASSES,
            "features": features,
            "stem_channels": 8,
            "fpn_channels": 8,
            "box_head_width": 16,
            "mask_head_channels": [8],
            "mask_predictor_channels": 8,
            "box_batch_size_per_image": 16,
            "trainable_layers": 4,
        }
    )


def images():
    return Shapes(None, 48, 0, CLASSES, objects=(1, 1))


@pytest.fixture(scope="module", autouse=True)
def no_curves():
    """Drawing takes longer than training here, and is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minimask.draw.loss_curves", lambda *paths: None)
        yield


@pytest.fixture(scope="module", params=["c4", "fpn"])
def trained(request, tmp_path_factory):
    model = network(request.param)
    initial = {name: part_hash(part) for name, part in model.named_children()}
    out = tmp_path_factory.mktemp("runs") / "four"
    report = four_step(model, images(), SETTINGS, out, progress=False)
    return model, initial, report, out


def test_what_each_step_changes(trained) -> None:
    model, initial, report, out = trained
    assert [entry["step"] for entry in report["steps"]] == list(STEPS)
    one, two, three, four = (entry["hashes"] for entry in report["steps"])
    assert one["backbone"] != initial["backbone"] and one["rpn"] != initial["rpn"]
    assert one["roi_heads"] == initial["roi_heads"]
    # its own copy of the initial backbone, not the one of step 1
    assert two["backbone"] not in (initial["backbone"], one["backbone"])
    assert two["rpn"] == initial["rpn"] and two["roi_heads"] != initial["roi_heads"]
    assert three["backbone"] == two["backbone"] and three["roi_heads"] == two["roi_heads"]
    assert three["rpn"] not in (one["rpn"], initial["rpn"])
    assert four["backbone"] == two["backbone"] and four["rpn"] == three["rpn"]
    assert four["roi_heads"] != two["roi_heads"]
    assert four == {name: part_hash(part) for name, part in model.named_children()}
    assert json.loads((out / REPORT).read_text()) == report["steps"]


def test_batch_norm_of_frozen_layers_collects_nothing(trained) -> None:
    model, _, _, _ = trained
    counted = dict(model.backbone.named_buffers())
    assert counted["body.layer1.0.bn1.num_batches_tracked"] == SETTINGS.steps  # those of step 2
    assert counted["body.bn1.num_batches_tracked"] == 0  # the stem is frozen throughout


def test_flags_are_as_before(trained) -> None:
    model, _, _, _ = trained
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(n.startswith(("backbone.body.conv1", "backbone.body.bn1")) for n in frozen)


def test_goes_on_where_it_was_stopped(trained, tmp_path, monkeypatch) -> None:
    model, _, report, _ = trained
    again, count = network(model.config["features"]), 0
    advance = Run._advance

    def stopped(self, batch):
        nonlocal count
        count += 1
        if count == 6:  # in the middle of step 3
            raise KeyboardInterrupt
        return advance(self, batch)

    monkeypatch.setattr(Run, "_advance", stopped)
    with pytest.raises(KeyboardInterrupt):
        four_step(again, images(), SETTINGS, tmp_path / "r", progress=False)
    again = network(model.config["features"])
    found = four_step(again, images(), SETTINGS, tmp_path / "r", resume=True, progress=False)
    assert [e["hashes"] for e in found["steps"]] == [e["hashes"] for e in report["steps"]]
    assert not again.training
    for name, array in again.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[name])


def test_averaged_weights_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="ema"):
        four_step(network("fpn"), images(), TrainSettings(ema=0.9), tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
