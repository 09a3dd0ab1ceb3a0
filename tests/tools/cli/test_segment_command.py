"""`minimask segment`, from images to the picture."""

from __future__ import annotations

import json
import pathlib
import re
import sys

import numpy as np
import pytest
import runs
from PIL import Image

from minimask.models import build
from minimask.tools.cli.segment import CLASSICAL, LEARNED, instances
from minimask.train import checkpoint

pytest.importorskip("scipy")
SIDE = 48
NETWORKS = {
    "unet": {"model": "unet_laptop", "widths": [4, 8]},
    "fcn8s": {"model": "fcn8s_laptop", "stem_channels": 8, "head_channels": [8]},
    "maskrcnn": {**runs.NETWORK, "min_size": SIDE, "max_size": SIDE},
}


@pytest.fixture
def photo(tmp_path) -> pathlib.Path:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    gray = np.full((SIDE, SIDE), 60, np.uint8)
    for x in (14, 34):  # side by side, with a gap
        gray[np.hypot(columns - x, rows - 24) < 8] = 200
    path = tmp_path / "photo.png"
    Image.fromarray(gray).save(path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, pathlib.Path]:
    folder = tmp_path_factory.mktemp("weights")
    for name, config in NETWORKS.items():
        model = build({**config, "classes": ["a", "b"]})
        about = {"minimask": json.dumps({"model": model.config})}
        checkpoint.write_arrays(folder / f"{name}.safetensors", model.state_dict(), about)
    return {name: folder / f"{name}.safetensors" for name in NETWORKS}


def lines(text: str) -> dict[str, int]:
    """Method to the number of regions, from what the command printed."""
    return {m[1]: int(m[2]) for m in re.finditer(r": (\w+): (\d+) (?:region|object)s?, ", text)}


def test_every_classical_method_is_on_the_picture(photo, tmp_path):
    pytest.importorskip("skimage")
    done = runs.invoke("segment", photo, "--out", tmp_path / "all.png", "--groups", 2)
    assert done.exit_code == 0, done.stderr
    found = lines(done.stdout)
    assert list(found) == list(CLASSICAL)
    assert found["otsu"] == found["threshold"] == found["histogram"] == found["edges"] == 2
    picture = np.asarray(Image.open(tmp_path / "all.png"))
    assert picture.ndim == 3 and picture.shape[1] > 3 * 480


