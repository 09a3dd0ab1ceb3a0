"""CVAT: XML for images and for video."""

from __future__ import annotations

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

from minimask.data import open_annotations
from minimask.data.formats import read_annotations, recognise

LABELS = """<meta><task><size>3</size><labels>
<label><name>disk</name><color>#ff0000</color><type>any</type><attributes></attributes></label>
<label><name>box</name><type>rectangle</type></label>
<label><name>street</name><type>tag</type></label>
<label><name>person</name><type>skeleton</type></label>
<label><name>nose</name><type>points</type><parent>person</parent></label>
</labels><original_size><width>80</width><height>60</height></original_size></task></meta>"""


def listed(polygon):
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in points(polygon))


def polygon(label, flat, more=""):
    return (
        f'<polygon label="{label}" source="manual" occluded="0" points="{listed(flat)}" '
        f'z_order="0" {more}><attribute name="colour">red</attribute></polygon>'
    )


def box(label, flat, more=""):
    x0, y0, x1, y1 = *flat[:2], *flat[4:6]
    return (
        f'<box label="{label}" occluded="1" xtl="{x0:.2f}" ytl="{y0:.2f}" xbr="{x1:.2f}" '
        f'ybr="{y1:.2f}" z_order="1" {more}></box>'
    )


def drawn(label, flat, more=""):
    return (box if label == "box" else polygon)(label, flat, more)


def image(name, shapes, size=None, number=0):
    height, width = size or SCENE[name][:2]
    head = f'<image id="{number}" name="{name}" width="{width}" height="{height}">'
    return f"{head}{''.join(shapes)}</image>"


def whole(body, labels=LABELS):
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>'
    return f"{head}{labels}{body}</annotations>"


def scene(prefix=""):
    return whole(
        "".join(
            image(name, [drawn(*o) for o in objects]).replace(name, prefix + name)
            for name, (_, _, objects) in SCENE.items()
        )
    )


def one(folder, *shapes):
    """a.png and a file about it."""
    save_images(folder, ["a.png"])
    return write(folder / "annotations.xml", whole(image("a.png", shapes)))


def test_images_are_the_same_as_coco(tmp_path):
    images = save_images(tmp_path / "images")
    for prefix in ("", "subset\\", "train/"):
        path = write(tmp_path / "annotations.xml", scene(prefix))
        assert recognise(path) == recognise(tmp_path) == "cvat"
        assert assert_same_as_coco(path, images).classes == ("disk", "box")  # the task's order
        assert_same_as_coco(path)
        assert_same_as_coco(tmp_path)


def test_several_files_in_one_folder(tmp_path):
    for name in ("a.png", "b.png"):
        folder = tmp_path / f"task_{name[0]}"
        save_images(folder / "images", [name])
        shapes = [drawn(*o) for o in SCENE[name][2]]
        write(folder / "annotations.xml", whole(image(name, shapes)))
    write(tmp_path / "other.xml", "<annotation/>")
    assert_same_as_coco(tmp_path, None, {n: SCENE[n] for n in ("a.png", "b.png")})


def test_other_xml_is_not_recognised(tmp_path):
    voc = "<annotation><folder>x</folder><object><name>a</name></object></annotation>"
    assert recognise(write(tmp_path / "a.xml", voc)) is None


def test_masks(tmp_path):
    pixels = np.random.default_rng(0).random((10, 16)) < 0.5
    pixels[0, 0] = False
    edges = np.flatnonzero(np.diff(pixels.ravel())) + 1
    runs = ", ".join(str(len(run)) for run in np.split(pixels.ravel(), edges))
    box = 'left="30" top="20" width="16" height="10"'
    path = one(tmp_path, f'<mask label="disk" occluded="0" rle="{runs}" {box} z_order="0"></mask>')
    expected = np.zeros((60, 80), bool)
    expected[20:30, 30:46] = pixels
    assert np.array_equal(only_mask(path), expected)


def test_turned_boxes_and_ellipses(tmp_path):
    turned = '<box label="box" xtl="20" ytl="20" xbr="60" ybr="40" rotation="30"></box>'
    y, x = np.mgrid[:60, :80] + 0.5
    t = np.radians(30)  # clockwise: the right end goes down
    u = (x - 40) * np.cos(t) + (y - 30) * np.sin(t)
    v = (y - 30) * np.cos(t) - (x - 40) * np.sin(t)
    assert iou(only_mask(one(tmp_path, turned)), (abs(u) <= 20) & (abs(v) <= 10)) > 0.97
    turned = '<ellipse label="disk" cx="40" cy="30" rx="30" ry="10" rotation="30"></ellipse>'
    assert iou(only_mask(one(tmp_path, turned)), exact_ellipse(60, 80, 40, 30, 30, 10, 30)) > 0.97


