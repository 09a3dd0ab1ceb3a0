"""`minimask predict`: every kind of image is read, bad ones are named, nothing is overwritten."""

from __future__ import annotations

import json
import re
import sys

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
        (
            ("IMAGES/color.png", "--weights", "IMAGES/color.png"),
            1,
            "a PNG image; expected a file of weights",
        ),
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


# ---------------------------------------------------------------- folders in folders, ids by path


@pytest.fixture
def plates(tmp_path):
    """The same names in two folders, and things that are no images."""
    folder = tmp_path / "plates"
    for i, name in enumerate(("a", "b/c")):
        (folder / name).mkdir(parents=True)
        Image.fromarray(Shapes(9, 64, seed=1)[i].image).save(folder / name / "cell.png")
    Image.fromarray(Shapes(9, 64, seed=1)[3].image).save(folder / "top.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes((folder / "top.png").read_bytes())
    (folder / "scan001").write_bytes((folder / "top.png").read_bytes())
    (folder / "b" / "circle").symlink_to(folder, target_is_directory=True)
    return folder


def predict(run, *words):
    return invoke("predict", "--weights", run, "--quiet", "--score", SCORE, *words)


def listing(file_names, categories=("star", "circle", "triangle", "square"), ids=None):
    """A list of test images: no annotations."""
    ids = ids or range(1, len(file_names) + 1)
    size = {"width": 64, "height": 64}
    images = [{"id": i, "file_name": n, **size} for i, n in zip(ids, file_names, strict=True)]
    return {
        "images": images,
        "categories": [{"id": i, "name": n} for i, n in enumerate(categories)],
    }


def test_what_is_passed_over_is_said(run, plates, tmp_path) -> None:
    result = predict(run, plates, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "passed over" in line]
    assert "2 images in subfolders: --recursive reads them" in line
    assert "images by content, not by name: " in line and "scan001: name them" in line
    assert "1 hidden image" in line and "1 other file (1 .txt)" in line
    named = predict(run, plates / "scan001", "--out", tmp_path / "named")
    assert named.exit_code == 0 and "passed over" not in named.stderr
    alone = predict(run, plates / "b", "--out", tmp_path / "none")
    assert alone.exit_code == 1 and "no images in this folder" in alone.stderr
    assert "subfolders: add --recursive" in alone.stderr


def test_recursive_mirrors_the_folders(run, plates, tmp_path) -> None:
    out = plates / "found"  # inside: its pictures are not read
    for _ in range(2):
        result = predict(run, plates, "--out", out, "--recursive", "--cutouts", "--force")
        assert result.exit_code == 0, result.output
        pictures = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
        assert {"top.png", "a/cell.png", "b/c/cell.png"} == {
            name for name in pictures if not name.startswith("cutouts/")
        }
        assert any(name.startswith("cutouts/b/c/cell-00-") for name in pictures)
    assert "3 images" in result.stdout


def test_results_have_the_ids_of_their_paths(run, plates, tmp_path) -> None:
    names = ["plates\\a\\cell.png", "plates/b/c/CELL.png", "x/top.png"]
    source, results = tmp_path / "list.json", tmp_path / "results.json"
    source.write_text(json.dumps(listing(names, ids=["first", 7, "third"])))
    words = ("--recursive", "--results", results, "--annotations", source, "--out", tmp_path / "o")
    result = predict(run, plates, *words)
    assert result.exit_code == 0, result.output
    entries = json.loads((tmp_path / "o" / "predictions.json").read_text())
    found = {entry["name"]: entry["image_id"] for entry in entries}
    assert found == {"a/cell": "first", "b/c/cell": 7, "top": "third"}
    assert {entry["image_id"] for entry in json.loads(results.read_text())} <= {"first", 7, "third"}
    assert "top.png: known in" in result.stderr and "name alone" in result.stderr


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["x/cell.png", "y/cell.png", "top.png"], "2 images of .* could be this one: 'x/cell.png'"),
        (["cell.png", "top.png"], "are both image 1 of"),
        (["a/cell.png", "b/c/cell.png"], "lists no image of the name 'top.png'"),
    ],
)
def test_doubtful_paths_are_named(run, plates, tmp_path, names, said) -> None:
    source = tmp_path / "list.json"
    source.write_text(json.dumps(listing(names)))
    before = files_in(tmp_path)
    words = ("--recursive", "--results", tmp_path / "r.json", "--annotations", source)
    result = predict(run, plates, *words, "--out", tmp_path / "out")
    assert result.exit_code == 1 and re.search(said, result.stderr), result.output
    assert files_in(tmp_path) == before


