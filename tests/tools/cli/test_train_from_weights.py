"""`minimask train --weights` and its relatives, as a user runs them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from runs import files_in, make_run
from safetensors.numpy import load_file, save_file

from minimask.tools.cli import make_app
from minimask.train import open_run
from minimask.train.recipes import RECIPES
from minimask.train.settings import RunSettings

OLD = ("circle", "square", "triangle")
SHORT = ["--data", "shapes", "--steps", 1, "--batch", 1, "--warmup", 0, "--lr", 0]


@pytest.fixture
def minimask(capsys):
    """Run `minimask train` in this process; gives the exit code and what it printed."""

    def go(*words, command="train"):
        with pytest.raises(SystemExit) as ended:
            make_app()(args=[command, *map(str, words)], prog_name="minimask")
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return go


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No validation data: evaluations take longer than all else here, and are tested elsewhere."""
    from minimask.train import run

    whole = run.open_data
    monkeypatch.setattr(run, "open_data", lambda settings: (whole(settings)[0], None))


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "old", OLD)


def settings_of(run):
    return RunSettings.read(run / "settings.json")


@pytest.mark.parametrize("kind", ["file", "run", "checkpoint"])
def test_fine_tuning_from_other_classes(minimask, old, tmp_path, kind):
    source = {
        "file": old / "model.safetensors",
        "run": old,
        "checkpoint": old / "checkpoints" / "step-000007",
    }[kind]
    words = ["--weights", source, "--classes", "moon,square", *SHORT, "--out", tmp_path / "new"]
    code, _, error = minimask(*words)
    assert code == 0, error
    assert "model.safetensors: the network is maskrcnn_laptop (its own settings)" in error
    assert (
        "4 -> 3 outputs: box and mask predictor start anew but for 'square', which both know; all "
        "else taken"
    ) in error
    a, b = (load_file(run / "model.safetensors") for run in (old, tmp_path / "new"))
    convolutions = [n for n in a if n.startswith("backbone") and a[n].ndim == 4]
    assert convolutions
    for name in convolutions:
        np.testing.assert_array_equal(a[name], b[name])
    scores = "roi_heads.box_predictor.cls_score.weight"
    np.testing.assert_array_equal(b[scores][[0, 2]], a[scores][[0, 2]])
    assert b[scores].shape[0] == 3


def test_options_of_the_file_are_taken_where_none_are_given(minimask, tmp_path):
    from minimask.models import build

    config = {
        "model": "maskrcnn_laptop", "classes": ["a"], "norm": "group", "fpn_channels": 8,
        "stem_channels": 8, "box_head_width": 16, "mask_head_channels": [8],
        "mask_predictor_channels": 8, "anchor_sizes": [8, 12, 16, 24, 32], "min_size": 64,
        "max_size": 96, "trainable_layers": 2, "box_detections_per_img": 7,
    }  # fmt: skip
    model = build(config)
    path = tmp_path / "w.safetensors"
    save_file(model.state_dict(), path, {"minimask": json.dumps({"model": model.config})})
    out = tmp_path / "new"
    code, _, error = minimask(
        "--weights", path, *SHORT, "--detections", 9, "--min-size", 48, "--out", out
    )
    assert code == 0, error
    chosen = settings_of(out).model
    assert (chosen.norm, chosen.anchors) == ("group", (8, 12, 16, 24, 32))
    assert (chosen.min_size, chosen.max_size, chosen.detections) == ((48,), None, 9)
    assert chosen.trainable_layers is None and "fpn_channels=8" in chosen.options
    assert "taken over with it: " in error and "norm group" in error
    # the run opens, and goes on without the file
    path.unlink()
    code, _, error = minimask("--out", out, "--resume", "--steps", 2)
    assert code == 0, error
    assert "trains on after step 1: 2 steps in place of 1; from here the learning rate" in error
    assert open_run(out).step == 2


