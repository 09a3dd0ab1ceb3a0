"""`minimask weights`: inspect, convert, export, list, compare."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from runs import invoke, make_run

import minimask as mm
from minimask.data.shapes import Shapes
from minimask.tools.cli.train_words import Beginning
from minimask.train import RunSettings
from minimask.weights import read_source
from minimask.weights.published import published


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("weights") / "run")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(Shapes(1, (60, 80), seed=3)[0].image).save(path)
    return path


def width_of(path):
    with Image.open(path) as image:
        return image.width


def test_inspect_says_what_a_run_is(run):
    text = invoke("weights", "inspect", run).stdout
    assert "maskrcnn_laptop" in text and "4: circle, square, triangle, star" in text
    assert "roi_heads.mask_predictor" in text and "nothing looks wrong" in text
    assert len(text.splitlines()) < 40, "every array is only shown with --all"
    every = invoke("weights", "inspect", run, "--all").stdout
    assert "rpn.head.cls_logits.bias" in every


def test_inspect_as_json_counts_what_is_there(run):
    found = json.loads(invoke("weights", "inspect", run, "--json").stdout)
    arrays = read_source(run).arrays
    assert found["numbers"] == sum(a.size for a in arrays.values())
    assert {a["name"] for a in found["arrays"]} >= set(arrays)
    assert sum(part["arrays"] for part in found["parts"]) == len(arrays)
    assert found["findings"] == [] and found["container"] == "safetensors"


def test_inspect_names_what_looks_wrong(tmp_path):
    arrays = {
        "conv1.weight": np.full((4, 3), np.nan, np.float32),
        "bn1.running_var": np.full(4, -1, np.float32),
        "fc.weight": np.zeros((2, 2), np.float32),
        "layer.weight": np.ones((2, 2), np.int8),
        "big.weight": np.full((2, 2), 1e6, np.float32),
    }
    np.savez(tmp_path / "w.npz", **arrays)
    text = invoke("weights", "inspect", tmp_path / "w.npz").stdout
    for words in ("NaN or infinite values: conv1", "variances below 0: bn1", "all 0: fc"):
        assert words in text
    assert "hold whole numbers: layer" in text and "above 10000: big" in text


@pytest.fixture(scope="module")
def with_more(run, tmp_path_factory):
    """A file that has something besides weights."""
    path = tmp_path_factory.mktemp("more") / "more.pkl"
    path.write_bytes(pickle.dumps({**read_source(run).arrays, "epoch": 3}))
    return path


def test_what_is_left_out_of_a_file_is_said_once(with_more, tmp_path):
    words = "epoch beside the weights: no array, left out"
    model = ("--model", "maskrcnn_laptop")
    done = invoke("weights", "convert", with_more, tmp_path / "w.npz", *model)
    assert done.stderr.count(words) == 1 and str(with_more) in done.stderr
    assert words not in done.stdout
    assert words in invoke("weights", "inspect", with_more).stdout


def test_what_is_left_out_is_said_before_training(with_more, tmp_path, capsys):
    settings = RunSettings.of({"data": "shapes", "weights": str(with_more)})
    Beginning({"model": "maskrcnn_laptop"}, tmp_path / "new", False).adopt(settings)
    assert capsys.readouterr().err.count("epoch beside the weights") == 1


def test_inspect_of_nothing_is_a_sentence(tmp_path):
    done = invoke("weights", "inspect", tmp_path / "none.pth")
    assert done.exit_code == 1 and "none.pth" in done.stderr


def test_what_was_converted_opens_without_options(run, tmp_path):
    out = tmp_path / "again.safetensors"
    done = invoke("weights", "convert", run, out)
    assert done.exit_code == 0 and "maskrcnn_laptop, 4 classes" in done.stdout
    before, after = read_source(run), read_source(out)
    assert after.config == before.config
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(after.arrays[name], array)
    assert invoke("weights", "convert", run, tmp_path / "a.npz").exit_code == 0
    with np.load(tmp_path / "a.npz") as archive:
        assert set(archive.files) == set(before.arrays)


@pytest.mark.parametrize(
    ("out", "words", "code"),
    [
        ("{run}/model.safetensors", "is read by this command", 1),
        ("{folder}/there.npz", "exists already", 1),
        ("{folder}/new.pth", "ends in .safetensors or .npz", 2),
    ],
)
def test_convert_spoils_nothing(run, tmp_path, out, words, code):
    (tmp_path / "there.npz").write_bytes(b"mine")
    target = out.format(run=run, folder=tmp_path)
    done = invoke("weights", "convert", run, target)
    assert done.exit_code == code and words in done.stderr
    assert (tmp_path / "there.npz").read_bytes() == b"mine"
    forced = invoke("weights", "convert", run, run / "model.safetensors", "--force")
    assert forced.exit_code == 1 and "is read by this command" in forced.stderr


def test_export_gives_back_the_same_arrays(run, tmp_path):
    done = invoke("weights", "export", run, tmp_path / "m.pth", "--to", "torchvision")
    assert done.exit_code == 0, done.stderr
    ours, theirs = read_source(run).arrays, read_source(tmp_path / "m.pth").arrays
    assert set(ours) <= set(theirs)
    for name, array in ours.items():
        np.testing.assert_array_equal(theirs[name], array)
    wrong = invoke("weights", "export", run, tmp_path / "m.pth", "--to", "keras", "--force")
    assert wrong.exit_code == 2 and "--to: expected one of" in wrong.stderr


def test_list_shows_what_is_known_and_what_is_not():
    text = invoke("weights", "list", "MSRA").stdout
    assert "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl" in text
    assert "size not known, SHA-256 not known" in text
    entries = json.loads(invoke("weights", "list", "--json").stdout)
    assert len(entries) == len(published())
    assert any(entry["sha256"] for entry in entries) and entries[0]["size"]
    assert invoke("weights", "list", "--system", "keras").exit_code == 2
    none = invoke("weights", "list", "nothing-like-this")
    assert none.exit_code == 1 and "no published file" in none.stderr


def test_get_of_an_unknown_name_is_wrong_use():
    done = invoke("weights", "get", "maskrcnn_resnet50_fpm")
    assert done.exit_code == 2 and "did you mean maskrcnn_resnet50_fpn" in done.stderr


def test_compare_two_files(run, photo, tmp_path):
    model = mm.models.build(read_source(run).config)
    mm.load_weights(model, run)
    model.rpn.head.cls_logits.bias.data += 0.5
    from minimask.weights import save_weights

    save_weights(model, tmp_path / "other.safetensors")
    page, picture = tmp_path / "two.html", tmp_path / "two.png"
    done = invoke(
        *("weights", "compare", run, tmp_path / "other.safetensors", "--image", photo),
        *("--out", page, "--picture", picture),
    )
    assert done.exit_code == 0, done.stderr
    assert "1 differ" in done.stdout and "rpn.head.cls_logits.bias" in done.stdout
    assert "transform/image" in done.stdout and "found:" in done.stdout
    assert "Stage by stage" in page.read_text() and width_of(picture) > 500
    same = invoke("weights", "compare", run, run, "--image", photo).stdout
    assert "0 differ" in same and "the same to the last bit" in same


def test_compare_with_a_switched_field(run, photo, tmp_path):
    page, picture = tmp_path / "flip.html", tmp_path / "flip.png"
    done = invoke(
        *("weights", "compare", run, "--flip", "paste", "--image", photo),
        *("--out", page, "--picture", picture),
    )
    assert done.exit_code == 0, done.stderr
    assert "paste" in done.stdout and "matterport" in done.stdout
    assert width_of(picture) > 500 and "<img src=" in page.read_text()
    again = invoke("weights", "compare", run, "--flip", "paste", "--out", page)
    assert again.exit_code == 1 and "exists already" in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a second file"),
        (("--flip", "roi_alined"), "did you mean roi_aligned?"),
        (("--flip", "paste", "--gt", "a.json"), "--gt belongs to"),
        (("--flip", "paste", "--out", "a.txt"), "--out: expected a file that ends in .html"),
    ],
)
def test_compare_refuses_what_makes_no_sense(run, words, message):
    done = invoke("weights", "compare", run, *words)
    assert done.exit_code == 2 and message in done.stderr
