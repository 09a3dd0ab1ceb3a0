"""labelme: a JSON file beside each image."""

from __future__ import annotations

import base64
import io

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
    points,
    raster,
    save_images,
    write,
)
from PIL import Image

from minimask.data import open_annotations
from minimask.data.formats import read_annotations, recognise


def shape(label, drawn, *corners, **more):
    return {"label": label, "points": list(corners), "group_id": None, "shape_type": drawn} | more


def document(name, shapes, **more):
    height, width, _ = SCENE[name]
    sizes = {"imageHeight": height, "imageWidth": width}
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
    } | (sizes | more)


def in_base64(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def drawn_scene(name):
    """Boxes as rectangles, from their lower right corner; others as polygons."""
    for label, polygon in SCENE[name][2]:
        if label == "box":
            yield shape(label, "rectangle", polygon[4:6], polygon[:2])
        else:
            yield shape(label, "polygon", *points(polygon))


@pytest.fixture
def beside(tmp_path):
    """A folder of images and their files, as labelme leaves it."""
    save_images(tmp_path)
    for name in SCENE:
        write(tmp_path / f"{name[:-4]}.json", document(name, list(drawn_scene(name))))
    return tmp_path


def one(folder, *shapes, **more):
    """A folder with a.png and one file about it."""
    save_images(folder, ["a.png"])
    return write(folder / "a.json", document("a.png", list(shapes), **more))


def test_a_folder_is_the_same_as_coco(beside):
    assert recognise(beside) == "labelme"
    data = assert_same_as_coco(beside)
    assert data.classes == ("box", "disk") and not data.notes


def test_one_file(beside):
    assert recognise(beside / "a.json") == "labelme"
    assert_same_as_coco(beside / "a.json", None, {"a.png": SCENE["a.png"]})


def test_a_tree_with_equal_names_in_two_folders(tmp_path):
    for place in ("day", "night"):
        one(tmp_path / place, shape(place, "rectangle", [1, 1], [5, 5]))
    data = open_annotations(tmp_path)
    assert [image["file_name"] for image in data.images] == ["day/a.png", "night/a.png"]
    assert [len(sample.masks) for sample in data] == [1, 1]


@pytest.mark.parametrize(
    "image_path",
    ["../images/{}", "..\\images\\{}", "C:\\Users\\me\\images\\{}", "/home/me/IMAGES/{}"],
)
def test_images_in_a_folder_of_their_own(tmp_path, image_path):
    images = save_images(tmp_path / "images")
    for name in SCENE:
        content = document(name, list(drawn_scene(name)), imagePath=image_path.format(name))
        write(tmp_path / "labels" / f"{name[:-4]}.json", content)
    assert_same_as_coco(tmp_path / "labels", images)
    if image_path.startswith(".."):
        data = assert_same_as_coco(tmp_path / "labels")
        assert data.folder == tmp_path and data.images[0]["file_name"] == "images/a.png"


def test_relative_paths_stay_as_they_were_typed(tmp_path, monkeypatch):
    save_images(tmp_path / "images")
    write(tmp_path / "labels/a.json", document("a.png", [], imagePath="../images/a.png"))
    monkeypatch.chdir(tmp_path)
    assert open_annotations("labels").describe(0) == "images/a.png"
    monkeypatch.chdir(tmp_path / "labels")
    assert open_annotations("a.json").describe(0) == "../images/a.png"


def test_images_are_not_looked_for_far_above(tmp_path):
    save_images(tmp_path / "images")
    far = "../../../images/a.png"
    path = write(tmp_path / "x/y/z/a.json", document("a.png", [], imagePath=far))
    assert "no such file" in one_finding(path)
    near = write(tmp_path / "x/y/a.json", document("a.png", [], imagePath="../../images/a.png"))
    assert open_annotations(near).folder == tmp_path


def test_an_absolute_path_elsewhere_is_not_read(tmp_path):
    images = save_images(tmp_path / "elsewhere")
    path = one(tmp_path / "mine", imagePath=str(images / "b.png"))
    assert open_annotations(path).describe(0) == str(tmp_path / "mine/a.png")


def test_a_renamed_image_is_found_by_the_name_of_the_file(tmp_path):
    data = open_annotations(one(tmp_path, imagePath="IMG_0001.jpg"))
    assert data.images[0]["file_name"] == "a.png"
    assert "name of the JSON file" in data.notes[0].message


def test_upper_case_suffix(tmp_path):
    assert len(open_annotations(one(tmp_path, imagePath="A.PNG"))) == 1


def test_parts_of_one_object_share_group_and_label(tmp_path):
    path = one(
        tmp_path,
        shape("box", "rectangle", [1, 1], [5, 5], group_id=3),
        shape("disk", "rectangle", [30, 30], [33, 33], group_id=3),
        shape("box", "rectangle", [10, 1], [15, 5], group_id=3),
        shape("box", "rectangle", [20, 1], [25, 5]),
        shape("box", "rectangle", [40, 1], [45, 5]),
    )
    masks = open_annotations(path)[0].masks
    assert [int(mask.sum()) for mask in masks] == [16 + 20, 9, 20, 20]


def test_circle(tmp_path):
    path = one(tmp_path, shape("disk", "circle", [40, 30], [40, 12]))
    assert iou(only_mask(path), exact_ellipse(60, 80, 40, 30, 18, 18)) > 0.98


def test_masks_fill_their_box_to_the_last_pixel(tmp_path):
    pixels = np.random.default_rng(0).random((10, 16)) < 0.5
    whole = np.zeros((60, 80), bool)
    whole[5:15, 4:20] = pixels
    for values in (pixels, pixels.astype(np.uint8), pixels * np.uint8(255)):
        picture = in_base64(Image.fromarray(values))
        path = one(tmp_path, shape("disk", "mask", [4, 5], [19, 14], mask=picture))
        assert np.array_equal(only_mask(path), whole)


def test_a_mask_and_a_polygon_in_one_group(tmp_path):
    picture = in_base64(Image.fromarray(np.ones((4, 4), np.uint8)))
    path = one(
        tmp_path,
        shape("disk", "mask", [50, 50], [53, 53], mask=picture, group_id=1),
        shape("disk", "polygon", *points(DISK), group_id=1),
    )
    whole = raster([DISK], 60, 80)
    whole[50:54, 50:54] = True
    assert np.array_equal(only_mask(path), whole)


def test_old_files_say_less(tmp_path):
    old = {"shapes": [{"label": "disk", "points": points(DISK)}], "imagePath": "a.png"}
    save_images(tmp_path, ["a.png"])
    assert np.array_equal(only_mask(write(tmp_path / "a.json", old)), raster([DISK], 60, 80))


def test_what_has_no_area_is_counted(tmp_path):
    path = one(
        tmp_path,
        shape("x", "point", [1, 1]),
        shape("x", "point", [2, 2]),
        shape("x", "linestrip", [1, 1], [5, 5], [9, 1]),
        shape("box", "linestrip", [1, 1], [9, 1], [9, 9], [1, 1]),
    )
    assert open_annotations(path).classes == ("box",)
    notes = [text for kind, text in findings(path) if kind == "note"]
    assert len(notes) == 2 and "2 shapes of the kind 'point'" in notes[0]


def test_other_json_files_are_passed_over(beside):
    write(beside / "settings.json", {"a": 1})
    write(beside / "broken.json", "{")
    (beside / "folder.json").mkdir()
    data = assert_same_as_coco(beside)
    assert "2 other JSON files" in data.notes[0].message


def test_the_size_inside_when_the_image_is_gone(tmp_path):
    inside = in_base64(Image.new("RGB", (80, 60)))
    content = document("a.png", list(drawn_scene("a.png")), imageData=inside)
    del content["imageHeight"]
    found = read_annotations(write(tmp_path / "a.json", content))
    assert (found.images[0]["height"], found.images[0]["width"]) == (60, 80)
    assert len(found.annotations) == 2
    assert found.notes[0].severity == "error" and "imageData" in found.notes[0].advice


PNG = in_base64(Image.fromarray(np.ones((3, 3), np.uint8)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "shapes[0]: expected an object, got int 7"),
        (shape(None, "polygon", *points(DISK)), "shapes[0]: label: expected text, got nothing"),
        (shape("  ", "polygon", *points(DISK)), "label: expected text"),
        (shape("x", "blob", [1, 1]), "shape_type: 'blob' is not known"),
        (shape("x", "rectangle", [1, 1]), "points: expected 2 for a rectangle, got 1 points"),
        (shape("x", "circle", [1, 1], [2]), "points[1]: expected a point [x, y]"),
        (shape("x", "polygon", [1, 1], [2, 2], [float("nan"), 1]), "points[2]: expected a number"),
        (shape("x", "polygon", [1, 1], [2, 2], [1e300, 1]), "below 1e9, got 1e+300"),
        (shape("x", "polygon", [1, 1], [2, 2], ["a", 1]), "points[2]: expected a number, got 'a'"),
        (shape("x", "mask", [1, 1], [2, 2]), "mask: expected an image in base64, got nothing"),
        (shape("x", "mask", [1, 1], [2, 2], mask="!"), "mask:"),
        (shape("x", "mask", [1, 1], [9, 9], mask=PNG), "3 x 3 pixels, but its box has 9 x 9"),
        (
            shape("x", "polygon") | {"points": None},
            "points: expected a list of points, got nothing",
        ),
    ],
)
def test_a_broken_shape_is_named_and_the_rest_read(tmp_path, given, message):
    path = one(tmp_path, given, shape("box", "rectangle", [1, 1], [5, 5]))
    found = one_finding(path)
    assert message in found and "shapes[0]" in found and str(path) in found
    assert len(read_annotations(path).annotations) == 1