def test_what_is_not_installed_is_left_out_of_all_and_refused_by_name(photo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    done = runs.invoke("segment", photo, "--out", tmp_path / "all.png")
    assert done.exit_code == 0, done.stderr
    assert list(lines(done.stdout)) == [name for name in CLASSICAL if name != "canny"]
    assert "left out: canny needs scikit-image" in done.stderr
    asked = runs.invoke("segment", photo, "--method", "otsu,canny", "--out", tmp_path / "b.png")
    assert asked.exit_code == 1 and "pip install 'minimask[classical]'" in asked.stderr
    assert lines(asked.stdout) == {} and not (tmp_path / "b.png").exists()


def test_learned_methods_stand_beside_the_others(photo, weights, tmp_path):
    given = [word for path in weights.values() for word in ("--weights", path)]
    done = runs.invoke(
        *("segment", photo, "--out", tmp_path / "x.png", "--score", 0.0),
        *("--method", "otsu,unet", "--method", "fcn8s,maskrcnn", *given),
    )
    assert done.exit_code == 0, done.stderr
    assert list(lines(done.stdout)) == ["otsu", "unet", "fcn8s", "maskrcnn"]


def test_all_takes_the_methods_whose_weights_there_are(photo, weights, tmp_path):
    pytest.importorskip("skimage")
    done = runs.invoke("segment", photo, "--out", tmp_path / "x.png", "--weights", weights["unet"])
    assert done.exit_code == 0, done.stderr
    assert list(lines(done.stdout)) == [*CLASSICAL, "unet"]


def test_regions_of_classical_and_semantic_methods_are_colored_apart(photo, tmp_path):
    done = runs.invoke("segment", photo, "--out", tmp_path / "x.png", "--method", "otsu")
    assert done.exit_code == 0, done.stderr
    picture = np.asarray(Image.open(tmp_path / "x.png")).astype(int)
    panel = picture[:, picture.shape[1] // 2 :]
    colored = panel[np.ptp(panel, axis=2) > 60]
    hues = {tuple(int(v) for v in np.argsort(pixel)) for pixel in colored[::37]}
    assert len(hues) >= 2  # the image is gray: two disks in two colors


def test_several_images_have_a_row_each(photo, tmp_path):
    other = tmp_path / "other.png"
    Image.fromarray(np.full((20, 60), 30, np.uint8)).save(other)
    out = tmp_path / "two.png"
    done = runs.invoke("segment", photo, other, "--out", out, "--method", "otsu,threshold")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count(str(other)) == 2
    one = runs.invoke("segment", photo, "--out", tmp_path / "one.png", "--method", "otsu,threshold")
    assert one.exit_code == 0
    both, alone = (np.asarray(Image.open(path)) for path in (out, tmp_path / "one.png"))
    assert len(both) > len(alone)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--method", "magic"), 2, "--method: expected all or some of threshold, otsu"),
        (("--method", ","), 2, "--method: expected one or more of"),
        (("--method", "unet"), 2, "--method unet is learned: add --weights RUN"),
        (("--method", "maskrcnn"), 2, "--model maskrcnn_laptop"),
        (("--groups", 1), 2, "--groups: expected 2 to 64, got 1"),
        (("--level", 300), 2, "--level: expected 0 to 255, got 300"),
        (("--score", 2), 2, "--score: expected 0 to 1"),
        (("--smallest", 0), 2, "--smallest: expected at least 1"),
        (("--method", "otsu", "--weights", "nowhere"), 1, "nowhere"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(words, code, message, photo, tmp_path):
    before = runs.files_in(tmp_path)
    done = runs.invoke("segment", photo, "--out", tmp_path / "x.png", *words)
    assert done.exit_code == code
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert runs.files_in(tmp_path) == before


def test_weights_and_methods_must_fit(photo, weights, tmp_path):
    out = tmp_path / "x.png"
    words = ("segment", photo, "--out", out, "--weights", weights["unet"])
    done = runs.invoke(*words, "--method", "fcn8s")
    assert done.exit_code == 2 and "are for unet: add --method unet" in done.stderr
    done = runs.invoke(*words, "--method", "unet,maskrcnn")
    assert done.exit_code == 2 and "none of --weights are of such a network" in done.stderr
    done = runs.invoke(*words, "--weights", weights["unet"], "--method", "unet")
    assert done.exit_code == 2 and "other weights for unet already" in done.stderr
    assert not out.exists()


def test_boxes_alone_are_no_segmentation(photo, tmp_path):
    config = {k: v for k, v in NETWORKS["maskrcnn"].items() if not k.startswith("mask_")}
    model = build({**config, "model": "fasterrcnn_laptop", "classes": ["a"]})
    about = {"minimask": json.dumps({"model": model.config})}
    checkpoint.write_arrays(tmp_path / "boxes.safetensors", model.state_dict(), about)
    done = runs.invoke(
        *("segment", photo, "--out", tmp_path / "x.png", "--method", "maskrcnn"),
        *("--weights", tmp_path / "boxes.safetensors"),
    )
    assert done.exit_code == 1 and "fasterrcnn_laptop gives no masks" in done.stderr


def test_nothing_is_written_onto_what_is_read(photo, weights, tmp_path):
    before = photo.read_bytes()
    done = runs.invoke("segment", photo, "--out", photo, "--method", "otsu", "--force")
    assert done.exit_code == 1 and "read by this command" in done.stderr
    assert photo.read_bytes() == before
    there = tmp_path / "there.png"
    there.write_text("mine")
    done = runs.invoke("segment", photo, "--out", there, "--method", "otsu")
    assert done.exit_code == 1 and "exists already" in done.stderr
    assert there.read_text() == "mine"
    assert (
        runs.invoke("segment", photo, "--out", there, "--method", "otsu", "--force").exit_code == 0
    )


def test_a_damaged_image_or_a_strange_suffix_leave_nothing(photo, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:60])
    done = runs.invoke("segment", photo, broken, "--out", tmp_path / "x.png", "--method", "otsu")
    assert done.exit_code == 1 and "broken.png" in done.stderr and not (tmp_path / "x.png").exists()
    done = runs.invoke("segment", photo, "--out", tmp_path / "x.tx", "--method", "otsu")
    assert done.exit_code == 1 and "unknown image format" in done.stderr


def test_of_overlapping_objects_the_better_is_on_top():
    class Two:
        image_size = (4, 6)

        def __len__(self):
            return 2

        def mask(self, i):
            mask = np.zeros((4, 6), bool)
            mask[:, 2 * i : 2 * i + 4] = True
            return mask

    numbers = instances(Two(), 1)
    assert (numbers[:, :4] == 1).all() and (numbers[:, 4:] == 2).all()
    assert instances(Two(), 9).max() == 1  # of the second 8 pixels are left


def test_the_learned_names_are_those_of_models():
    from minimask.models import MODELS

    for name in LEARNED:
        assert any(model.startswith(name) for model in MODELS)
