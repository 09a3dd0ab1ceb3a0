"""Data sets by name: one registry for settings, command and Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from minimask.data import DATASETS, AnnotatedImages, FolderMasks, Shapes, open_dataset, register
from minimask.data.check_images import check_images
from minimask.data.registry import VALIDATION_SEED, find
from minimask.train import RunSettings, open_data


@pytest.fixture
def folders(tmp_path):
    """Two images in the layout of one folder per image, with one and two objects."""
    for name, count in (("a", 1), ("b", 2)):
        for kind in ("images", "masks"):
            (tmp_path / name / kind).mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(tmp_path / name / "images" / f"{name}.png")
        for i in range(count):
            mask = np.zeros((6, 8), np.uint8)
            mask[1:4, 3 * i : 3 * i + 2] = 255
            Image.fromarray(mask).save(tmp_path / name / "masks" / f"{i}.png")
    return tmp_path


@pytest.fixture
def stripes():
    """A data set of one's own, registered for the length of a test."""

    class Stripes(Shapes):
        def __init__(self, images, *, seed=0, classes=("circle",), width=3):
            super().__init__(5, 32, seed, classes)
            self.images, self.width = images, width

    register("stripes", Stripes)
    yield Stripes
    del DATASETS["stripes"]


def coco_files(folder):
    data = Shapes(2, 32, seed=1)
    (folder / "a.json").write_text(json.dumps(data.coco()))
    for sample, entry in zip(data, data.coco()["images"], strict=True):
        Image.fromarray(sample.image).save(folder / entry["file_name"])
    return {"annotations": str(folder / "a.json"), "images": str(folder)}


def test_every_name_opens(folders) -> None:
    assert isinstance(open_dataset("shapes", count=2, size=32, classes=("moon",)), Shapes)
    for name in ("files", "coco"):
        data = open_dataset(name, **coco_files(folders))
        assert isinstance(data, AnnotatedImages) and data.found.format == "coco"
    data = open_dataset("folder", images=folders, classes=None, white=4095)
    assert isinstance(data, FolderMasks)
    assert (len(data), data.classes, data.white) == (2, ("object",), 4095)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "foldr",
            {},
            "one of files, shapes, sticks, folder, .*coco.*, got 'foldr'; did you mean 'folder'?",
        ),
        ("xyz", {}, "one of files, shapes, sticks, folder, .*, got 'xyz'$"),
        ("folder", {}, "--data folder needs images; it takes images, classes, white, page"),
        ("files", {}, "Name their annotations"),
        ("coco", {"annotations": "x"}, "x: no such file"),
        ("folder", {"images": "x", "annotations": "y"}, "annotations and --data folder exclude"),
        ("folder", {"images": "x", "wite": 1}, "wite: .* no such option; did you mean white?"),
    ],
)
def test_wrong_names_and_options_get_a_sentence(name, options, message) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_dataset(name, **options)


def test_settings_open_mask_folders_for_training_and_validation(folders) -> None:
    values = {"data": "folder", "images": str(folders), "classes": ["cell"]}
    train, none = open_data(RunSettings.of(values))
    assert isinstance(train, FolderMasks) and train.classes == ("cell",) and none is None
    settings = RunSettings.of({**values, "val_images": str(folders), "data_options": ["white=9"]})
    train, val = open_data(settings)
    assert val.classes == ("cell",) and (train.white, val.white) == (9, 9)
    assert [len(val[i]) for i in range(len(val))] == [1, 2]


def test_settings_of_coco_files_keep_the_classes_of_training(folders) -> None:
    files = coco_files(folders)
    values = {**files, **{f"val_{name}": path for name, path in files.items()}}
    train, val = open_data(RunSettings.of({**values, "classes": ["star", "circle"]}))
    assert train.classes == val.classes == ("star", "circle")
    assert not train.boxes_only
    content = json.loads((folders / "a.json").read_text())
    content["categories"].append({"id": 9, "name": "moon"})
    (folders / "more.json").write_text(json.dumps(content))
    train, val = open_data(RunSettings.of({**values, "val_annotations": f"{folders}/more.json"}))
    assert train.classes == val.classes and "moon" not in val.classes
    train, val = open_data(RunSettings.of({**values, "model": "fasterrcnn_laptop"}))
    assert train.boxes_only and val.boxes_only and len(val.classes) == 4


