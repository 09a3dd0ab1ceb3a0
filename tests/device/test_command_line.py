"""`--device cuda` from the command line, on the stand-in."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from minimask import open_run
from minimask.tools.cli import make_app, train
from minimask.train import memory

SMALL = [
    *("--option", "layers=[1,1,1,1]", "--option", "fpn_channels=16"),
    *("--option", "box_head_width=16", "--option", "mask_head_channels=[16]"),
    *("--option", "mask_predictor_channels=16", "--option", "box_batch_size_per_image=16"),
]


def run(*words):
    with pytest.raises(SystemExit) as ended:
        make_app(debug=True)(args=list(words), prog_name="minimask")
    return ended.value.code


def test_train_on_a_gpu_evaluate_on_the_cpu(cupy_stand_in, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "SIDES", (64, 128))
    out = tmp_path / "run"
    data = ["--data", "shapes", "--shapes-size", "64", "--size", "64"]
    training = ["--steps", "2", "--batch", "1", "--pictures", "1"]
    words = ["train", "--out", str(out), *data, *training, *SMALL]
    original = train.choose_settings

    def with_one_image(*arguments):
        settings = original(*arguments)
        return dataclasses.replace(settings, data=dataclasses.replace(settings.data, val_count=1))

    monkeypatch.setattr(train, "choose_settings", with_one_image)
    assert run(*words, "--device", "cuda") == 0
    said = capsys.readouterr()
    assert "a step of 1 images of 64 x 64 needs about" in said.err
    assert "in a step 3 times the CPU waited for the GPU: matched anchors" in said.err
    assert json.loads((out / "metrics.json").read_text())["step"] == 2
    model = open_run(out).model
    assert model.device == "cpu"
    assert all(np.isfinite(p.data).all() for p in model.parameters())
    assert run("evaluate", str(out), "--limit", "1", "--device", "cuda", "--quiet") == 0
    assert "AP50" in capsys.readouterr().out