@pytest.mark.parametrize(
    "leftover",
    [
        shape("x", "polygon", [1, 1], [2, 2]),
        shape("x", "polygon", [1, 1], [2, 2], [2, 2], [1, 1]),
        shape("x", "rectangle", [4, 4], [4, 9]),
        shape("x", "circle", [4, 4], [4, 4]),
    ],
)
def test_leftovers_are_left_out_with_a_warning(tmp_path, leftover):
    path = one(tmp_path, leftover, shape("box", "rectangle", [1, 1], [5, 5]))
    assert "shapes[0]" in one_finding(path, severity="warning")
    assert open_annotations(path).classes == ("box",)


def test_damaged_files(tmp_path, beside):
    with pytest.raises(ValueError, match=r"a\.json: broken JSON in line 1, column 2"):
        read_annotations(write(tmp_path / "d" / "a.json", "{"), format="labelme")
    with pytest.raises(ValueError, match=r"a\.json: shapes: expected a list, got dict"):
        read_annotations(write(tmp_path / "d" / "a.json", '{"shapes": {}}'), format="labelme")
    whole = (beside / "b.json").read_text()
    write(beside / "b.json", whole[:-2] + ",,")
    assert "b.json: broken JSON" in one_finding(beside)
    (beside / "b.json").write_bytes(whole.encode().replace(b"disk", b"d\xffsk"))
    assert "b.json: not a text file in UTF-8" in one_finding(beside)
    assert len(read_annotations(beside).images) == 2


def test_an_image_that_is_not_there(beside):
    (beside / "b.png").unlink()
    assert "b.png: no such file" in one_finding(beside)
    for name in ("a", "c"):
        (beside / f"{name}.png").unlink()
    assert "none of the 3 images is in" in one_finding(beside)
