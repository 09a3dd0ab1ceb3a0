"""The data check finds every planted fault, and nothing in sound data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minimask.data.check import find_problems
from minimask.data.sample import encode_masks
from minimask.data.shapes import Shapes


@pytest.fixture
def planted(tmp_path):
    """Six generated images as COCO files; a function writes the content after it was changed."""
    shapes = Shapes(6, seed=3, objects=(2, 4))
    content = shapes.coco() | {}
    content = json.loads(json.dumps(content))
    folder = tmp_path / "images"
    folder.mkdir()
    for sample, entry in zip(shapes, content["images"], strict=True):
        Image.fromarray(sample.image).save(folder / entry["file_name"])

    def find(text=None):
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content) if text is None else text)
        return find_problems(path, folder)

    return content, folder, find


def one(findings, severity="error"):
    assert len(findings) == 1, [str(f) for f in findings]
    assert findings[0].severity == severity
    return findings[0]


def test_sound_data_gives_nothing(planted):
    assert planted[2]() == []


def test_the_real_data_is_sound(shared):
    root = shared / "data" / "nuclei" / "val"
    assert find_problems(root / "instances.json", root / "images") == []


def test_missing_image(planted):
    content, folder, find = planted
    name = content["images"][2]["file_name"]
    (folder / name).rename(folder / f"x{name}")
    found = one(find())
    assert found.file.endswith(name) and f"x{name}" in found.message
    assert "images[2]" in found.advice


@pytest.mark.parametrize("length", [0, 40, 3000])
def test_unreadable_image(planted, length):
    content, folder, find = planted
    path = folder / content["images"][1]["file_name"]
    path.write_bytes(path.read_bytes()[:length])
    assert one(find()).file == str(path)


def test_size_that_disagrees(planted):
    content, folder, find = planted
    path = folder / content["images"][0]["file_name"]
    Image.open(path).resize((64, 100)).save(path)
    assert "64 x 100 pixels, but images[0] says 128 x 128" in one(find()).message


def test_a_wrong_size_is_said_once(planted):
    content, _, find = planted
    content["images"][0] |= {"width": 64, "height": 64}
    assert "128 x 128 pixels" in one(find()).message


def test_exif_orientation(planted):
    content, folder, find = planted
    path = folder / content["images"][0]["file_name"]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    assert "EXIF orientation 6" in one(find(), "warning").message


def test_dark_sixteen_bit_image(planted):
    content, folder, find = planted
    path = folder / content["images"][0]["file_name"]
    Image.fromarray(np.full((128, 128), 4000, np.uint16)).save(path)
    assert "brightest value is 4000" in one(find(), "warning").message


def test_corners_written_as_sizes(planted):
    content, _, find = planted
    differ = set()
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
        # near the corner 0, 0 both spellings are nearly the same box
        if width * height / ((x + width) * (y + height)) < 0.75:
            differ.add(annotation["id"])
    findings = find()
    named = {f.annotation_id for f in findings if "looks like x0, y0, x1, y1" in f.message}
    assert named >= differ and len(differ) >= 15
    assert named == {f.annotation_id for f in findings if f.severity == "error"}
    x, y, x1, y1 = content["annotations"][0]["bbox"]
    (found,) = [f for f in findings if f.annotation_id == content["annotations"][0]["id"]]
    assert str([x, y, x1 - x, y1 - y]) in found.advice and "annotations[0].bbox" in found.message


@pytest.mark.parametrize(
    ("box", "severity", "message"),
    [
        ([-20, 5, 30, 30], "error", "leaves the image of 128 x 128"),
        ([100, 100, 60, 10], "error", "leaves the image"),
        ([5, 5, 0, 10], "error", "has no area"),
        ([5, 5, 10, -1], "error", "neither size negative"),
        ([0.1, 0.2, 0.5, 0.5], "error", "shares of the image's size"),
        ([1, 2, 3], "error", "expected [x, y, width, height], four finite numbers, got [1, 2, 3]"),
        ([1, 2, 3, None], "error", "expected [x, y, width, height]"),
        ([1, 2, 3, float("nan")], "error", "expected [x, y, width, height]"),
        ("box", "error", "expected [x, y, width, height]"),
        (None, "warning", "bbox: missing"),
        ([0, 0, 128, 128], "warning", "is not around the mask"),
    ],
)
def test_boxes(planted, box, severity, message):
    content, _, find = planted
    content["annotations"][3]["bbox"] = box
    found = one(find(), severity)
    assert message in found.message and "annotations[3].bbox" in found.message
    assert found.annotation_id == content["annotations"][3]["id"]


def test_a_rounded_box_is_fine(planted):
    content, _, find = planted
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x - 0.5, y + 0.4, width + 0.7, height - 0.6]
    assert find() == []


def test_a_rounded_box_of_a_tiny_object_is_fine(planted):
    content, _, find = planted
    mask = np.zeros((1, 128, 128), bool)
    mask[0, 50, 60] = True
    content["annotations"][0] |= {
        "segmentation": encode_masks(mask)[0],
        "bbox": [60.6, 49.8, 0.6, 0.9],
    }
    assert find() == []


@pytest.mark.parametrize(("y1", "message"), [(120, "looks like x0, y0"), (140, "leaves the image")])
def test_guess_without_a_mask(planted, y1, message):
    content, _, find = planted
    content["annotations"][0] |= {"bbox": [60, 70, 100, y1], "segmentation": None}
    assert message in find()[0].message


def test_masks(planted):
    content, _, find = planted
    ann = content["annotations"]
    ann[0]["segmentation"] = encode_masks(np.zeros((1, 128, 128), bool))[0]
    ann[1]["segmentation"] = [[1, 2, 3, 4]]
    ann[2]["segmentation"]["size"] = [64, 64]
    ann[3]["segmentation"]["counts"] = "!"
    findings = find()
    assert [f.severity for f in findings] == ["error"] * 3 + ["warning"]
    assert [f.annotation_id for f in findings] == [ann[i]["id"] for i in (1, 2, 3, 0)]
    for found, words in zip(
        findings,
        (
            "[0]: 4 numbers",
            ".size: [64, 64]",
            ".counts: not a string",
            "annotations cover no pixel",
        ),
        strict=True,
    ):
        assert words in found.message


def test_polygons_outside(planted):
    content, _, find = planted
    content["annotations"] = content["annotations"][:1]
    box = [100, 20, 28, 20]
    polygon = [100, 20, 160, 20, 160, 40, 100, 40]
    content["annotations"][0] |= {"bbox": box, "segmentation": [polygon]}
    messages = [f.message for f in find() if f.severity == "warning" and f.annotation_id]
    assert len(messages) == 1 and "outside the image of 128 x 128" in messages[0]


def test_ids_and_references(planted):
    content, _, find = planted
    ann = content["annotations"]
    ann[1]["id"] = ann[0]["id"]
    ann[2]["image_id"] = 999
    ann[3]["category_id"] = 77
    ann[4]["iscrowd"] = 3
    ann[5]["area"] = "big"
    content["images"][5]["id"] = content["images"][4]["id"]
    content["categories"].append({"id": 50, "name": "zebra"})
    content["categories"].append({"id": 51, "name": "zebra"})
    messages = "\n".join(map(str, find()))
    for words in (
        "annotations: 1 ids are repeated and 0 missing; numbered anew",
        "annotations[2].image_id: no image has the id 999",
        "annotations[3].category_id: no category has the id 77",
        "annotations[4].iscrowd: expected 0 or 1, got 3",
        "annotations[5].area: expected a number, the object's pixels, 0 to 16384, got 'big'",
        "images[5].id: 5 is also that of images[4]",
        "categories[5].name: 'zebra' is there twice",
        "no annotation is of class 'zebra'",
    ):
        assert words in messages


def test_notes(planted):
    content, _, find = planted
    content["annotations"][0]["iscrowd"] = 1
    last = content["images"][-1]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != last]
    findings = find()
    assert {f.severity for f in findings} == {"note"}
    assert "1 of 6 images have no annotation" in findings[0].message
    assert "1 annotations are crowds" in findings[1].message


def test_errors_come_first(planted):
    content, _, find = planted
    content["annotations"][0]["bbox"] = None
    content["annotations"][1]["segmentation"] = [[1, 2, 3, 4]]
    assert [f.severity for f in find()] == ["error", "warning"]


def test_broken_structure_does_not_hide_the_rest(planted):
    content, folder, find = planted
    content["annotations"][0] = "not an object"
    del content["annotations"][1]["category_id"]
    content["annotations"][2]["bbox"] = None
    (folder / content["images"][0]["file_name"]).unlink()
    text = "\n".join(map(str, find()))
    for words in (
        "annotations[0]: expected an object, got str",
        "annotations[1].category_id: expected a whole number or text, got nothing",
        "annotations[2].bbox: missing",
        "no such file",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [}', "broken JSON in line 1, column 13"),
        ("[]", "of no annotation format that is known here"),
        ('{"a": 1, "images": 2, "b": 3}', "it is JSON with a, images, b"),
        ('{"images": 2, "annotations": []}', "images: expected a list"),
        ('[{"image_id": 1, "score": 0.5}]', "detections"),
        ('{"images": [], "annotations": [], "categories": []}', "categories: none"),
    ],
)
def test_files_that_are_no_data_set(planted, text, message):
    findings = planted[2](text)
    assert findings[0].severity == "error" and message in findings[0].message
    assert "To do: " in str(findings[0])


def test_arguments_that_are_not_there(planted, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder; did you mean 'images'"):
        find_problems(tmp_path / "instances.json", tmp_path / "imags")
    with pytest.raises(FileNotFoundError, match="no such file"):
        find_problems(tmp_path / "nothing.json", tmp_path / "images")


GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(max_examples=150)
@given(
    key=st.sampled_from(["images", "annotations", "categories"]),
    name=st.sampled_from(
        "id image_id category_id file_name width height bbox area segmentation iscrowd name".split()
    ),
    value=GARBAGE,
)
def test_no_content_makes_it_raise(tmp_path_factory, key, name, value):
    folder = tmp_path_factory.getbasetemp() / "garbage"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    box = [1, 1, 4, 4]
    polygon = [[1, 1, 5, 1, 5, 5, 1, 5]]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": polygon}
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    assert find_problems(write(folder, content), folder) == []
    content[key][0][name] = value
    for finding in find_problems(write(folder, content), folder):
        assert finding.message and finding.advice and finding.file


def write(folder, content):
    path = folder / "instances.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
