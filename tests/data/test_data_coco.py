"""COCO files in all their spellings, and sentences about those that are wrong."""

from __future__ import annotations

import copy
import json
import warnings

import numpy as np
import pytest
from PIL import Image

from minimask.data.coco import CocoDataset
from minimask.data.formats.coco import from_content
from minimask.data.sample import encode_masks

HEIGHT, WIDTH = 20, 30


def rectangle(x0, y0, x1, y1):
    return [x0, y0, x1, y0, x1, y1, x0, y1]


@pytest.fixture
def content():
    """Four images; ids with gaps; polygons, both run lengths, a crowd, an image without any."""
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[0, 3:9, 4:11] = True
    listed = [4 * HEIGHT + 3, *([6, 14] * 6), 6]
    listed.append(HEIGHT * WIDTH - sum(listed))
    names = ("a.png", "b.png", "c.png", "d.png")
    images = [
        {"id": 10 * i, "file_name": n, "width": WIDTH, "height": HEIGHT}
        for i, n in enumerate(names, 1)
    ]
    ann = [
        {"id": 5, "image_id": 10, "category_id": 7, "segmentation": [rectangle(2, 3, 8, 9)]},
        {"id": 6, "image_id": 10, "category_id": 90, "segmentation": encode_masks(mask)[0]},
        {
            "id": 9,
            "image_id": 20,
            "category_id": 7,
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": listed},
            "iscrowd": 1,
        },
        {
            "id": 12,
            "image_id": 40,
            "category_id": 3,
            "segmentation": [rectangle(1, 1, 4, 4), rectangle(10, 10, 20, 12)],
        },
    ]
    boxes = ([2, 3, 6, 6], [4, 3, 7, 6], [4, 3, 7, 6], [1, 1, 19, 11])
    for annotation, box in zip(ann, boxes, strict=True):
        annotation |= {"bbox": box, "area": 36, "iscrowd": annotation.get("iscrowd", 0)}
    categories = [{"id": 90, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 7, "name": "cow"}]
    return {"images": images, "annotations": ann, "categories": categories}


