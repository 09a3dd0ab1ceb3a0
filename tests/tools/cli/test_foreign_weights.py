"""Files of other systems on the command line: whose they are, and used under their choices."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from minimask.tools.cli import make_app
from minimask.train import open_run


@pytest.fixture
def minimask(capsys):
    def go(*words):
        with pytest.raises(SystemExit) as ended:
            make_app()(args=[*map(str, words)], prog_name="minimask")
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return go


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No validation data: evaluations are tested elsewhere."""
    from minimask.train import run

    whole = run.open_data
    monkeypatch.setattr(run, "open_data", lambda settings: (whole(settings)[0], None))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("detectron2/mask_rcnn_R_50_C4.pkl", "detectron2, Mask R-CNN R50-C4, 6 classes"),
        ("mmdet/mask-rcnn_r50-caffe_fpn.pth", "mmdet, Mask R-CNN R50-FPN, 6 classes, convention m"),
    ],
)
def test_predict_says_whose_file_it_is(minimask, goldens, tmp_path, name, words):
    out = tmp_path / "found"
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    code, _, err = minimask(
        "predict", tmp_path / "a.png", "--weights", goldens / name, "--out", out
    )
    assert code == 0, err
    assert words in err


def test_train_takes_network_and_convention_over(minimask, goldens, tmp_path):
    weights = goldens / "mmdet/mask-rcnn_r50-caffe_fpn.pth"
    words = ["--data", "shapes", "--steps", 1, "--batch", 1, "--warmup", 0, "--lr", 0]
    sizes = ["--min-size", 64, "--max-size", 96]
    code, _, err = minimask("train", "--weights", weights, *words, *sizes, "--out", tmp_path / "r")
    assert code == 0, err
    assert "convention mmdet_caffe" in err
    model = open_run(tmp_path / "r").model
    assert model.convention.name == "mmdet_caffe" and model.config["convention"] == "mmdet_caffe"
    settings = json.loads((tmp_path / "r" / "settings.json").read_text())
    assert 'convention="mmdet_caffe"' in settings["model"]["options"]


def test_another_network_is_refused_in_a_sentence(minimask, tmp_path):
    weights, out = tmp_path / "yolo.npz", tmp_path / "found"
    np.savez(weights, **{"model.0.conv.weight": np.zeros((1, 3, 3, 3), np.float32)})
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    given = ("--weights", weights, "--out", out)
    code, _, err = minimask("predict", tmp_path / "a.png", *given)
    assert code != 0 and "yolo.npz: a YOLO; minimask reads Mask, Faster" in " ".join(err.split())
