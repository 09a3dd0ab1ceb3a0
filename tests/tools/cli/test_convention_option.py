"""`--convention` of the commands that open a model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import runs
from PIL import Image

import minimask as mm
from minimask.data import Shapes
from minimask.models import build
from minimask.tools.cli.sources import open_model
from minimask.tools.cli.train_settings import choose_settings
from minimask.train import checkpoint
from minimask.train.settings import ModelSettings

CONFIG = {**runs.NETWORK, "classes": ["circle", "square"], "min_size": 64, "max_size": 64}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of a small network under torchvision's convention, and an image."""
    folder = tmp_path_factory.mktemp("weights")
    model = build({**CONFIG, "convention": "torchvision"})
    about = {"minimask": json.dumps({"model": model.config})}
    checkpoint.write_arrays(folder / "model.safetensors", model.state_dict(), about)
    Image.fromarray(Shapes(1, 80, seed=2)[0].image).save(folder / "photo.png")
    return folder / "model.safetensors"


def test_the_option_takes_the_place_of_what_the_file_says(weights):
    assert open_model(weights).model.convention == mm.conventions.TORCHVISION
    opened = open_model(weights, convention="exact").model
    assert opened.convention == mm.conventions.EXACT
    assert opened.config["convention"] == "exact"


def test_a_convention_that_does_not_fit_is_refused_in_one_sentence(weights):
    """torchvision's weights have rows for background, which detectron2's have not."""
    with pytest.raises(ValueError, match=r"--convention detectron2 does not fit these weights"):
        open_model(weights, convention="detectron2")
    done = runs.invoke("info", weights, "--convention", "detectron2")
    assert done.exit_code == 1 and len(done.stderr.strip().splitlines()) == 1
    assert "last class is background" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("info", "WEIGHTS"),
        ("predict", "PHOTO", "--weights", "WEIGHTS", "--out", "OUT"),
        ("segment", "PHOTO", "--weights", "WEIGHTS", "--out", "OUT/x.png", "--method", "maskrcnn"),
        ("evaluate", "WEIGHTS", "--data", "shapes", "--count", "1", "--size", "64"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_takes_it(weights, tmp_path, words, monkeypatch):
    places = {"WEIGHTS": weights, "PHOTO": weights.with_name("photo.png")}
    words = [str(places.get(w, w)).replace("OUT", str(tmp_path)) for w in words]
    unknown = runs.invoke(*words, "--convention", "exactly")
    assert unknown.exit_code == 2 and "did you mean 'exact'" in unknown.stderr
    used = []
    original = mm.models.detector.Detector.prepare

    def noted(self, images, rng=None):
        used.append(self.convention.name)
        return original(self, images, rng)

    monkeypatch.setattr(mm.models.detector.Detector, "prepare", noted)
    done = runs.invoke(*words, "--convention", "exact")
    assert done.exit_code == 0, done.stderr
    assert set(used) <= {"exact"} and (used or words[0] == "info")


def test_detections_have_no_convention(tmp_path):
    done = runs.invoke(
        "evaluate", "--detections", "a.json", "--annotations", "b.json", "--convention", "exact"
    )
    assert done.exit_code == 2 and "leave one out" in done.stderr


def test_info_of_a_name(tmp_path):
    plain, other = (
        json.loads(runs.invoke("info", "maskrcnn_laptop", "--json", *words).stdout)
        for words in ((), ("--convention", "detectron2"))
    )
    assert plain != other


def test_a_run_is_trained_under_it(tmp_path):
    given = {"data": "shapes", "convention": "paper"}
    settings = choose_settings(dict(given), tmp_path / "run", resume=False)
    model = build(settings.model.config(("a",), 0))
    assert model.convention == mm.conventions.PAPER
    with pytest.raises(ValueError, match=r"--convention: 'papers' is none of"):
        ModelSettings(convention="papers")


def test_a_run_from_weights_keeps_their_convention_unless_told(weights):
    from minimask.train.settings import RunSettings
    from minimask.train.start import adopt, read_start

    for chosen, expected in ((None, "torchvision"), ("exact", "exact")):
        model = {"weights": str(weights)} | ({"convention": chosen} if chosen else {})
        settings = RunSettings.of({"data": "shapes", **model})
        taken, _ = adopt(settings, read_start(settings), set(model) - {"weights"}, {})
        config = taken.model.config(("circle", "square"), 0)
        assert build(config).convention.name == expected
        assert np.shape(config["classes"]) == (2,)