@pytest.fixture
def write(tmp_path, content):
    """Write the content, maybe changed, and return the paths of file and image folder."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(content["images"]):
        pixels = np.full((HEIGHT, WIDTH, 3), i, np.uint8)
        Image.fromarray(pixels).save(folder / image["file_name"])

    def to_file(changed=content):
        path = tmp_path / "instances.json"
        path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
        return path, folder

    return to_file


def test_reads_every_spelling(write):
    data = CocoDataset(*write())
    assert data.classes == ("dog", "cow", "cat")  # by id
    assert data.category_ids == (3, 7, 90)
    assert len(data) == 4
    a, b, c, d = (data[i] for i in range(4))
    assert a.labels.tolist() == [1, 2] and a.crowd.tolist() == [False, False]
    np.testing.assert_array_equal(a.boxes, [[2, 3, 8, 9], [4, 3, 11, 9]])
    np.testing.assert_array_equal(a.masks.sum(axis=(1, 2)), [36, 42])
    assert b.crowd.tolist() == [True]
    np.testing.assert_array_equal(b.masks[0], a.masks[1])
    assert len(c) == 0 and c.boxes.shape == (0, 4) and c.masks.shape == (0, HEIGHT, WIDTH)
    np.testing.assert_array_equal(d.boxes, [[1, 1, 20, 12]])  # two polygons, one object
    assert d.masks.sum() == 9 + 20
    assert [s.image_id for s in (a, b, c, d)] == [10, 20, 30, 40]
    assert d.image[0, 0, 0] == 3 and d.file_name == "d.png"


def test_classes_select_and_order(write):
    data = CocoDataset(*write(), classes=["cow", "dog"])
    assert data.classes == ("cow", "dog") and data.category_ids == (7, 3)
    assert [data[i].labels.tolist() for i in range(4)] == [[0], [0], [], [1]]
    truth = data.coco()
    assert [a["id"] for a in truth["annotations"]] == [5, 9, 12]
    assert [c["id"] for c in truth["categories"]] == [7, 3]
    assert len(truth["images"]) == 4


def test_coco_is_what_the_metric_needs(write):
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = CocoDataset(*write()).coco()
    json.dumps(truth)
    results = [
        {**{k: a[k] for k in ("image_id", "category_id", "segmentation")}, "score": 0.9}
        for a in truth["annotations"]
        if not a["iscrowd"]
    ]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        official_truth = COCO()
        official_truth.dataset = truth
        official_truth.createIndex()
        evaluation = COCOeval(official_truth, official_truth.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
    assert [a["iscrowd"] for a in truth["annotations"]] == [0, 0, 1, 0]


def test_missing_fields_are_filled_in(write, content):
    for annotation in content["annotations"]:
        for key in ("bbox", "area", "iscrowd"):
            del annotation[key]
    truth = CocoDataset(*write()).coco()
    assert [a["area"] for a in truth["annotations"]] == [36, 42, 42, 29]
    assert truth["annotations"][1]["bbox"] == [4, 3, 7, 6]
    assert {a["iscrowd"] for a in truth["annotations"]} == {0}


def test_boxes_come_from_masks(write, content):
    content["annotations"][0]["bbox"] = [0, 0, 29, 19]
    data = CocoDataset(*write())
    np.testing.assert_array_equal(data[0].boxes[0], [2, 3, 8, 9])
    assert data.coco()["annotations"][0]["bbox"] == [0, 0, 29, 19]


def test_boxes_without_masks(write, content):
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    with pytest.raises(ValueError, match=r"instances\.json: no annotation has a mask: boxes only"):
        CocoDataset(*write())
    data = CocoDataset(*write(), boxes_only=True)
    np.testing.assert_array_equal(data[0].boxes, [[2, 3, 8, 9], [4, 3, 11, 9]])
    assert data[0].masks[0].sum() == 36


def change(path, value):
    """A function that puts a value at a path like ("annotations", 0, "id")."""

    def apply(content):
        at = content
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("images",), 5, r"images: expected a list"),
        (("images", 1), 5, r"images\[1\]: expected an object, got int"),
        (("images", 1, "id"), [], r"images\[1\]\.id: expected a whole number or text, got \[\]"),
        (("images", 1, "id"), 10, r"images\[1\]\.id: 10 is also that of images\[0\]"),
        (("images", 1, "width"), 0, r"images\[1\]\.width: expected 1 to"),
        (("images", 1, "file_name"), None, r"images\[1\]\.file_name: expected text, got None"),
        (("categories", 2, "name"), [], r"categories\[2\]\.name: expected text, got \[\]"),
        (("categories", 2, "id"), 3, r"categories\[2\]\.id: 3 is also that of categories\[1\]"),
        (("annotations", 3, "image_id"), True, r"annotations\[3\]\.image_id: expected a whole"),
        (("annotations", 3, "bbox"), [1, 2], r"annotations\[3\]\.bbox: expected \[x, y, width"),
        (("annotations", 3, "iscrowd"), 2, r"annotations\[3\]\.iscrowd: expected 0 or 1, got 2"),
        (("annotations", 3, "area"), "big", r"annotations\[3\]\.area: expected a number, got"),
        (("annotations", 3, "image_id"), 11, r"annotations\[3\]\.image_id: no image has the id 11"),
        (("annotations", 3, "category_id"), 1, r"annotations\[3\]\.category_id: no category has"),
    ],
)
def test_broken_structure_is_named(write, content, path, value, message):
    change(path, value)(content)
    with pytest.raises(ValueError, match=rf"instances\.json: {message}"):
        CocoDataset(*write(content))


SEGMENTATIONS = [
    ("abc", ": expected polygons or run lengths, got str abc"),
    ([1, 2, 3, 4], r"\[0\]: 4 numbers; a polygon needs"),
    ([[1, 2, 3, 4]], r"\[0\]: 4 numbers; a polygon needs"),
    ([rectangle(1, 1, 5, 5), [1, 2, 3, 4, 5, 6, 7]], r"\[1\]: 7 numbers"),
    ([[1, 2, 3, 4, 5, "six"]], r"\[0\]: expected a list of finite numbers"),
    ([[1, 2, 3, 4, 5, float("nan")]], r"\[0\]: expected a list of finite numbers"),
    ([[1, 2, 3, 4, 5, 10**400]], r"\[0\]: expected a list of finite numbers"),
    ([rectangle(1, 1, 5e6, 5)], r"\[0\]: x from 1 to 5e\+06, far outside"),
    ({"counts": [600]}, ": run lengths need 'size' and 'counts'"),
    ({"size": [30, 20], "counts": [600]}, r"\.size: \[30, 20\], .*height and width swapped"),
    ({"size": [9, 9], "counts": [81]}, r"\.size: \[9, 9\], but the image is \[20, 30\]"),
    ({"size": [20, 30], "counts": [599]}, r"\.counts: 599 pixels in all, but the image has 600"),
    ({"size": [20, 30], "counts": [601, -1]}, r"\.counts: expected whole numbers"),
    ({"size": [20, 30], "counts": [300.5, 299.5]}, r"\.counts: expected whole numbers"),
    ({"size": [20, 30], "counts": "hi there"}, r"\.counts: not a string of COCO run lengths"),
    ({"size": [20, 30], "counts": "P"}, r"\.counts: not a string of COCO run lengths"),
    ({"size": [20, 30], "counts": "ü"}, r"\.counts: not a string of COCO run lengths"),
    ({"size": [20, 30], "counts": "oooooooooooooooo1"}, r"\.counts: not a string"),
    ({"size": [20, 30], "counts": ""}, r"\.counts: 0 pixels in all"),
    ({"size": [20, 30], "counts": 5}, r"\.counts: expected a list or a string"),
]


@pytest.mark.parametrize(("segmentation", "message"), SEGMENTATIONS)
def test_broken_masks_are_named(write, content, segmentation, message):
    content["annotations"][1]["segmentation"] = segmentation
    with pytest.raises(ValueError, match=rf"json: annotations\[1\]\.segmentation{message}"):
        CocoDataset(*write(content))


def test_broken_json_says_where(write):
    with pytest.raises(ValueError, match=r"instances\.json: broken JSON in line 2, column 14"):
        CocoDataset(*write('{"images": [],\n "anno": [1, }'))
    with pytest.raises(ValueError, match=r"json: expected an object with images"):
        CocoDataset(*write("[1, 2]"))
    with pytest.raises(ValueError, match=r"annotations: expected a list.* found: images"):
        CocoDataset(*write('{"images": [], "annotations": 3}'))
    with pytest.raises(ValueError, match="broken JSON"):
        CocoDataset(*write("[" * 100000))
    with pytest.raises(ValueError, match="broken JSON"):
        CocoDataset(*write('{"images": ' + "9" * 5000 + "}"))
    path, folder = write("")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file in UTF-8"):
        CocoDataset(path, folder)


def test_byte_order_mark_is_accepted(write, content):
    path, folder = write()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(CocoDataset(path, folder)) == 4


def test_missing_things_get_a_suggestion(write, content):
    path, folder = write()
    with pytest.raises(FileNotFoundError, match=r"did you mean 'instances\.json'"):
        CocoDataset(path.with_name("instance.json"), folder)
    with pytest.raises(FileNotFoundError, match="no such folder; did you mean 'images'"):
        CocoDataset(path, folder.with_name("image"))
    with pytest.raises(ValueError, match=r"no category 'caw' .*did you mean 'cow'.*dog, cow"):
        CocoDataset(path, folder, classes=["caw"])
    with pytest.raises(ValueError, match="different names"):
        CocoDataset(path, folder, classes=["cat", "cat"])
    (folder / "a.png").rename(folder / "aa.png")
    with pytest.raises(FileNotFoundError, match=r"a\.png: no such file; did you mean 'aa\.png'"):
        CocoDataset(path, folder)


def test_sizes_that_disagree(write, content):
    content["images"][0] |= {"width": HEIGHT, "height": WIDTH}
    with pytest.raises(ValueError, match=r"a\.png: 30 x 20 pixels.* 20 x 30"):
        CocoDataset(*write(content))


def test_real_images(shared):
    """The nuclei: every image, counts as the data's README says."""
    root = shared / "data" / "nuclei"
    data = CocoDataset(root / "val" / "instances.json", root / "val" / "images")
    assert data.classes == ("nucleus",) and len(data) == 40
    truth = data.coco()
    by_image = {}
    for annotation in truth["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    total = 0
    for i in range(len(data)):
        sample = data[i]
        total += len(sample)
        boxes = np.array([a["bbox"] for a in by_image[sample.image_id]], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(sample.boxes, boxes, atol=1e-4)
    assert total == len(truth["annotations"]) == 1249


def test_content_is_not_changed(write, content):
    before = copy.deepcopy(content)
    data = CocoDataset(*write())
    data.coco()
    assert json.loads(data.path.read_text()) == before
    from_content(content, "instances.json")
    assert content == before
