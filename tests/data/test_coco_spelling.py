"""COCO as annotation tools really write it: every spelling gives the data of the official one."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from PIL import Image

from minimask.data import open_annotations
from minimask.data.formats import coco_spelling as spelling
from minimask.data.formats.coco import from_content, listed_images
from minimask.data.formats.coco_spelling import UNCLEAR
from minimask.data.look import look
from minimask.data.sample import encode_masks
from minimask.data.soundness import raise_errors

HEIGHT, WIDTH = 40, 60
TRIANGLE = [5.0, 5.0, 25.0, 5.0, 5.0, 30.0]
SQUARE = [30.0, 10.0, 50.0, 10.0, 50.0, 30.0, 30.0, 30.0]


def official():
    run_lengths = np.zeros((1, HEIGHT, WIDTH), bool)
    run_lengths[0, 3:9, 4:11] = True
    masks = [[TRIANGLE], [SQUARE, TRIANGLE], encode_masks(run_lengths)[0]]
    return {
        "images": [
            {"id": i, "file_name": f"img_{i}.png", "width": WIDTH, "height": HEIGHT} for i in (1, 2)
        ],
        "annotations": [
            {"id": 10 + i, "image_id": 1 + i % 2, "category_id": 1 + i % 2, "segmentation": mask}
            | {"iscrowd": 0, "area": 50.0, "bbox": [5, 5, 20, 25]}
            for i, mask in enumerate(masks)
        ],
        "categories": [{"id": 1, "name": "disk"}, {"id": 2, "name": "box"}],
    }


@pytest.fixture
def files(tmp_path):
    """A folder with the images; a function writes the JSON beside it and opens both."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in (1, 2):
        Image.new("RGB", (WIDTH, HEIGHT), (i, 0, 0)).save(folder / f"img_{i}.png")

    def opened(content, **options):
        path = tmp_path / "any.json"
        path.write_text(json.dumps(content))
        return open_annotations(path, folder, **options)

    return opened


def each(section, change):
    def apply(content):
        for i, entry in enumerate(content[section]):
            change(entry, i)

    return apply


def put(section, **values):
    return each(section, lambda entry, i: entry.update(values))


def drop(section, *names):
    return each(section, lambda entry, i: [entry.pop(name) for name in names])


def to_text(section, name):
    return each(section, lambda entry, i: entry.update({name: str(entry[name])}))


def to_float(section, name):
    return each(section, lambda entry, i: entry.update({name: float(entry[name])}))


def as_objects(content):
    for key in content:
        content[key] = {str(entry.pop("id")): entry for entry in content[key]}


def rename(old, new):
    return each("images", lambda entry, i: entry.update({new: entry.pop(old)}))


def file_names(form):
    return each("images", lambda e, i: e.update(file_name=form.format(e["file_name"])))


def first_polygon(form):
    def apply(content):
        content["annotations"][0]["segmentation"] = form(list(TRIANGLE))

    return apply


def points(polygon):
    return [polygon[i : i + 2] for i in range(0, len(polygon), 2)]


