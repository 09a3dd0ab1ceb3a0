"""`minimask predict`: every kind of image is read, bad ones are named, nothing is overwritten."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from runs import files_in, invoke, make_coco, make_run

from minimask.data.segmentation import decode
from minimask.data.shapes import Shapes

SCORE = 0.06  # an untrained network is sure of nothing


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture
def images(tmp_path):
    """The same picture in every kind of file."""
    picture = Image.fromarray(Shapes(9, 64, seed=1)[4].image)
    folder = tmp_path / "images"
    folder.mkdir()
    picture.save(folder / "color.png")
    picture.save(folder / "color.jpg", quality=95)
    picture.convert("L").save(folder / "grey.png")
    picture.convert("RGBA").save(folder / "transparent.png")
    picture.quantize(64).save(folder / "palette.gif")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.tif")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


def test_every_kind_of_image(run, images, tmp_path) -> None:
    out = tmp_path / "out"
    result = invoke("predict", images, "--weights", run, "--out", out, "--score", SCORE, "--quiet")
    assert result.exit_code == 0, result.output
    content = json.loads((out / "predictions.json").read_text())
    assert [entry["file"].rpartition("/")[2] for entry in content] == [
        "color.jpg",
        "color.png",
        "deep.tif",
        "grey.png",
        "palette.gif",
        "transparent.png",
    ]
    # two files of one name get two pictures
    assert sorted(path.name for path in out.iterdir()) == [
        "color-2.png",
        "color.png",
        "deep.png",
        "grey.png",
        "palette.png",
        "predictions.json",
        "transparent.png",
    ]
    by_name = {entry["name"]: entry["objects"] for entry in content}
    assert by_name["transparent"] == by_name["color-2"]  # an opaque RGBA image is the RGB one
    assert by_name["deep"] == by_name["grey"]
    assert "6 images" in result.stdout


def test_json_pictures_and_cutouts_agree(run, images, tmp_path) -> None:
    out, results = tmp_path / "out", tmp_path / "results.json"
    words = ("predict", images / "color.png", "--weights", run, "--quiet", "--results", results)
    assert invoke(*words, "--out", tmp_path / "all").exit_code == 0
    scores = sorted(found["score"] for found in json.loads(results.read_text()))
    middle = sum(scores[1:3]) / 2
    assert scores[1] < middle < scores[2]
    words += ("--score", middle, "--cutouts", "--force", "--out", out)
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    (entry,) = json.loads((out / "predictions.json").read_text())
    assert (entry["width"], entry["height"]) == (64, 64)
    assert entry["objects"], "the test needs detections"
    cuts = sorted((out / "cutouts").iterdir())
    with_area = [found for found in entry["objects"] if found["area"]]
    assert len(cuts) == len(with_area) > 0
    for found, cut in zip(with_area, cuts, strict=True):
        assert found["score"] >= round(middle, 4) and found["class"] in cut.name
        mask = decode(found["mask"], 64, 64)
        assert mask.shape == (64, 64) and mask.sum() == found["area"]
        with Image.open(cut) as file:
            alpha = np.asarray(file)[:, :, 3]
        assert (alpha > 0).sum() == found["area"]
    coco = json.loads(results.read_text())
    assert len(coco) == len(entry["objects"]) + 2 == len(scores) and {
        found["image_id"] for found in coco
    } == {1}
    with Image.open(out / "color.png") as file:
        assert file.size == (512, 512)


def test_bad_images_are_named_and_the_others_done(run, images, tmp_path) -> None:
    whole = (images / "color.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    (images / "text.jpg").write_text("not an image")
    (images / "empty.png").write_bytes(b"")
    out = tmp_path / "out"
    result = invoke("predict", images, "--weights", run, "--out", out, "--quiet")
    assert result.exit_code == 1
    for name in ("cut.png", "text.jpg", "empty.png"):
        (line,) = [line for line in result.output.splitlines() if name in line]
        assert "left out" in line
    assert "3 of 9 images failed" in result.stderr
    assert "bug" not in result.output
    assert len(json.loads((out / "predictions.json").read_text())) == 6
    alone = invoke("predict", images / "text.jpg", "--weights", run, "--out", tmp_path / "new")
    assert alone.exit_code == 1 and not (tmp_path / "new").exists()


def test_ids_of_an_annotation_file(run, tmp_path) -> None:
    categories = [
        {"id": 10 * i, "name": name}
        for i, name in enumerate(("star", "circle", "triangle", "square"), start=1)
    ]
    coco = make_coco(tmp_path / "data", categories=categories)
    truth = json.loads((coco / "instances.json").read_text())
    for image in truth["images"]:
        image["id"] += 500
    (coco / "instances.json").write_text(json.dumps(truth))
    results = tmp_path / "results.json"
    words = ("predict", coco / "images", "--weights", run, "--out", tmp_path / "out", "--quiet")
    words += ("--results", results, "--annotations", coco / "instances.json", "--no-pictures")
    assert invoke(*words).exit_code == 0
    coco_results = json.loads(results.read_text())
    assert {found["image_id"] for found in coco_results} <= {501, 502, 503}
    assert {found["category_id"] for found in coco_results} <= {10, 20, 30, 40}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.json"]
    (coco / "images" / "000002.png").rename(coco / "images" / "stranger.png")
    result = invoke(*words, "--force")
    assert result.exit_code == 1 and "stranger.png" in result.stderr


def test_existing_output_is_kept_without_force(run, images, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "color.png").write_text("precious")
    words = ("predict", images / "color.png", "--weights", run, "--out", out, "--quiet")
    result = invoke(*words)
    assert result.exit_code == 1 and "is not empty" in result.stderr
    assert files_in(out) == {"color.png": b"precious"}
    assert invoke(*words, "--force").exit_code == 0
    assert sorted(files_in(out)) == ["color.png", "predictions.json"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("IMAGES/color.png", "--score", "2"), 2, "--score: expected 0 to 1, got 2.0"),
        (("IMAGES/color.png", "--batch", "0"), 2, "--batch: expected at least 1"),
        (("IMAGES/color.png", "--annotations", "a.json"), 2, "add --results"),
        (("IMAGES/colour.png",), 1, "did you mean 'color.png'?"),
        (("IMAGES/void",), 1, "no images in this folder"),
        (("IMAGES/color.png", "--weights", "IMAGES/void"), 1, "is no run"),
        (("IMAGES/color.png", "--weights", "IMAGES/nowhere"), 1, "no such run or weights"),
        (("IMAGES/color.png", "--weights", "IMAGES/color.png"), 1, "expected one of .safetensors"),
        (("IMAGES/color.png", "--out", "IMAGES/color.png"), 1, "is a file"),
    ],
)
def test_one_sentence_for_what_cannot_be(run, images, tmp_path, words, code, said) -> None:
    (images / "void").mkdir()
    before = files_in(tmp_path)
    words = [word.replace("IMAGES", str(images)) for word in words]
    for option, value in (("--weights", run), ("--out", tmp_path / "out")):
        words += [] if option in words else [option, value]
    result = invoke("predict", *words, "--quiet")
    assert result.exit_code == code, result.output
    assert said in result.stderr and result.stderr.count("\n") == 1
    assert "bug" not in result.stderr
    assert files_in(tmp_path) == before


def test_ctrl_c_says_how_far_it_came(run, images, tmp_path, monkeypatch) -> None:
    from minimask.models import MaskRCNN

    predict, calls = MaskRCNN.predict, []

    def interrupted(self, batch):
        calls.append(len(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(self, batch)

    monkeypatch.setattr(MaskRCNN, "predict", interrupted)
    out = tmp_path / "out"
    words = ("--weights", run, "--out", out, "--quiet", "--batch", 2)
    result = invoke("predict", images, *words)
    assert result.exit_code == 130
    assert "stopped after 2 of 6 images" in result.stderr
    assert sorted(files_in(out)) == ["color-2.png", "color.png"]
