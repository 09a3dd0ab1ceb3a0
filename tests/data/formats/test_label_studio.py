"""Label Studio: JSON of tasks, and JSON-MIN."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from drawn import (
    DISK,
    SCENE,
    assert_same_as_coco,
    brush,
    exact_ellipse,
    findings,
    iou,
    one_finding,
    only_mask,
    points,
    raster,
    save_images,
    write,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minimask.data import open_annotations
from minimask.data.formats import read_annotations, recognise
from minimask.data.formats.brush import brush_mask


def result(kind, value, label="disk", size=(60, 80), **more):
    labelled = value | ({f"{kind}labels": [label]} if label else {})
    return {
        "id": f"r{len(str(value))}{label}{more.get('number', '')}",
        "type": f"{kind}labels",
        "from_name": "label",
        "to_name": "image",
        "original_height": size[0],
        "original_width": size[1],
        "image_rotation": 0,
        "value": labelled,
    } | more


def polygon(flat, label="disk", size=(60, 80), **more):
    height, width = size
    scaled = [[x / width * 100, y / height * 100] for x, y in points(flat)]
    return result("polygon", {"points": scaled, "closed": True}, label, size, **more)


def rectangle(flat, label="box", size=(60, 80), **more):
    height, width = size
    x, y = flat[0] / width * 100, flat[1] / height * 100
    w, h = (flat[4] - flat[0]) / width * 100, (flat[5] - flat[1]) / height * 100
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": 0}
    return result("rectangle", value, label, size, **more)


def annotation(results, **more):
    return {"id": 1, "result": results, "was_cancelled": False} | more


def task(image, *annotations, **more):
    return {"id": 1, "data": {"image": image}, "annotations": list(annotations)} | more


def drawn_scene(name):
    height, width, objects = SCENE[name]
    draw = {"box": rectangle, "disk": polygon}
    return [draw[label](flat, label, (height, width)) for label, flat in objects]


def one(folder, *results, image="a.png"):
    """a.png and a file about it."""
    save_images(folder, ["a.png"])
    return write(folder / "export.json", [task(image, annotation(list(results)))])


@pytest.mark.parametrize(
    "address",
    [
        "{}",
        "/data/upload/1/0a1b2c3d-{}",
        "/data/local-files/?d=set/images/{}",
        "s3://bucket/images/{}",
        "https://host/images/{}?X-Amz-Signature=1",
        "https://host/a%20b/{}",
    ],
)
def test_tasks_are_the_same_as_coco(tmp_path, address):
    images = save_images(tmp_path / "images")
    tasks = [task(address.format(name), annotation(drawn_scene(name))) for name in SCENE]
    path = write(tmp_path / "export.json", tasks)
    assert recognise(path) == recognise(tmp_path) == "label_studio"
    assert not assert_same_as_coco(path, images).notes
    assert_same_as_coco(tmp_path)


def test_an_image_in_a_bucket(tmp_path):
    inside = base64.urlsafe_b64encode(b"gs://bucket/x/a.png").decode().rstrip("=")
    path = one(tmp_path, polygon(DISK), image=f"/tasks/7/resolve/?fileuri={inside}")
    assert len(open_annotations(path)) == 1


def test_the_short_form_is_the_same_as_coco(tmp_path):
    save_images(tmp_path)
    items = []
    for i, name in enumerate(SCENE):
        regions = [
            r["value"] | {k: r[k] for k in ("original_width", "original_height")}
            for r in drawn_scene(name)
        ]
        short = {"image": name, "id": i, "label": regions, "annotator": 1, "annotation_id": i}
        items += [short | {"updated_at": "2026-02-01", "annotation_id": 90 + i}]
        items += [short | {"label": [], "updated_at": "2026-01-31"}]  # older
    path = write(tmp_path / "min.json", items)
    assert recognise(path) == "label_studio"
    assert "3 older annotations" in assert_same_as_coco(path).notes[0].message


def test_one_task(tmp_path):
    path = write(save_images(tmp_path) / "1.json", task("a.png", annotation(drawn_scene("a.png"))))
    assert recognise(path) == "label_studio"
    assert_same_as_coco(path, None, {"a.png": SCENE["a.png"]})


def test_which_annotation_is_read(tmp_path):
    save_images(tmp_path)
    right, wrong = drawn_scene("a.png"), drawn_scene("b.png")
    only_a = {"a.png": SCENE["a.png"]}
    for listed in (
        [annotation(right, created_at="2026-03-02"), annotation(wrong, created_at="2026-03-01")],
        [annotation(wrong, id=1), annotation(right, id=2)],
        [annotation(right, ground_truth=True), annotation(wrong, id=9)],
        [annotation(right), annotation(wrong, id=9, was_cancelled=True)],
    ):
        assert_same_as_coco(write(tmp_path / "x.json", [task("a.png", *listed)]), None, only_a)


def test_unfinished_tasks_are_left_out(tmp_path):
    save_images(tmp_path)
    tasks = [
        task("a.png", annotation(drawn_scene("a.png"))),
        task("b.png", annotation([], was_cancelled=True)),
        task("c.png", predictions=[annotation(drawn_scene("b.png"))]),
    ]
    data = assert_same_as_coco(write(tmp_path / "x.json", tasks), None, {"a.png": SCENE["a.png"]})
    messages = [note.message for note in data.notes if note.severity == "warning"]
    assert ["1 tasks without" in messages[0], "predictions only" in messages[1]] == [True, True]


def test_labels_in_a_result_of_their_own(tmp_path):
    shape = polygon(DISK, None) | {"id": "r", "type": "polygon"}
    label = {"id": "r", "type": "labels", "value": {"labels": ["disk"]}}
    choice = {"id": "r", "type": "choices", "value": {"choices": ["disk"]}}
    for other in (label, choice):
        for order in ([shape, other], [other, shape]):
            assert open_annotations(one(tmp_path, *order)).classes == ("disk",)


def test_several_labels(tmp_path):
    shape = polygon(DISK)
    shape["value"]["polygonlabels"] = ["disk", "old"]
    path = one(tmp_path, shape)
    assert open_annotations(path).classes == ("disk",)
    assert "several labels" in one_finding(path, severity="warning")


def test_turned_rectangle_and_ellipse(tmp_path):
    value = {"x": 25, "y": 25, "width": 50, "height": 40, "rotation": 20}
    y, x = np.mgrid[:60, :80] + 0.5
    t = np.radians(20)  # about the upper left corner, clockwise
    u = (x - 20) * np.cos(t) + (y - 15) * np.sin(t)
    v = (y - 15) * np.cos(t) - (x - 20) * np.sin(t)
    exact = (u >= 0) & (u <= 40) & (v >= 0) & (v <= 24)
    assert iou(only_mask(one(tmp_path, result("rectangle", value))), exact) > 0.97
    value = {"x": 50, "y": 50, "radiusX": 30, "radiusY": 20, "rotation": 30}
    exact = exact_ellipse(60, 80, 40, 30, 24, 12, 30)
    assert iou(only_mask(one(tmp_path, result("ellipse", value))), exact) > 0.97


def test_brush(tmp_path):
    mask = np.zeros((60, 80), bool)
    mask[10:30, 20:50] = np.random.default_rng(0).random((20, 30)) < 0.6
    value = {"format": "rle", "rle": brush(mask)}
    assert np.array_equal(only_mask(one(tmp_path, result("brush", value))), mask)


@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_every_brush_mask_comes_back(height, width, random):
    mask = np.array([random.random() < 0.5 for _ in range(height * width)]).reshape(height, width)
    mask[0, 0] = True
    assert np.array_equal(brush_mask(brush(mask), height, width), mask)


def test_what_has_no_area_is_counted(tmp_path):
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}
    image_choice = {"id": "z", "type": "choices", "value": {"choices": ["sunny"]}}
    point = result("keypoint", {"x": 1, "y": 1, "width": 1})
    path = one(tmp_path, polygon(DISK), relation, relation, image_choice, point)
    assert np.array_equal(only_mask(path), raster([DISK], 60, 80))
    notes = [text for kind, text in findings(path) if kind == "note"]
    assert len(notes) == 3 and "2 results of the kind 'relation'" in notes[0]


def broken_brush(rle):
    return result("brush", {"format": "rle", "rle": rle})


FULL = brush(np.ones((60, 80), bool))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "expected an object, got int 7"),
        (polygon(DISK, None), "no label, so no class"),
        (result("polygon", {"points": [[1, 2], [3], [4, 5]]}), "points[1]: expected a point"),
        (result("polygon", {"points": 3}), "points: expected a list of points, got int 3"),
        (result("rectangle", {"x": 1, "y": 2, "width": 3}), "height: expected a number"),
        (result("ellipse", {"x": float("inf"), "y": 2}), "x: expected a number"),
        (result("blob", {"x": 1}), "type: 'blob' is not known"),
        (broken_brush([1, 2, 300]), "whole numbers from 0 to 255"),
        (broken_brush([1, 2]), "rle: cut off"),
        (broken_brush(FULL[:-2]), "rle: cut off"),
        (broken_brush([255] * 40), "4294967295 values of 32 bits; an image of 80 x 60 has 19200"),
        (broken_brush(None), "rle: expected a list"),
    ],
)
def test_a_broken_result_is_named_and_the_rest_read(tmp_path, given, message):
    path = one(tmp_path, rectangle([1, 1, 5, 1, 5, 5, 1, 5], number=1), given)
    found = one_finding(path)
    assert message in found and "[0].result[1]" in found and str(path) in found
    assert len(read_annotations(path).annotations) == 1


def test_leftovers_are_left_out_with_a_warning(tmp_path):
    path = one(tmp_path, polygon(DISK), polygon([1, 1, 2, 2]))
    assert "2 different points" in one_finding(path, severity="warning")
    path = one(tmp_path, polygon(DISK), broken_brush(brush(np.zeros((60, 80), bool))))
    assert "an empty mask" in one_finding(path, severity="warning")


def test_damaged_tasks(tmp_path):
    save_images(tmp_path)
    good = task("a.png", annotation(drawn_scene("a.png")))
    for bad, message in (
        (5, "[1]: expected an object, got int 5"),
        (task(3, annotation([])), "no image in it"),
        (task("b.png", annotation(None)), "result: expected a list, got nothing"),
        (task("data:image/png;base64,AAAA", annotation([])), "no such file"),
        (task("zz.png", annotation([])), "zz.png: no such file"),
    ):
        path = write(tmp_path / "x.json", [good, bad])
        assert message in one_finding(path)
        assert len(read_annotations(path).annotations) == 2
    with pytest.raises(ValueError, match=r"x\.json: expected a list of tasks, got int 3"):
        read_annotations(write(tmp_path / "x.json", "3"), format="label_studio")