def test_nothing_is_written_onto_what_is_read(run, images, tmp_path) -> None:
    source = tmp_path / "list.json"
    source.write_text(json.dumps(listing(["color.png"])))
    (tmp_path / "link").symlink_to(images, target_is_directory=True)
    (tmp_path / "link.json").symlink_to(source)
    before = files_in(images), source.read_bytes()
    to_results = ("--annotations", source, "--out", tmp_path / "o", "--results")
    for words in (
        ("--out", images),
        ("--out", tmp_path / "link"),
        (*to_results, source),
        (*to_results, tmp_path / "link.json"),
        (*to_results, images / "color.png"),
        ("--out", tmp_path / "o", "--results", run / "model.safetensors"),
    ):
        result = predict(run, images / "color.png", *words, "--force")
        assert result.exit_code == 1 and "is read by this command" in result.stderr, words
        assert (files_in(images), source.read_bytes()) == before
    assert predict(run, images / "grey.png", "--out", tmp_path / "whole").exit_code == 0
    jpeg = predict(run, images / "color.jpg", "--out", images, "--force")
    assert jpeg.exit_code == 0  # color.png lies beside it, and is not one of the images


# ---------------------------------------------------------------- white, pages, failures


def test_white_and_pages(run, tmp_path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    for i in range(3):
        values = np.full((64, 64), 100, np.uint16)
        values[10:40, 10 + i : 40] = 3000
        Image.fromarray(values).save(folder / f"m{i}.png")
    pages = [Image.new("L", (64, 64), shade) for shade in (0, 200)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    plain = ("--score", 1)
    dark = predict(run, folder, "--out", tmp_path / "dark", *plain)
    (line,) = [line for line in dark.stderr.splitlines() if "16-bit" in line]
    assert "m0.png (and 2 others): 16-bit image" in line and line.endswith("say --white 4095")
    assert "stack.tif: 2 pages, the first is read; --page 2 chooses another" in dark.stderr

    def brightness(out):
        with Image.open(out) as picture:
            return np.percentile(np.asarray(picture.convert("L")), 80)

    for white in ("4095", "auto"):
        out = tmp_path / white
        bright = predict(run, folder / "m0.png", "--out", out, "--white", white, *plain)
        assert bright.exit_code == 0 and not bright.stderr
        assert brightness(out / "m0.png") > 150 > 20 > brightness(tmp_path / "dark" / "m0.png")
    second = predict(run, folder / "stack.tif", "--page", 2, "--out", tmp_path / "second", *plain)
    assert second.exit_code == 0 and brightness(tmp_path / "second" / "stack.png") > 190
    third = predict(run, folder / "stack.tif", "--page", 3, "--out", tmp_path / "third")
    assert third.exit_code == 1 and "has 2 pages, so there is no page 3" in third.stderr
    for words in (("--white", "bright"), ("--white", "0"), ("--page", "0")):
        assert predict(run, folder, "--out", tmp_path / "never", *words).exit_code == 2


def test_the_white_of_the_run_counts(tmp_path) -> None:
    run = make_run(tmp_path / "mine")
    path = run / "settings.json"
    settings = json.loads(path.read_text())
    settings["data"] |= {"data": "files", "white": 4095, "page": 1}
    path.write_text(json.dumps(settings))
    Image.fromarray(np.full((64, 64), 3000, np.uint16)).save(tmp_path / "m.png")
    for words, light in (((), True), (("--white", "65535"), False)):
        out = tmp_path / f"out{light}"
        result = predict(run, tmp_path / "m.png", "--out", out, *words)
        assert result.exit_code == 0, result.output
        with Image.open(out / "m.png") as picture:
            assert (np.median(np.asarray(picture)) > 150) == light


def test_any_failure_of_one_image_leaves_the_others(run, images, tmp_path, monkeypatch) -> None:
    from minimask.models import MaskRCNN

    (images / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    predict_images = MaskRCNN.predict

    def with_little_memory(self, batch):
        if len(batch) > 1 or batch[0].mean() == batch[0][0, 0, 0]:
            raise MemoryError("64 bytes")
        return predict_images(self, batch)

    Image.new("RGB", (64, 64), (77, 77, 77)).save(images / "huge.png")
    monkeypatch.setattr(MaskRCNN, "predict", with_little_memory)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    result = predict(run, images, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "2 of 8 images failed" in result.stderr
    assert "photo.heic: HEIC needs pip install minimask[images]; left out" in result.stderr
    assert "huge.png: not enough memory (64 bytes); cut it into tiles" in result.stderr
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) == 6