def test_shapes_of_a_group_and_label_are_one_object(tmp_path):
    parts = [[x, 1, x + 4, 1, x + 4, 5, x, 5] for x in (1, 11, 21)]
    shapes = [box("box", p, f'group_id="{g}"') for p, g in zip(parts, (7, 7, 0), strict=True)]
    path = one(tmp_path, *shapes, box("disk", [31, 1, 35, 1, 35, 5, 31, 5], 'group_id="7"'))
    assert [int(m.sum()) for m in open_annotations(path)[0].masks] == [32, 16, 16]


def test_what_has_no_area_is_counted(tmp_path):
    open_line = f'<polyline label="box" points="{listed(DISK)}"></polyline>'
    closed = f'<polyline label="disk" points="{listed([*DISK, *DISK[:2]])}"></polyline>'
    others = ['<points label="nose" points="1,1;2,2"/>', '<tag label="street"/>']
    path = one(tmp_path, open_line, closed, *others, others[0])
    assert np.array_equal(only_mask(path), raster([DISK], 60, 80))
    notes = [text for kind, text in findings(path) if kind == "note"]
    assert len(notes) == 3 and "2 shapes of the kind 'points'" in notes[1]


def track(frames, label="box", number=0):
    shapes = [
        box("", flat, f'frame="{frame}" outside="{outside}" keyframe="1"').replace('label=""', "")
        for frame, flat, outside in frames
    ]
    return f'<track id="{number}" label="{label}" source="manual">{"".join(shapes)}</track>'


SQUARE = [1, 1, 11, 1, 11, 11, 1, 11]


@pytest.mark.parametrize("names", [["frame_{:06d}.PNG"], ["{}.png"]])
def test_tracks(tmp_path, names):
    """Three frames; the object is outside in the last; another appears in frame 1."""
    save_images(tmp_path, ["a.png"])
    for i in range(3):
        (tmp_path / names[0].format(i)).write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "a.png").unlink()
    first = track([(0, SQUARE, 0), (1, SQUARE, 0), (2, SQUARE, 1)])
    path = write(tmp_path / "annotations.xml", whole(first + track([(1, SQUARE, 0)], "disk", 1)))
    data = open_annotations(path)
    assert [image["file_name"] for image in data.images] == [names[0].format(i) for i in (0, 1)]
    assert [[int(m.sum()) for m in sample.masks] for sample in data] == [[100], [100, 100]]
    assert bool(data.notes) == ("frame" not in names[0])  # taken in order: said


def test_tracks_without_images(tmp_path):
    path = write(tmp_path / "annotations.xml", whole(track([(i, SQUARE, 0) for i in range(5)])))
    assert "5 of 5 frames with objects have no image" in one_finding(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('<polygon points="1,1;2,2;3,1"/>', "label: there is none"),
        ('<blob label="box"/>', "<blob> is not known"),
        ('<polygon label="box" points="1,1;2;3,1"/>', "points[1]: expected a point"),
        ('<polygon label="box" points="1,1;a,2;3,1"/>', "expected a number, got 'a'"),
        ('<polygon label="box" points="1,1;nan,2;3,1"/>', "expected a number below 1e9"),
        ('<box label="box" xtl="1" ytl="1" xbr="4"/>', "ybr: expected a number"),
        ('<ellipse label="box" cx="1" cy="1" rx="4" ry="1e99"/>', "below 1e9, got 1e+99"),
        ('<mask label="box" rle="1,x" left="0" top="0" width="2" height="2"/>', "rle: expected"),
        ('<mask label="box" rle="1,2" left="0" top="0" width="2" height="2"/>', "3 pixels in all"),
        ('<mask label="box" rle="1,-1,4" left="0" top="0" width="2" height="2"/>', "none negative"),
        ('<mask label="box" rle="9" left="0" top="0" width="99999" height="99999"/>', "too many"),
    ],
)
def test_a_broken_shape_is_named_and_the_rest_read(tmp_path, given, message):
    path = one(tmp_path, box("box", SQUARE), given)
    found = one_finding(path)
    assert message in found and "image 'a.png'" in found and str(path) in found
    assert len(read_annotations(path).annotations) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations><version>1.1</version>", "broken XML: no element found: line 1"),
        ("<annotations><image></annotations>", "broken XML: mismatched tag"),
        ("<annotation></annotation>", "expected <annotations>"),
        ('<?xml version="1.0" encoding="nonsense"?><annotations/>', "encoding"),
    ],
)
def test_damaged_files(tmp_path, text, message):
    path = write(tmp_path / "a.xml", text)
    with pytest.raises(ValueError, match=message) as caught:
        read_annotations(path, format="cvat")
    assert str(path) in str(caught.value)


def test_documents_with_entities_are_refused_at_once(tmp_path):
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    for inside in (f'<!ENTITY l0 "ha">{laughs}', '<!ENTITY l11 SYSTEM "file:///etc/hostname">'):
        text = f'<?xml version="1.0"?><!DOCTYPE annotations [{inside}]>'
        path = write(
            tmp_path / "a.xml", f"{text}<annotations><version>&l11;</version></annotations>"
        )
        with pytest.raises(ValueError, match="document type"):
            read_annotations(path)
