"""Semantic segmenters through the commands: train, resume, evaluate, predict."""

from __future__ import annotations

import csv
import json
import pathlib

import numpy as np
import pytest
import runs
from PIL import Image

from minimask.train import open_run

SMALL = ("--option", "widths=[4,8]", "--shapes-size", 32, "--batch", 2, "--warmup", 2)
TRAIN = ("train", "--quiet", "--data", "shapes", "--model", "unet_laptop", *SMALL)
TRAIN += ("--val-limit", 2, "--pictures", 1, "--checkpoint-every", 2)
SETTINGS_VAL = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    """Four steps of a small U-Net."""
    out = tmp_path_factory.mktemp("semantic") / "run"
    done = runs.invoke(*TRAIN, "--steps", 4, "--eval-every", 2, "--out", out)
    assert done.exit_code == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    image = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)
    return path


def test_a_run_leaves_weights_curves_and_pictures(run):
    names = {path.name for path in run.iterdir()}
    assert {"model.safetensors", "iou.csv", "iou.png", "losses.png", "metrics.json"} <= names
    assert "ap.csv" not in names
    assert list((run / "pictures").glob("*.png"))
    with open(run / "iou.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["mean_iou"] == pytest.approx(float(rows[-1]["mean_iou"]), abs=1e-5)
    assert set(metrics["iou"]) == {"background", "circle", "square", "triangle", "star"}
    assert set(metrics["best"]) == {"step", "mean IoU"}
    with open(run / "log.csv", newline="") as file:
        steps = list(csv.DictReader(file))
    assert len(steps) == 4 and all(float(row["loss_pixels"]) > 0 for row in steps)
    with open(run / "val_losses.csv", newline="") as file:
        assert all(float(row["loss_pixels"]) > 0 for row in csv.DictReader(file))


def test_a_run_that_was_stopped_ends_with_the_same_weights(run, tmp_path):
    """Two steps, then two more, against four at once: to the last bit."""
    from minimask.train.loop import train
    from minimask.train.run import new_model, open_data
    from minimask.train.settings import RunSettings

    settings = RunSettings.read(run / "settings.json")
    dataset, _ = open_data(settings)
    model = new_model(settings, dataset.classes)
    state = {"steps": 0}
    losses = model.losses

    class Stop(Exception):
        pass

    def failing(*args, **options):
        state["steps"] += 1
        if state["steps"] > 3:
            raise Stop
        return losses(*args, **options)

    object.__setattr__(model, "losses", failing)
    with pytest.raises(Stop):
        train(model, dataset, settings, tmp_path / "run", progress=False)
    again = new_model(settings, dataset.classes)
    train(again, dataset, settings, tmp_path / "run", resume=True, progress=False)
    whole = open_run(run).model.state_dict()
    for name, array in open_run(tmp_path / "run").model.state_dict().items():
        np.testing.assert_array_equal(array, whole[name], err_msg=name)


def test_a_finished_run_says_what_it_reached(run):
    done = runs.invoke("train", "--out", run, "--resume", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert "mean iou 0." in done.stdout and "iou.png" in done.stdout


def test_it_is_evaluated_by_pixel_iou(run, tmp_path):
    done = runs.invoke(
        *("evaluate", run, "--data", "shapes", "--count", 3, "--size", 32),
        *("--out", tmp_path / "found", "--pictures", 2, "--quiet"),
    )
    assert done.exit_code == 0, done.stderr
    for word in ("background", "star", "foreground", "pixel accuracy", "ms per image"):
        assert word in done.stdout
    metrics = json.loads((tmp_path / "found" / "metrics.json").read_text())
    assert metrics["images"] == 3 and sum(metrics["pixels"].values()) == 3 * 32 * 32
    assert len(list((tmp_path / "found" / "pictures").iterdir())) == 2


@pytest.mark.parametrize("option", [("--results", "r.json"), ("--max-detections", 5)])
def test_evaluate_refuses_what_is_for_objects(run, option, tmp_path):
    words = [tmp_path / o if str(o).endswith("json") else o for o in option]
    done = runs.invoke("evaluate", run, "--data", "shapes", "--count", 1, *words)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1 and f"{option[0]} is for objects" in done.stderr


def test_predict_draws_and_writes_label_maps(run, photo, tmp_path):
    out = tmp_path / "out"
    done = runs.invoke("predict", photo, "--weights", run, "--out", out, "--quiet")
    assert done.exit_code == 0, done.stderr
    assert {p.name for p in out.iterdir()} == {"photo.png", "photo-labels.png", "predictions.json"}
    labels = np.asarray(Image.open(out / "photo-labels.png"))
    wanted = open_run(run).model.predict([np.asarray(Image.open(photo))])[0]
    np.testing.assert_array_equal(labels, wanted.labels)
    (entry,) = json.loads((out / "predictions.json").read_text())
    assert entry["pixels"] == wanted.pixels() and (entry["width"], entry["height"]) == (51, 37)


@pytest.mark.parametrize("option", [("--score", 0.4), ("--cutouts",), ("--results", "r.json")])
def test_predict_refuses_what_is_for_objects(run, photo, option, tmp_path):
    done = runs.invoke("predict", photo, "--weights", run, "--out", tmp_path / "out", *option)
    assert done.exit_code == 2
    assert f"{option[0]} is for objects" in done.stderr and "unet_laptop" in done.stderr
    assert not (tmp_path / "out").exists()


def test_predict_does_not_write_its_labels_onto_an_image(run, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a-labels.png")
    before = runs.files_in(tmp_path)
    done = runs.invoke(
        *("predict", tmp_path / "a-labels.png", tmp_path / "a.png"),
        *("--weights", run, "--out", tmp_path, "--force", "--quiet"),
    )
    assert done.exit_code == 1 and "read by this command" in done.stderr
    assert runs.files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--anchors", "8,16"), "unet_laptop: no option 'anchor_sizes'"),
        (("--trainable-layers", 2), "unet_laptop: no option 'trainable_layers'"),
        (("--detections", 5), "unet_laptop: no option 'box_detections_per_img'"),
    ],
)
def test_train_refuses_what_the_network_has_not(words, message, tmp_path):
    done = runs.invoke(*TRAIN, "--steps", 1, "--out", tmp_path / "run", *words)
    assert done.exit_code == 1 and message in done.stderr
    assert "Traceback" not in done.stderr


def test_training_goes_on_from_its_weights(run, tmp_path):
    done = runs.invoke(
        *("train", "--quiet", "--data", "shapes", "--shapes-size", 32, "--weights", run),
        *("--steps", 1, "--batch", 1, "--val-limit", 1, "--out", tmp_path / "more"),
    )
    assert done.exit_code == 0, done.stderr
    config = open_run(tmp_path / "more").model.config
    assert config["model"] == "unet_laptop" and config["widths"] == [4, 8]
