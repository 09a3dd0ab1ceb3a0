"""`--proposals`: a file of regions or the network that proposes them, and where it does not fit."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import minimask as mm
from minimask.data import Shapes
from minimask.evaluate import evaluate
from minimask.tools.cli import WrongUse, regions, sources

CLASSES = ("square", "disk", "triangle", "star")
TINY = {"stem_channels": 8, "fpn_channels": 8}


@pytest.fixture(scope="module")
def fast():
    model = mm.models.fastrcnn_laptop(list(CLASSES), box_head_width=8, **TINY)
    model.roi_heads.score_thresh = 0.0
    return model


@pytest.fixture
def file(tmp_path):
    results = [
        {"image_id": i, "category_id": 1, "bbox": [4 * i, 5, 20, 30], "score": 0.5} for i in (1, 2)
    ]
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps(results))
    return path


def test_a_model_that_looks_for_itself_takes_none(file):
    with pytest.raises(WrongUse, match="retinanet_laptop finds out itself: leave it out"):
        regions.use_proposals(mm.models.retinanet_laptop(list(CLASSES), **TINY), file)
    assert regions.use_proposals(mm.models.retinanet_laptop(list(CLASSES), **TINY), None) is None


def test_training_takes_no_file(file, tmp_path):
    with pytest.raises(WrongUse, match="training changes the images"):
        regions.for_training(file)
    regions.for_training(None)
    regions.for_training(tmp_path)


def test_a_missing_file_is_named(fast, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        regions.use_proposals(fast, tmp_path / "nothing.json")


@pytest.mark.parametrize("own", [True, False], ids=["of its run", "given"])
def test_a_network_becomes_the_proposer(fast, tmp_path, monkeypatch, own):
    rpn = mm.models.rpn_laptop(list(CLASSES), **TINY)
    monkeypatch.setattr(sources, "open_model", lambda path: SimpleNamespace(model=rpn))
    given = (None, str(tmp_path)) if own else (tmp_path, "elsewhere")
    before = fast.proposer
    assert regions.use_proposals(fast, *given) is None
    assert fast.proposer is rpn
    fast.proposer = before
    other = mm.models.retinanet_laptop(list(CLASSES), **TINY)
    monkeypatch.setattr(sources, "open_model", lambda path: SimpleNamespace(model=other))
    with pytest.raises(ValueError, match="retinanet_laptop proposes no regions"):
        regions.use_proposals(fast, *given)


def test_regions_of_a_file_are_evaluated(fast, file):
    proposals = regions.use_proposals(fast, file)
    data = Shapes(count=2, size=64)
    found = []
    options = {"proposals": proposals, "progress": False}
    evaluate(fast, data, on_image=lambda sample, d: found.append(d), **options)
    boxes = [np.array([[4 * i, 5, 4 * i + 20, 35]], np.float32) for i in (1, 2)]
    for one, expected in zip(found, fast.predict([s.image for s in data], boxes), strict=True):
        assert len(one) == len(expected) > 0
        np.testing.assert_allclose(one.boxes, expected.boxes, atol=1e-4)
    with pytest.raises(ValueError, match="no regions of image 3; they have 1, 2"):
        evaluate(fast, Shapes(count=3, size=64), **options)


def test_threads_are_set_before_a_recipe_looks_at_the_model(tmp_path):
    given = {"recipe": "demo", "model": "fasterrcnn_laptop", "threads": 1, "steps": 0}
    given |= {"resume": False, "quiet": True}
    program = (
        "import sys; from pathlib import Path; from minimask.tools.cli.train import run;"
        f"run({given!r} | {{'out': Path(sys.argv[1])}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run")], capture_output=True, text=True
    )
    assert "--steps: expected a number of at least 1" in done.stderr and "NumPy" not in done.stderr
    assert not Path(tmp_path / "run").exists()
