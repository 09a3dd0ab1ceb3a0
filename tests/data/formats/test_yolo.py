"""YOLO segmentation: text files beside images, names in YAML."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import (
    DISK,
    SCENE,
    assert_same_as_coco,
    findings,
    one_finding,
    only_mask,
    raster,
    save_images,
    write,
)

from minimask.data import open_annotations
from minimask.data.formats import read_annotations, recognise

NAMES = ["box", "disk"]
LISTED = "path: .\ntrain: images\nval: images\nnc: 2\nnames: [box, disk]\n"
NUMBERED = "train: images/\nnames:\n  0: box\n  1: disk\n"


def shares(polygon, height, width):
    return " ".join(f"{v / (width, height)[i % 2]:.6f}" for i, v in enumerate(polygon))


def lines(name):
    height, width, objects = SCENE[name]
    return "".join(f"{NAMES.index(n)} {shares(p, height, width)}\n" for n, p in objects)


def lay_out(root, images="images", labels="labels", names=tuple(SCENE)):
    save_images(root / images, names)
    for name in names:
        write(root / labels / f"{name[:-4]}.txt", lines(name))
    return root


def one(folder, *rows, config=NUMBERED):
    """a.png and lines about it; returns the data.yaml."""
    save_images(folder / "images", ["a.png"])
    write(folder / "labels/a.txt", "\n".join(rows))
    return write(folder / "data.yaml", config)


@pytest.mark.parametrize("config", [LISTED, NUMBERED, LISTED.replace("images", "../images")])
def test_data_yaml_is_the_same_as_coco(tmp_path, config):
    path = write(lay_out(tmp_path) / "data.yaml", config)
    assert recognise(path) == recognise(tmp_path) == "yolo"
    for given in (path, tmp_path, tmp_path / "labels"):
        data = assert_same_as_coco(given)
        assert data.classes == ("box", "disk") and not data.notes, given
        assert_same_as_coco(given, tmp_path / "images")


@pytest.mark.parametrize(
    ("images", "labels", "given"),
    [
        (".", ".", "."),
        ("images", "labels", "."),
        ("images/train", "labels/train", "labels/train"),
        ("images/train", "labels/train", "."),
        ("train/images", "train/labels", "train"),
        ("obj_train_data", "obj_train_data", "obj_train_data"),
        ("pictures", "texts", "texts"),
    ],
)
def test_folders(tmp_path, images, labels, given):
    write(lay_out(tmp_path, images, labels) / "classes.txt", "box\ndisk\n")
    assert recognise(tmp_path / given) == "yolo"
    named = tmp_path / images if images == "pictures" else None
    data = assert_same_as_coco(tmp_path / given, named)
    assert not data.notes and data.found.names_classes


def test_splits(tmp_path):
    """Of a data.yaml the training images are read; a split by its folder, names from above."""
    lay_out(tmp_path, "train/images", "train/labels", ["a.png"])
    lay_out(tmp_path, "valid/images", "valid/labels", ["b.png", "c.png"])
    text = "train: ../train/images\nval: ../valid/images\nnames: [box, disk]\n"  # as Roboflow's
    path = write(tmp_path / "data.yaml", text)
    data = assert_same_as_coco(path, None, {"a.png": SCENE["a.png"]})
    assert "not read: 'val'" in data.notes[0].message
    rest = {name: SCENE[name] for name in ("b.png", "c.png")}
    for given, images in ((tmp_path / "valid", None), (path, tmp_path / "valid/images")):
        assert assert_same_as_coco(given, images, rest).classes == ("box", "disk")


def test_lists_of_images_and_of_folders(tmp_path):
    lay_out(tmp_path, "x/images", "x/labels", ["a.png"])
    lay_out(tmp_path, "y/images", "y/labels", ["b.png", "c.png"])
    names = "\nnames: [box, disk]\n"
    path = write(tmp_path / "data.yaml", "train: [x/images, y/images]" + names)
    assert assert_same_as_coco(path).images[1]["file_name"] == "y/images/b.png"
    write(tmp_path / "train.txt", "./x/images/a.png\n/data/set/y/images/b.png\n\ny/images/c.png")
    assert_same_as_coco(write(tmp_path / "data.yaml", "train: train.txt" + names))


def test_images_without_objects(tmp_path):
    path = write(lay_out(tmp_path) / "data.yaml", LISTED)
    (tmp_path / "labels/c.txt").unlink()
    assert "1 of 3 images have no label file" in assert_same_as_coco(path).notes[0].message


def test_classes_without_names(tmp_path):
    found = read_annotations(lay_out(tmp_path))
    assert [c["name"] for c in found.categories] == ["0", "1"] and not found.names_classes
    assert open_annotations(tmp_path, classes=["a", "b"]).classes == ("a", "b")
    path = write(tmp_path / "data.yaml", "train: images\nnc: 4\n")
    assert len(read_annotations(path).categories) == 4


def test_names_stay_as_they_are_written(tmp_path):
    path = one(
        tmp_path, f"1 {shares(DISK, 60, 80)}", config="train: images\nnames: [2, no, ä, 1.0]"
    )
    assert open_annotations(path).classes == ("2", "no", "ä", "1.0")


def test_boxes_beside_outlines_are_rectangles(tmp_path):
    path = one(tmp_path, f"1 {shares(DISK, 60, 80)}", "0 0.5 0.5 0.25 0.5")
    box = open_annotations(path)[0].masks[1]
    assert box.sum() == 20 * 30 and box[15:45, 30:50].all()
    assert "1 of 2 objects are boxes" in one_finding(path, severity="warning")


def test_boxes_alone_have_no_mask(tmp_path):
    path = one(tmp_path, "0 0.5 0.5 0.25 0.5")
    with pytest.raises(ValueError, match="boxes only"):
        open_annotations(path)
    (sample,) = open_annotations(path, boxes_only=True)
    assert sample.boxes.tolist() == [[30, 15, 50, 45]]


def test_a_confidence_at_the_end(tmp_path):
    path = one(tmp_path, f"1 {shares(DISK, 60, 80)} 0.87")
    assert np.array_equal(only_mask(path), raster([DISK], 60, 80))
    assert "1 objects have a confidence" in findings(path)[0][1]


def test_key_points(tmp_path):
    config = NUMBERED + "kpt_shape: [2, 3]\n"
    path = one(tmp_path, "0 0.5 0.5 0.25 0.5 .1 .1 2 .2 .2 2", config=config)
    assert open_annotations(path, boxes_only=True)[0].boxes.tolist() == [[30, 15, 50, 45]]


def test_repeated_lines_and_what_reaches_outside(tmp_path):
    row = "1 0.9 0.1 1.05 0.1 1.05 0.5"
    found = findings(one(tmp_path, row, row))
    assert ["1 objects reach over" in found[0][1], "1 lines that repeat" in found[1][1]] == [
        True
    ] * 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1 0.1 0.1 0.2 0.1 0.2", "5 numbers behind the class"),
        ("1", "0 numbers behind the class"),
        ("2 0.1 0.1 0.2 0.1 0.2 0.2", "class number 2: the 2 names of"),
        ("-1 0.1 0.1 0.2 0.1 0.2 0.2", "class number: expected a whole number from 0"),
        ("cat 0.1 0.1 0.2 0.1 0.2 0.2", "class number: expected a number, got 'cat'"),
        ("nan 0.1 0.1 0.2 0.1 0.2 0.2", "class number"),
        ("1 0.1 0.1 0.2 0.1 x 0.2", "number 6: expected a number, got 'x'"),
        ("1 0.1 0.1 0.2 nan 0.2 0.2", "number 5: expected a number"),
        ("1 12 8 40 8 40 30", "40 is no share of the image, 0 to 1; is it in pixels?"),
    ],
)
def test_a_broken_line_is_named_and_the_rest_read(tmp_path, row, message):
    path = one(tmp_path, f"1 {shares(DISK, 60, 80)}", "", row)
    found = one_finding(path)
    assert message in found and "a.txt: line 3" in found
    assert len(read_annotations(path).annotations) == 1


def test_a_leftover_is_left_out_with_a_warning(tmp_path):
    path = one(tmp_path, f"1 {shares(DISK, 60, 80)}", "1 0.1 0.1 0.2 0.2 0.1 0.1")
    assert "line 2: 2 different points" in one_finding(path, severity="warning")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("names: [a\ntrain: x", "broken YAML in line 2"),
        ("- names:\n- train:", "expected keys such as names and train"),
        ("names: {a: b}\ntrain: images", "names: expected numbers with names, got 'a: b'"),
        ("names: {99999999: b}\ntrain: images", "names: expected numbers with names"),
        ("names: [[a]]\ntrain: images", "names: expected numbers with names"),
        ("names: [a, b]\ntrain: {a: b}", "train: expected a path"),
        ("names: [a, b]\ntrain: nowhere/images2", "train: no such folder or file"),
        ("names: " + "[" * 5000 + "\ntrain: x", "broken YAML"),
    ],
)
def test_damaged_yaml(tmp_path, config, message):
    path = one(tmp_path, "0 0.5 0.5 0.25 0.5", config=config)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read_annotations(path, format="yolo")
    assert str(path) in str(caught.value)


def test_labels_without_images(tmp_path):
    lay_out(tmp_path)
    (tmp_path / "images/b.png").unlink()
    text = one_finding(tmp_path / "labels", severity="warning")
    assert "1 label files have no image" in text and "b.txt" in text
    (tmp_path / "labels/a.txt").write_bytes(b"\xff\xfe\x00")
    assert "a.txt: not a text file in UTF-8" in one_finding(tmp_path)


def test_other_text_files_are_not_recognised(tmp_path):
    write(tmp_path / "requirements.txt", "numpy\n")
    write(tmp_path / "numbers.txt", "1,2,3,4,5\n")
    write(tmp_path / "config.yaml", "name: x\ntrain: true\n")
    assert recognise(tmp_path) is None
