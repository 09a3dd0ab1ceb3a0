"""Keypoints of COCO files: read, checked, kept by conversion."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from minimask.data.annotated import AnnotatedImages, open_annotations
from minimask.data.check import check_files
from minimask.data.formats.coco import read_coco
from minimask.data.skeleton import COCO_PERSON, Skeleton
from minimask.data.writers import convert

CARD = {
    "id": 7,
    "name": "card",
    "keypoints": ["left_top", "right_top", "right_low", "left_low"],
    "skeleton": [[1, 2], [2, 3], [3, 4], [4, 1]],
}
FILE = {
    "images": [{"id": 3, "file_name": "a.png", "width": 60, "height": 40}],
    "categories": [CARD],
    "annotations": [
        {
            "id": 1,
            "image_id": 3,
            "category_id": 7,
            "iscrowd": 0,
            "bbox": [10, 5, 20, 15],
            "area": 300,
            "segmentation": [[10, 5, 30, 5, 30, 20, 10, 20]],
            "keypoints": [10, 5, 2, 29, 5, 2, 29, 19, 1, 0, 0, 0],
            "num_keypoints": 3,
        },
        {
            "id": 2,
            "image_id": 3,
            "category_id": 7,
            "iscrowd": 0,
            "bbox": [40, 20, 10, 10],
            "area": 100,
            "segmentation": [[40, 20, 50, 20, 50, 30, 40, 30]],
        },
    ],
}


@pytest.fixture
def write(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")

    def make(change=lambda content: None):
        content = copy.deepcopy(FILE)
        change(content)
        path = tmp_path / "train.json"
        path.write_text(json.dumps(content))
        return path

    return make


def test_keypoints_are_read_with_their_skeleton(write):
    data = open_annotations(write())
    names = tuple(CARD["keypoints"])
    limbs = ((0, 1), (1, 2), (2, 3), (3, 0))
    assert data.skeleton == Skeleton(names, limbs, (1, 0, 3, 2), (0.05,) * 4)
    sample = data[0]
    assert sample.skeleton == data.skeleton
    np.testing.assert_array_equal(
        sample.keypoints[0], [(10.5, 5.5, 2), (29.5, 5.5, 2), (29.5, 19.5, 1), (0, 0, 0)]
    )
    assert (sample.keypoints[1] == 0).all()  # nobody labeled any
    assert sample.keypoints.dtype == np.float32


def test_the_truth_for_the_metric_is_that_of_the_file(write):
    truth = open_annotations(write()).coco()
    assert truth["annotations"][0]["keypoints"] == FILE["annotations"][0]["keypoints"]
    assert truth["annotations"][0]["num_keypoints"] == 3
    assert "keypoints" not in truth["annotations"][1]
    assert truth["categories"][0] == CARD


def test_names_of_coco_bring_its_sigmas(write):
    def person(content):
        content["categories"][0]["keypoints"] = list(COCO_PERSON.names)
        content["categories"][0]["skeleton"] = [[a + 1, b + 1] for a, b in COCO_PERSON.limbs]
        content["annotations"][0] |= {"keypoints": [5, 5, 2] * 17, "num_keypoints": 17}

    assert open_annotations(write(person)).skeleton == COCO_PERSON


def test_sigmas_of_the_file(write):
    def own(content):
        content["categories"][0]["sigmas"] = [0.1, 0.2, 0.3, 0.4]

    data = open_annotations(write(own))
    assert data.skeleton.sigmas == (0.1, 0.2, 0.3, 0.4)
    assert data.coco()["categories"][0]["sigmas"] == [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    "spelled",
    [
        [[10, 5, 2], [29, 5, 2], [29, 19, 1], [0, 0, 0]],
        ["10", "5", "2", 29.0, 5, 2, 29, 19, 1, 0, 0, 0.0],
        [10, 5, 2, 29, 5, 2, 29, 19, 1, 8, 9, 0],  # places of unlabeled ones mean nothing
    ],
)
def test_plain_spellings(write, spelled):
    data = open_annotations(
        write(lambda content: content["annotations"][0].update(keypoints=spelled))
    )
    np.testing.assert_array_equal(
        data[0].keypoints[0], [(10.5, 5.5, 2), (29.5, 5.5, 2), (29.5, 19.5, 1), (0, 0, 0)]
    )


def first(**values):
    return lambda content: content["annotations"][0].update(values)


def category(**values):
    return lambda content: content["categories"][0].update(values)


GOOD = FILE["annotations"][0]["keypoints"]
ERRORS = {
    "short": (first(keypoints=GOOD[:9]), "annotations[0].keypoints: 9 numbers; expected 12, x, y"),
    "no v": (first(keypoints=[1, 2] * 4), "8 numbers; expected 12"),
    "v": (first(keypoints=[*GOOD[:11], 3]), "visibility 3 of keypoint 4; expected 0 (not"),
    "half v": (first(keypoints=[*GOOD[:11], 0.5]), "visibility 0.5 of keypoint 4"),
    "far": (first(keypoints=[9999, *GOOD[1:]]), "keypoint 1 at (9999, 5) lies far outside"),
    "far y": (first(keypoints=[0, -9999, *GOOD[2:]]), "keypoint 1 at (0, -9999) lies far"),
    "text": (first(keypoints="10 5 2"), "annotations[0].keypoints: expected a list of finite"),
    "words": (first(keypoints=["a"] * 12), "annotations[0].keypoints: expected a list of finite"),
    "null": (first(keypoints=[None] * 12), "annotations[0].keypoints: expected a list of finite"),
    "twice": (
        category(keypoints=["a", "b", "a", "c"]),
        "categories[0].keypoints: 'a' is there twi",
    ),
    "numbers": (category(keypoints=[1, 2, 3, 4]), "categories[0].keypoints: expected a list of"),
    "limb 0": (category(skeleton=[[0, 1]]), "categories[0].skeleton[0]: expected two numbers of"),
    "limb 5": (category(skeleton=[[1, 2], [4, 5]]), "categories[0].skeleton[1]: expected two"),
    "limbs": (category(skeleton=[1, 2]), "categories[0].skeleton[0]: expected two numbers"),
    "sigmas": (category(sigmas=[0.1]), "categories[0].sigmas: 1 numbers for 4 keypoints"),
    "sigma 0": (category(sigmas=[0, 1, 1, 1]), "categories[0].sigmas: expected 4 numbers above 0"),
}
WARNINGS = {
    "unnamed": (
        category(keypoints=[], skeleton=[]),
        "annotations[0].keypoints: the category 'card' names no keypoints: list their names under "
        '"keypoints" of the category; the keypoints of 1 annotations are left out',
    ),
    "count": (first(num_keypoints=4), "annotations[0].num_keypoints: 4, but 3 keypoints are"),
    "outside": (
        first(keypoints=[70, 5, 2, *GOOD[3:]]),
        "annotations[0].keypoints: 1 labeled keypoint lies outside the image of 60 x 40 pixels",
    ),
    "different": (
        lambda content: content["categories"].append(
            {"id": 8, "name": "hand", "keypoints": ["thumb", "palm"]}
        ),
        "the classes 'card' and 'hand' have different keypoints, 4 (left_top, ...) and 2 (thumb,",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_sentence_and_refused(write, name):
    change, says = ERRORS[name]
    path = write(change)
    found = [f for f in check_files(path, None).findings if f.severity == "error"]
    assert len(found) == 1
    assert says in found[0].message
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        open_annotations(path)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", WARNINGS)
def test_doubts_are_warned_of_once_and_the_rest_is_read(write, name):
    change, says = WARNINGS[name]
    path = write(change)
    found = [f for f in check_files(path, None).findings if "keypoints" in f.message]
    assert [f.severity for f in found] == ["warning"]
    assert says in found[0].message
    data = open_annotations(path)
    assert len(data[0]) == 2
    if name == "unnamed":
        assert data.skeleton is None and says in data.why_no_keypoints


def test_sound_files_have_no_findings_about_keypoints(write):
    checked = check_files(write(), None)
    assert not [f for f in checked.findings if "keypoints" in f.message]
    assert checked.contents.endswith(
        "4 keypoints (left_top, right_top, right_low, left_low) on 1 objects"
    )


def test_of_different_skeletons_the_kept_class_counts(write):
    path = write(WARNINGS["different"][0])
    both = open_annotations(path)
    assert both.skeleton is None
    assert "different keypoints" in both.why_no_keypoints
    assert both[0].keypoints is None
    assert len(open_annotations(path, classes=["card"]).skeleton) == 4


def test_empty_keypoints_of_mask_data_are_nothing(write):
    def masks_only(content):
        content["categories"][0] = {"id": 7, "name": "card", "keypoints": []}
        content["annotations"][0] |= {"keypoints": [0] * 12, "num_keypoints": 0}

    checked = check_files(write(masks_only), None)
    assert not [f for f in checked.findings if "keypoints" in f.message]


def test_conversion_keeps_keypoints(write, tmp_path):
    data = open_annotations(write())
    convert(data, tmp_path / "out.json")
    again = AnnotatedImages(read_coco(tmp_path / "out.json", tmp_path))
    assert again.skeleton == data.skeleton
    np.testing.assert_array_equal(again[0].keypoints, data[0].keypoints)
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["categories"] == FILE["categories"]
    assert written["annotations"][0]["num_keypoints"] == 3


@pytest.mark.parametrize("to", ["labelme", "yolo", "masks"])
def test_other_formats_say_that_they_cannot(write, tmp_path, to):
    written = convert(open_annotations(write()), tmp_path / "new", to)
    assert f"{to} has no form for keypoints: they are left out" in written.remarks