def test_generated_validation_images_are_never_trained_on() -> None:
    settings = {"data": "shapes", "shapes_size": 40, "shapes_count": 7, "val_count": 3, "seed": 2}
    train, val = open_data(RunSettings.of(settings))
    assert (train.seed, train.count, train.height) == (2, 7, 40)
    assert (val.seed, val.count, val.height) == (VALIDATION_SEED, 3, 40)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "foldr", "images": "x"}, "did you mean 'folder'"),
        ({"data": "folder"}, "--data folder needs --images"),
        ({"data": "folder", "images": "x", "annotations": "y"}, "--annotations and --data folder"),
        ({"data": "folder", "images": "x", "val_annotations": "y"}, "--val-annotations and"),
        ({"data": "shapes", "val_images": "x"}, "--val-images and --data shapes exclude"),
        ({"data": "folder", "images": "x", "data_options": ["white"]}, "NAME=VALUE, got 'white'"),
        ({"data": "folder", "images": "x", "data_options": ["wide=1"]}, "--white"),
    ],
)
def test_settings_that_do_not_fit_the_data(values, message) -> None:
    with pytest.raises(ValueError, match=message):
        RunSettings.of(values)


def test_settings_of_older_runs_are_read(tmp_path) -> None:
    """Written before `data_options`, and when options that do not fit were passed over."""
    content = RunSettings.of({"data": "shapes"}).to_json()
    del content["data"]["data_options"]
    content["data"]["val_images"] = "/data"
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(content))
    assert RunSettings.read(path).data.val_images == "/data"
    assert RunSettings.read(path).data.data_options == ()


def test_a_data_set_of_ones_own(stripes, tmp_path) -> None:
    settings = RunSettings.of(
        {"data": "stripes", "images": "here", "val_images": "there", "data_options": ["width=4"]}
    )
    train, val = open_data(settings)
    assert type(train) is type(val) is stripes
    assert (train.images, val.images, train.width, val.width) == ("here", "there", 4, 4)
    with pytest.raises(ValueError, match="there is a data set 'stripes' already"):
        register("stripes", Shapes)
    with pytest.raises(ValueError, match="there is a data set 'own' already"):
        register("own", Shapes)
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings.to_json()))
    del DATASETS["stripes"]
    try:  # its model can be used where nobody registers the data; the data cannot
        assert RunSettings.read(path) == settings
        with pytest.raises(ValueError, match="got 'stripes'"):
            open_data(settings)
    finally:
        register("stripes", stripes)


@pytest.mark.parametrize("white", [0, -1, 4095.5, "bright"])
def test_a_white_that_cannot_be(folders, white) -> None:
    data = open_dataset("folder", images=folders, white=white)
    with pytest.raises(ValueError, match=r"white: expected a whole number above 0.*got"):
        data[0]


def test_checking_reads_every_image(folders) -> None:
    found, contents = check_images(FolderMasks(folders))
    assert not found and contents == "2 images (0 without objects), 3 objects: object 3"
    Image.new("L", (8, 6)).save(folders / "a" / "masks" / "0.png")
    (folders / "b" / "masks" / "1.png").write_bytes(b"no image")
    found, contents = find("folder").check(images=folders)
    assert [finding.severity for finding in found] == ["error", "warning", "note"]
    error, warning, note = (str(finding) for finding in found)
    assert "b.png" in error and "1.png" in error
    assert "a.png: 1 of 1 masks show no pixel" in warning
    assert "1 of 2 images show no object" in note
    assert contents == "2 images (1 without objects), 0 objects: none"
