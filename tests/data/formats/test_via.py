"""VGG Image Annotator: annotations as JSON, project, CSV."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from drawn import (
    DISK,
    SCENE,
    assert_same_as_coco,
    exact_ellipse,
    findings,
    iou,
    one_finding,
    only_mask,
    raster,
    save_images,
    write,
)

from minimask.data import open_annotations
from minimask.data.formats import read_annotations, recognise


def polygon(flat):
    return {"name": "polygon", "all_points_x": flat[0::2], "all_points_y": flat[1::2]}


def rect(flat):
    x, y = flat[:2]
    return {"name": "rect", "x": x, "y": y, "width": flat[4] - x, "height": flat[5] - y}


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(name, regions, size=1234):
    return {"filename": name, "size": size, "regions": regions, "file_attributes": {}}


def scene(attribute="class", as_dict=False):
    """The annotation file of the scene."""
    content = {}
    for name, (_, _, objects) in SCENE.items():
        regions = [
            region(rect(p) if label == "box" else polygon(p), **{attribute: label})
            for label, p in objects
        ]
        numbered = {str(i): r for i, r in enumerate(regions)}
        content[f"{name}1234"] = entry(name, numbered if as_dict else regions)
    return content


def project(content, attributes):
    return {
        "_via_settings": {"core": {"default_filepath": ""}},
        "_via_img_metadata": content,
        "_via_attributes": {"region": attributes, "file": {}},
    }


def as_csv(content, delimiter=","):
    header = ["filename", "file_size", "file_attributes", "region_count", "region_id"]
    header += ["region_shape_attributes", "region_attributes"]
    text = io.StringIO()
    rows = csv.writer(text, delimiter=delimiter)
    rows.writerow(header)
    for e in content.values():
        for i, r in enumerate(e["regions"]):
            cells = [json.dumps(r["shape_attributes"]), json.dumps(r["region_attributes"])]
            rows.writerow([e["filename"], 1, "{}", len(e["regions"]), i, *cells])
        if not e["regions"]:
            rows.writerow([e["filename"], 1, "{}", 0, 0, "{}", "{}"])
    return text.getvalue()


def one(folder, *regions, attributes=None):
    """a.png and a file about it."""
    save_images(folder, ["a.png"])
    content = {"a.png1": entry("a.png", list(regions))}
    return write(folder / "via.json", project(content, attributes or {}))


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("attribute", ["class", "Label", "what is it"])
def test_annotations_are_the_same_as_coco(tmp_path, as_dict, attribute):
    images = save_images(tmp_path / "images")
    path = write(tmp_path / "via.json", scene(attribute, as_dict))
    assert recognise(path) == "via"
    assert not assert_same_as_coco(path, images).notes
    assert_same_as_coco(path)  # images/ below the file


def test_project_and_csv_are_the_same_as_coco(tmp_path):
    save_images(tmp_path)
    kinds = {"class": {"type": "dropdown", "options": {"disk": "", "box": "", "other": ""}}}
    path = write(tmp_path / "project.json", project(scene(), kinds))
    assert recognise(path) == "via"
    assert assert_same_as_coco(path).classes == ("disk", "box", "other")
    for name, delimiter in (("a.csv", ","), ("b.csv", ";")):
        path = write(tmp_path / name, as_csv(scene(), delimiter))
        assert recognise(path) == "via"
        assert_same_as_coco(path)


def test_the_folder_of_a_file(tmp_path):
    write(save_images(tmp_path) / "via_region_data.json", scene())
    assert recognise(tmp_path) == "via"
    assert_same_as_coco(tmp_path)


def test_circle_and_ellipse(tmp_path):
    path = one(tmp_path, region({"name": "circle", "cx": 40, "cy": 30, "r": 20.5}, kind="x"))
    assert iou(only_mask(path), exact_ellipse(60, 80, 40, 30, 20.5, 20.5)) > 0.98
    turned = {"name": "ellipse", "cx": 40, "cy": 30, "rx": 30, "ry": 10, "theta": math.pi / 6}
    path = one(tmp_path, region(turned, kind="x"))
    assert iou(only_mask(path), exact_ellipse(60, 80, 40, 30, 30, 10, 30)) > 0.97
    del turned["theta"]
    path = one(tmp_path, region(turned, kind="x"))
    assert iou(only_mask(path), exact_ellipse(60, 80, 40, 30, 30, 10)) > 0.97


def test_lines_and_points_are_counted_and_a_closed_line_is_a_polygon(tmp_path):
    line = polygon(DISK) | {"name": "polyline"}
    point = {"name": "point", "cx": 3, "cy": 3}
    closed = polygon([*DISK, *DISK[:2]]) | {"name": "polyline"}
    path = one(tmp_path, *(region(s, kind="x") for s in (line, point, closed)))
    assert np.array_equal(only_mask(path), raster([DISK], 60, 80))
    assert len([text for kind, text in findings(path) if "no area" in text]) == 2


def test_one_class_where_regions_have_no_attributes(tmp_path):
    found = read_annotations(one(tmp_path, region(polygon(DISK)), region(polygon(DISK))))
    assert [c["name"] for c in found.categories] == ["object"] and not found.names_classes
    assert "one class" in found.notes[0].message


@pytest.mark.parametrize(
    ("attributes", "declared", "label"),
    [
        ({"name": "n", "type": "cat", "image_quality": {"good": True}}, {}, "cat"),
        ({"colour": "red", "Class ": "cat"}, {}, "cat"),
        ({"colour": "red", "animal": "cat"}, {"animal": {"type": "radio", "options": {}}}, "cat"),
        ({"colour": "", "animal": "cat"}, {}, "cat"),
        ({"class": "2"}, {"class": {"type": "dropdown", "options": {"2": "cat"}}}, "cat"),
        ({"class": {"cat": True, "dog": False}}, {"class": {"type": "checkbox"}}, "cat"),
    ],
)
def test_which_attribute_is_the_class(tmp_path, attributes, declared, label):
    path = one(tmp_path, region(polygon(DISK), **attributes), attributes=declared)
    assert open_annotations(path).classes == (label,)
    notes = [text for kind, text in findings(path) if "the class is the attribute" in text]
    assert len(notes) == (len(attributes) > 1)


def test_any_of_several_attributes_could_be_the_class(tmp_path):
    path = one(tmp_path, region(polygon(DISK), colour="red", animal="cat"))
    with pytest.raises(
        ValueError, match=r"via\.json: .*'colour', 'animal'.*any could be the class"
    ):
        read_annotations(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (region(polygon(DISK)), "attribute 'class': no value"),
        (region(polygon(DISK), **{"class": {"a": True, "b": True}}), "several classes: a, b"),
        (region({"name": "blob"}, **{"class": "x"}), "'blob' is not known"),
        (region(None, **{"class": "x"}), "shape_attributes: expected an object, got nothing"),
        (
            region({"name": "rect", "x": 1, "y": 2, "width": 3}, **{"class": "x"}),
            "height: expected",
        ),
        (region({"name": "circle", "cx": 1, "cy": 2, "r": "r"}, **{"class": "x"}), "r: expected"),
        (region({"name": "polygon"}, **{"class": "x"}), "expected lists"),
        (region(polygon([*DISK, 1]), **{"class": "x"}), "8 numbers in all_points_x, but 7"),
        (7, "shape_attributes: expected an object"),
    ],
)
def test_a_broken_region_is_named_and_the_rest_read(tmp_path, given, message):
    path = one(tmp_path, region(rect([1, 1, 5, 1, 5, 5, 1, 5]), **{"class": "box"}), given)
    found = one_finding(path)
    assert message in found and "a.png1.regions[1]" in found and str(path) in found
    assert len(read_annotations(path).annotations) == 1


def test_a_leftover_is_left_out_with_a_warning(tmp_path):
    path = one(tmp_path, region(polygon(DISK), c="x"), region(polygon([1, 1, 2, 2]), c="x"))
    assert "2 different points" in one_finding(path, severity="warning")


def test_damaged_files(tmp_path):
    save_images(tmp_path)
    with pytest.raises(ValueError, match=r"v\.json: expected an object"):
        read_annotations(write(tmp_path / "v.json", "[]"), format="via")
    with pytest.raises(ValueError, match=r"v\.json: _via_img_metadata: expected an object"):
        read_annotations(write(tmp_path / "v.json", '{"_via_img_metadata": 3}'))
    with pytest.raises(ValueError, match=r"v\.csv: no column 'filename'"):
        read_annotations(write(tmp_path / "v.csv", "a,b\n1,2\n"), format="via")
    text = as_csv(scene()).replace('""all_points_x"": [', '""all_points_x"": ', 1)
    assert "line 3: broken JSON in a cell" in one_finding(write(tmp_path / "w.csv", text))
    content = scene()
    content["b.png1234"] = []
    assert "b.png1234: expected an object" in one_finding(write(tmp_path / "x.json", content))


def test_long_polygons_in_cells(tmp_path):
    save_images(tmp_path, ["a.png"])
    t = np.linspace(0, 2 * np.pi, 20_000)
    circle = np.stack([40 + 20 * np.cos(t), 30 + 20 * np.sin(t)], 1).ravel().tolist()
    text = as_csv({"a": entry("a.png", [region(polygon(circle), c="x")])})
    before = csv.field_size_limit()
    mask = only_mask(write(tmp_path / "v.csv", text))
    assert mask.sum() > 1000 and csv.field_size_limit() == before