def test_a_file_without_settings_is_recognised_everywhere(minimask, tmp_path, old):
    from minimask.models import maskrcnn_laptop

    plain = tmp_path / "plain.npz"
    np.savez(plain, **maskrcnn_laptop(list(OLD)).state_dict())
    out = tmp_path / "new"
    code, _, error = minimask("--weights", plain, *SHORT, "--size", 64, "--out", out)
    assert code == 0, error
    assert "names, maskrcnn_laptop with 4 outputs, convention exact" in error
    assert "4 -> 5 outputs: box and mask predictor start anew; all else taken" in error
    words = [plain, "--data", "shapes", "--classes", "circle", "--count", 1, "--size", 64]
    code, _, error = minimask(*words, "--quiet", command="evaluate")
    assert "names, maskrcnn_laptop with 4 outputs, convention exact" in error
    code, _, again = minimask(*words, "--quiet", "--model", "maskrcnn_laptop", command="evaluate")
    assert "do not fit" not in again  # as many classes as there are in the file


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--recipe", "finetune"], 2, "goes on from weights: add --weights FILE"),
        (["--weights", "OLD", "--backbone-weights", "OLD"], 2, "exclude each other"),
        (["--weights", "EMPTY"], 1, "a folder without weights"),
        (["--weights", "nowhere.pth"], 1, "nowhere.pth: no such weights"),
        (["--weights", "OLD", "--model", "maskrcnn_resnet18_fpn"], 1, "the model is a ResNet-18"),
        (["--weights", "OLD", "--norm", "group"], 1, "have running statistics"),
        (["--backbone-weights", "OLD", "--model", "maskrcnn_resnet18_fpn"], 1, "does not fit"),
        (["--trainable-layers", "6"], 2, "--trainable-layers: expected 0 to 5"),
        (["--patience", "2"], 2, "--patience counts evaluations"),
        (["--weights", "DAMAGED"], 1, "step-000007/model.safetensors: damaged"),
        (["--weights", "NAN"], 1, "NaN or infinite"),
    ],
)
def test_bad_starts_get_a_sentence_and_leave_nothing(minimask, old, tmp_path, words, code, message):
    (tmp_path / "EMPTY").mkdir()
    values = load_file(old / "model.safetensors")
    values["rpn.head.cls_logits.bias"][0] = np.nan
    save_file(values, tmp_path / "NAN.safetensors")
    make_run(tmp_path / "DAMAGED")
    damaged = tmp_path / "DAMAGED" / "checkpoints" / "step-000007" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:3000])
    named = {
        "OLD": old,
        "EMPTY": tmp_path / "EMPTY",
        "NAN": tmp_path / "NAN.safetensors",
        "DAMAGED": damaged.parent,
    }
    before = files_in(tmp_path)
    words = [named.get(word, word) for word in words]
    data = ["--data", "shapes", "--steps", 4] if "finetune" not in words else ["--data", "shapes"]
    ended, _, error = minimask(*words, *data, "--out", tmp_path / "run")
    assert ended == code, error
    assert message in error
    assert "Traceback" not in error and "bug" not in error
    assert len(error.splitlines()) <= 10
    assert files_in(tmp_path) == before


def test_backbone_and_frozen_layers(minimask, old, tmp_path):
    out = tmp_path / "new"
    words = ["--backbone-weights", old, "--trainable-layers", 2, *SHORT, "--out", out]
    network = {n: v for n, v in open_run(old).model.config.items() if n not in ("seed", "classes")}
    for name, value in network.items():
        if name not in ("model", "convention"):
            words += ["--option", f"{name}={json.dumps(value)}"]
    code, _, error = minimask(*words)
    assert code == 0, error
    assert re.search(r"the backbone, .* was taken with its feature pyramid; all else", error)
    assert re.search(r"million weights, [\d.]+ of them frozen", error)
    run = open_run(out)
    assert settings_of(out).model.trainable_layers == 2
    frozen = [n for n, p in run.model.named_parameters() if not p.requires_grad]
    assert any(n.startswith("backbone.body.layer2") for n in frozen)


def test_what_is_said_of_the_end():
    from pathlib import Path

    from minimask.tools.cli.train_words import closing

    metrics = {"AP": 0.5, "AP50": 0.5, "AP75": 0.5}
    summary = {
        "step": 40, "seconds": 9.0, "images_per_second": 1.0, "explanation": None, "box": metrics,
        "best": {"step": 20, "AP": 0.625}, "images": 3, "table": "AP",
    }  # fmt: skip
    text = closing(summary, Path("run"))
    assert "the best evaluation was after step 20 (AP 0.625); its weights: run/checkp" in text
    text = closing(summary | {"step": 20, "stopped_after": 40}, Path("run"))
    assert "stopped early after step 40, as AP was no better; the weights are the best" in text
    assert "40 steps in 9 s" in text
    assert "best" not in closing(summary | {"best": {"step": 40, "AP": 0.5}}, Path("run"))


def test_the_recipe_is_gentler_than_a_start_from_random_numbers():
    recipe, plain = RECIPES["finetune"], RunSettings.of({"data": "shapes"}).train
    assert recipe["lr"] < plain.lr and recipe["warmup"] < plain.warmup
    assert 0 < recipe["trainable_layers"] < 5 and recipe["augment"]
    assert "model" not in recipe  # the weights' own
