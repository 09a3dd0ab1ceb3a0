"""Settings: JSON and back, differences by option name, values that cannot be."""

from __future__ import annotations

import json

import pytest

from minimask.train import checkpoint
from minimask.train.folder import FolderInUse, check, locked, prepare
from minimask.train.recipes import RECIPES
from minimask.train.settings import ModelSettings, RunSettings, TrainSettings

FILES = {"annotations": "/data/a.json", "images": "/data"}


def test_json_round_trip(tmp_path):
    settings = RunSettings.of(
        {"data": "shapes", "anchors": [8, 16], "augment": ["flip"], "lr": 0.01, "steps": 7}
    )
    assert settings.model.anchors == (8, 16)
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings.to_json()))
    assert RunSettings.read(path) == settings
    assert RunSettings.of(settings.flat()) == settings


def test_differences_name_the_options():
    a = RunSettings.of({"data": "shapes", "lr": 0.001, "min_size": (64,)})
    b = RunSettings.of({"data": "shapes", "lr": 0.002, "min_size": (64, 96)})
    assert b.differences(a) == [
        "--min-size: 64 there, 64,96 here",
        "--lr: 0.001 there, 0.002 here",
    ]
    assert a.differences(a) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "shapes", "lr": -1}, "--lr: expected"),
        ({"data": "shapes", "lr": float("nan")}, "--lr: expected"),
        ({"data": "shapes", "steps": 0}, "--steps: expected a number of at least 1, got 0"),
        ({"data": "shapes", "optimizer": "adam"}, "one of adamw, sgd, got 'adam'"),
        ({"data": "shapes", "schedule": "linear"}, "one of cosine"),
        ({"data": "shapes", "augment": ["flop"]}, "one of flip"),
        ({"data": "shapes", "anchors": [32, 16]}, "growing sizes"),
        ({"data": "shapes", "anchors": []}, "growing sizes"),
        ({"data": "shapes", "min_size": [300], "max_size": 200}, "--max-size"),
        ({"data": "shapes", "options": ["top"]}, "NAME=VALUE"),
        ({"data": "shapes", "ema": 1.0}, "--ema"),
        ({"data": "circles"}, "--data: expected one of files, shapes"),
        ({}, "which images"),
        ({"val_annotations": "a.json"}, "which images"),
        ({**FILES, "data_options": ["wite=3"]}, "did you mean --white"),
        ({"data": "shapes", "lrate": 1}, "unknown settings: lrate"),
    ],
)
def test_values_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        RunSettings.of(values)


def test_model_config():
    settings = ModelSettings(
        min_size=(64,), anchors=(8, 16), options=("rpn_nms_thresh=0.5", "convention=paper")
    )
    assert settings.config(("cell",), 3) == {
        "model": "maskrcnn_laptop",
        "classes": ["cell"],
        "seed": 3,
        "min_size": 64,
        "anchor_sizes": (8, 16),
        "norm": "batch",
        "rpn_nms_thresh": 0.5,
        "convention": "paper",
    }
    assert "norm" not in ModelSettings(weights="w.pth").config(("cell",), 0)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid(name):
    files = FILES if RECIPES[name]["data"] == "files" else {}
    settings = RunSettings.of({**RECIPES[name], **files})
    assert settings.train.warmup < settings.train.steps


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}', '{"format": 1}'])
def test_damaged_settings_are_named(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="not the settings of a run"):
        RunSettings.read(path)


def test_folder_of_another_run_is_refused(tmp_path):
    out = tmp_path / "run"
    first, second = (RunSettings(train=TrainSettings(lr=lr)) for lr in (0.1, 0.2))
    check(out, first, resume=False)
    out.mkdir()
    prepare(out, first)
    with pytest.raises(FolderInUse, match=r"already holds a run .0 of 1000 steps done.*--resume"):
        check(out, first, resume=False)
    check(out, first, resume=True)
    with pytest.raises(FolderInUse, match=r"--lr: 0\.1 there, 0\.2 here"):
        check(out, second, resume=True)
    assert RunSettings.read(out / "settings.json") == first


def test_other_files_are_not_written_over(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for resume in (False, True):
        with pytest.raises(FolderInUse, match=r"not empty .it holds thesis\.tex"):
            check(tmp_path, RunSettings(), resume=resume)
    with pytest.raises(FolderInUse, match="is a file"):
        check(tmp_path / "thesis.tex", RunSettings(), resume=False)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_folder_of_a_run_killed_before_it_began(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".writing-settings.json").touch()
    check(tmp_path, RunSettings(), resume=False)
    prepare(tmp_path, RunSettings())
    assert not (tmp_path / ".writing-settings.json").exists()
    assert checkpoint.find_latest(tmp_path) is None


def test_two_processes_cannot_train_into_one_folder(tmp_path):
    pytest.importorskip("fcntl")
    with locked(tmp_path), pytest.raises(FolderInUse, match="another process"):
        with locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