PLAIN = {
    "text ids in annotations": to_text("annotations", "image_id"),
    "text ids in images": to_text("images", "id"),
    "float ids": to_float("annotations", "category_id"),
    "text sizes": to_text("images", "width"),
    "float sizes": to_float("images", "height"),
    "no sizes": drop("images", "width", "height"),
    "sizes 0": put("images", width=0, height=0),
    "sizes null": put("images", width=None, height=None),
    "flag missing": drop("annotations", "iscrowd"),
    "flag false": put("annotations", iscrowd=False),
    "flag as text": put("annotations", iscrowd="0"),
    "flag null": put("annotations", iscrowd=None),
    "area null": put("annotations", area=None),
    "area as text": put("annotations", area="50"),
    "box missing": drop("annotations", "bbox"),
    "box empty": put("annotations", bbox=[]),
    "box by name": put("annotations", bbox={"x": 5, "y": 5, "width": 20, "height": 25}),
    "box as text": put("annotations", bbox=["5", "5", "20", "25"]),
    "objects by id": as_objects,
    "annotation ids missing": drop("annotations", "id"),
    "annotation ids repeated": put("annotations", id=1),
    "names from an address": lambda c: (
        file_names("http://images.cocodataset.org/train2017/{}")(c),
        rename("file_name", "coco_url")(c),
    ),
    "other separators": file_names("images\\{}"),
    "leading dot": file_names("./{}"),
    "another machine's path": file_names("/home/someone/set/images/{}"),
    "another machine's drive": file_names("C:\\data\\images\\{}"),
    "upper case": each("images", lambda e, i: e.update(file_name=e["file_name"].upper())),
    "no suffix": each("images", lambda e, i: e.update(file_name=e["file_name"][:-4])),
    "flat polygon": first_polygon(lambda p: p),
    "points as pairs": first_polygon(lambda p: [points(p)]),
    "points as pairs, flat": first_polygon(points),
    "points by name": first_polygon(lambda p: [[{"x": x, "y": y} for x, y in points(p)]]),
    "nested once more": first_polygon(lambda p: [[p]]),
    "numbers as text": first_polygon(lambda p: [list(map(str, p))]),
    "an empty polygon beside": first_polygon(lambda p: [p, []]),
    "a leftover of two points beside": first_polygon(lambda p: [p, [1, 2, 3, 4]]),
    "category names are numbers": None,
    "image twice, the same": lambda c: c["images"].append(dict(c["images"][0])),
    "more keys": put("annotations", attributes={"occluded": False}, track_id=4),
    "info and licenses": lambda c: c.update(info={}, licenses=[{"id": 0}]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_spellings_read_as_the_official_one(files, name):
    truth = files(official())
    content = official()
    if PLAIN[name] is None:
        content["categories"] = [{"id": 1, "name": 7}, {"id": 2, "name": 8}]
    else:
        PLAIN[name](content)
    data = files(content)
    assert len(data) == len(truth) == 2
    for i in range(2):
        one, other = truth[i], data[i]
        np.testing.assert_array_equal(one.masks, other.masks)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.image, other.image)
        assert not other.crowd.any() and str(one.image_id) == str(other.image_id)
    assert look(data) == [] or name.startswith("annotation ids")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][1].update(id=1), r"images\[1\]\.id: 1 is also that of images\[0\]"),
        (lambda c: c["images"][1].update(width=50), r"img_2\.png: 60 x 40 pixels.* 50 x 40"),
        (put("annotations", image_id="x"), r"annotations\[0\]\.image_id: no image has the id 'x'"),
        (put("annotations", image_id=None), r"image_id: expected a whole number or text, got None"),
        (put("annotations", category_id=[1]), r"category_id: expected a whole number or text"),
        (put("annotations", iscrowd="maybe"), r"iscrowd: expected 0 or 1, got 'maybe'"),
        (put("annotations", bbox=[1, 2, 3]), r"bbox: expected \[x, y, width, height\]"),
        (
            put("images", width="wide"),
            r"images\[0\]\.width: expected 1 to 100000.*got 'wide'",
        ),
        (put("images", file_name="none.png"), r"none of its 2 images is in .*images"),
        (first_polygon(lambda p: [p[:4]]), r"annotations\[0\]\.segmentation\[0\]: 4 numbers"),
        (first_polygon(lambda p: [[*p, 7]]), r"segmentation\[0\]: 7 numbers"),
        (first_polygon(lambda p: [[*p[:5], 3.5e8]]), r"far outside the image of 60 x 40"),
        (first_polygon(lambda p: [[*p[:5], "a"]]), r"expected a list of finite numbers"),
        (lambda c: c.pop("categories"), r"categories: expected a list"),
        (lambda c: c.update(annotations=None), r"annotations: expected a list"),
        (put("annotations", segmentation=[]), r"no annotation has a mask: boxes only.*fasterrcnn"),
    ],
)
def test_what_has_no_plain_meaning_is_named(files, change, message):
    content = official()
    change(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        raise_errors([f for f in look(files(content)) if f.severity == "error"], "any.json")


def test_only_the_cause_is_named(files):
    """An image whose id cannot be read takes its annotations along: one error, not many."""
    content = official()
    content["images"][0]["id"] = None
    with pytest.raises(ValueError, match=r"images\[0\]\.id: expected") as error:
        files(content)
    assert "more errors" not in str(error.value)


def test_objects_without_a_mask_are_left_out_and_counted(files):
    for leftover in ([], [[]], None, "", {}):
        content = official()
        content["annotations"][1]["segmentation"] = leftover
        data = files(content)
        assert [len(data[i]) for i in range(2)] == [2, 0]
        (warning,) = [f for f in look(data) if "have no mask" in f.message]
        assert warning.message.startswith("1 of 3 annotations") and warning.annotation_id == 11
    assert [len(files(content, boxes_only=True)[i]) for i in range(2)] == [2, 1]


def test_masks_without_a_pixel_are_left_out_and_counted(files):
    content = official()
    content["annotations"][0]["segmentation"] = [[100, 50, 120, 50, 120, 70]]
    data = files(content)
    assert len(data[0]) == 1
    assert "1 of 3 annotations cover no pixel" in look(data)[0].message


@pytest.mark.parametrize("area", [1e9, "big", [1], float("nan"), -3])
def test_an_area_that_cannot_be_is_measured_and_said(files, area):
    content = official()
    content["annotations"][0]["area"] = area
    data = files(content)
    (warning,) = look(data)
    assert "annotations[0].area: expected a number, the object's pixels, 0 to 2400" in str(warning)
    truth = {a["id"]: a for a in data.coco()["annotations"]}
    assert truth[10]["area"] == data[0].masks[0].sum()


@pytest.mark.parametrize("crowd", [1, True, "1", 1.0])
def test_nothing_but_crowds_is_nothing_to_learn_from(files, crowd):
    content = official()
    put("annotations", iscrowd=crowd)(content)
    (error,) = [f for f in look(files(content)) if f.severity == "error"]
    assert "all 3 annotations are crowds" in error.message and "iscrowd 0" in error.advice
    content["annotations"] = []
    (error,) = [f for f in look(files(content)) if f.severity == "error"]
    assert "none of the 2 images has an object" in error.message


def test_a_root_category_is_no_class(files):
    content = official()
    content["categories"] = [
        {"id": 0, "name": "disk", "supercategory": "none"},
        *(c | {"supercategory": "disk"} for c in content["categories"]),
    ]
    data = files(content)
    assert data.classes == ("disk", "box") and data.category_ids == (1, 2)
    content["categories"][0]["name"] = "project"
    for category in content["categories"][1:]:
        category["supercategory"] = "project"
    assert files(content).classes == ("disk", "box")
    content["categories"][1]["supercategory"] = "other"
    assert files(content).classes == ("project", "disk", "box")
    assert files(official(), classes=["box"]).classes == ("box",)


@pytest.mark.parametrize("name", ["background", "_background_", "Background"])
def test_background_without_objects_is_no_class(files, name):
    content = official()
    content["categories"].insert(0, {"id": 0, "name": name})
    assert files(content).classes == ("disk", "box")
    assert files(content, classes=[name, "box"]).classes == (name, "box")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_encodings_of_windows(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(official()), encoding=encoding)
    assert len(listed_images(path).images) == 2


def test_categories_of_one_name_are_one_class(files):
    content = official()
    content["categories"][1]["name"] = "disk"
    data = files(content)
    assert data.classes == ("disk",)
    assert [data[i].labels.tolist() for i in range(2)] == [[0, 0], [0]]
    assert {a["category_id"] for a in data.coco()["annotations"]} == {1}


def test_validation_data_may_lack_classes(files):
    names = ("box", "star")
    with pytest.raises(ValueError, match="no category 'star'"):
        files(official(), classes=names)
    data = files(official(), classes=names, may_lack=True)
    assert data.classes == names and len(set(data.category_ids)) == 2
    assert [data[i].labels.tolist() for i in range(2)] == [[], [0]]
    with pytest.raises(ValueError, match="no category 'star'"):
        files(official(), classes=("star",), may_lack=True)


def test_a_list_of_test_images_has_ids(tmp_path):
    content = official()
    del content["annotations"]
    path = tmp_path / "image_info.json"
    path.write_text(json.dumps(content))
    found = listed_images(path)
    assert [image["id"] for image in found.images] == [1, 2] and found.annotations == []
    content["annotations"] = [{"what": "ever"}]
    path.write_text(json.dumps(content))
    assert [c["name"] for c in listed_images(path).categories] == ["disk", "box"]


def test_reading_changes_nothing():
    content = official()
    first_polygon(lambda p: [points(p), []])(content)
    before = copy.deepcopy(content)
    from_content(content, "a.json")
    assert content == before


@pytest.mark.parametrize("value", [None, True, 1.5, float("nan"), float("inf"), [], {}, ""])
def test_ids_that_are_none(value):
    assert spelling.identity(value) is UNCLEAR


def test_ids_keep_what_they_are():
    assert spelling.identity("frame_a") == "frame_a" and spelling.identity(2**128) == 2**128
    assert spelling.same_id("7") == spelling.same_id(7) == spelling.same_id(" 07")
    assert spelling.same_id("7a") != spelling.same_id(7)
