"""`minimask data convert`: any format in, four out, with the same masks."""

from __future__ import annotations

import json
import os
import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from runs import invoke

from minimask.data import read_annotations
from minimask.data.sample import encode_masks
from minimask.data.segmentation import decode
from minimask.data.writers.outlines import joined, pixel_rings
from minimask.data.writers.yolo import outline

sys.path.append(str(pathlib.Path(__file__).parents[2] / "data" / "formats"))
import made_pixels as made

TARGETS = ("coco", "masks", "labelme", "yolo")
WITHOUT_CROWDS = ("labelme", "yolo")


def run(*words: object, code: int = 0) -> str:
    result = invoke("data", "convert", *words)
    assert result.exit_code == code, result.output
    return result.output


def read_back(out: pathlib.Path, to: str, images: pathlib.Path | None = None) -> dict:
    return made.held(read_annotations(out, images if to == "coco" else None))


def tree(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def coco(folder: pathlib.Path) -> pathlib.Path:
    """Polygons in several parts, outside the image and overlapping; run lengths; a crowd."""
    made.save_images(folder / "images" / "deep", "a b {}.png")
    (_, ring), (_, pieces), (_, pixel), _ = made.scene(0)
    runs = encode_masks(np.stack([ring, pieces, pixel]))
    polygons = [
        [[3.25, 4.5, 20.1, 6.3, 11.7, 22.9]],
        [[3, 4, 9, 4, 9, 9], [20.5, 20.5, 30.2, 21, 25, 33.3], [21, 21, 29, 22, 24, 35]],
        [[-5.5, -3, 70, 12, 12, 55]],
    ]
    masks = [*polygons, *runs, runs[0]]
    annotations = [
        {
            "id": 10 * i + k,
            "image_id": k,
            "category_id": 3 + 4 * (i % 2),
            "segmentation": mask,
            "iscrowd": int(i == len(masks) - 1),
        }
        for k in range(2)
        for i, mask in enumerate(masks)
    ]
    content = {
        "images": [
            {"id": k, "file_name": f"deep/a b img_{k}.png", "width": made.W, "height": made.H}
            for k in range(3)
        ],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "odd/name: 50%"}, {"id": 3, "name": "Zelle"}],
    }
    (folder / "all.json").write_text(json.dumps(content))
    return folder / "all.json"


@pytest.mark.parametrize("to", TARGETS)
def test_round_trips_keep_every_pixel(tmp_path, to) -> None:
    source = coco(tmp_path / "data")
    want = made.held(read_annotations(source))
    out = tmp_path / ("out.json" if to == "coco" else "out")
    said = run(source, "--to", to, "--out", out)
    assert "3 images" in said and ("2 crowd regions" in said) == (to in WITHOUT_CROWDS)
    if to in WITHOUT_CROWDS:
        want = {stem: [o for o in objects if not o[2]] for stem, objects in want.items()}
    assert read_back(out, to, source.parent / "images") == want
    classes = [
        c["name"]
        for c in read_annotations(
            out, source.parent / "images" if to == "coco" else None
        ).categories
    ]
    assert sorted(classes) == ["Zelle", "odd/name: 50%"]
    again = tmp_path / "again.json"  # and from there to COCO
    run(out, "--out", again, *(["--images", source.parent / "images"] if to == "coco" else []))
    assert read_back(again, "coco", source.parent / "images" if to == "coco" else out) == want


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("format", made.MAKERS)
def test_every_format_in_every_form(tmp_path, format, to) -> None:
    data = made.MAKERS[format](tmp_path / "data")
    out = tmp_path / ("out.json" if to == "coco" else "out")
    words = [] if data.images is None else ["--images", data.images]
    run(data.path, *words, "--to", to, "--out", out)
    want = made.packed(data.want)
    if to in WITHOUT_CROWDS:
        want = {stem: [o for o in objects if not o[2]] for stem, objects in want.items()}
    folder = read_annotations(data.path, data.images).folder
    assert read_back(out, to, folder) == want


def test_coco_keeps_ids_and_polygons_as_they_are(tmp_path) -> None:
    source = coco(tmp_path / "data")
    run(source, "--out", tmp_path / "out.json")
    old, new = (json.loads(p.read_text()) for p in (source, tmp_path / "out.json"))
    assert [a["id"] for a in old["annotations"]] == [a["id"] for a in new["annotations"]]
    for before, after in zip(old["annotations"], new["annotations"], strict=True):
        assert before["segmentation"] == after["segmentation"]
        assert before["category_id"] == after["category_id"]
        assert after["area"] > 0 and len(after["bbox"]) == 4
    assert old["images"] == new["images"]


def test_images_are_linked_or_copied(tmp_path) -> None:
    data = made.label_images(tmp_path / "data")
    said = run(data.path, "--to", "yolo", "--out", tmp_path / "a")
    assert "images as links" in said
    link = tmp_path / "a" / "images" / "img_0.png"
    assert link.is_symlink() and link.samefile(tmp_path / "data" / "images" / "img_0.png")
    said = run(data.path, "--to", "yolo", "--out", tmp_path / "b", "--copy")
    copied = tmp_path / "b" / "images" / "img_0.png"
    assert "images copied" in said and not copied.is_symlink()
    assert copied.read_bytes() == link.read_bytes()
    assert "--copy" in run(data.path, "--out", tmp_path / "c.json", "--copy", code=1)
    assert not (tmp_path / "c.json").exists()


def test_classes_are_named_or_chosen(tmp_path) -> None:
    data = made.label_images(tmp_path / "data")
    assert "(cell 12)" in run(data.path, "--out", tmp_path / "a.json", "--classes", "cell")
    assert "holds 1 kinds" in run(data.path, "--out", tmp_path / "b", "--classes", "a,b", code=1)
    voc = made.pascal_voc(tmp_path / "voc")
    said = run(voc.path, "--out", tmp_path / "c.json", "--classes", "bicycle")
    assert "(bicycle 6)" in said
    content = json.loads((tmp_path / "c.json").read_text())
    assert [c["name"] for c in content["categories"]] == ["bicycle"]
    assert "no category 'bicicle'" in run(
        voc.path, "--out", tmp_path / "d.json", "--classes", "bicicle", code=1
    )


def test_nothing_that_is_read_or_not_ours_is_replaced(tmp_path) -> None:
    source = coco(tmp_path / "data")
    (tmp_path / ".converted.json").write_text("{}")  # as if all of it had been written here
    before = tree(tmp_path)
    images = source.parent / "images"
    for out, to in [
        (source, "coco"),
        (images, "masks"),
        (source.parent, "yolo"),
        (tmp_path, "labelme"),
        (tmp_path / "data" / ".." / "data" / "all.json", "coco"),
    ]:
        said = run(source, "--to", to, "--out", out, "--force", code=1)
        assert "holds what is read" in said or "is read by this command" in said
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    said = run(source, "--to", "yolo", "--out", tmp_path / "mine", code=1)
    assert "is not empty" in said
    said = run(source, "--to", "yolo", "--out", tmp_path / "mine", "--force", code=1)
    assert "was not written by" in said
    (tmp_path / "mine" / "diary.txt").unlink()
    (tmp_path / "mine").rmdir()
    assert tree(tmp_path) == before


def test_force_replaces_what_was_written_before(tmp_path) -> None:
    source = coco(tmp_path / "data")
    for to in ("yolo", "masks"):
        assert "objects" in run(source, "--to", to, "--out", tmp_path / "out", "--force")
    assert (
        not (tmp_path / "out" / "labels").exists() and (tmp_path / "out" / "classes.txt").exists()
    )
    run(source, "--out", tmp_path / "a.json")
    assert "exists already" in run(source, "--out", tmp_path / "a.json", code=1)
    run(source, "--out", tmp_path / "a.json", "--force")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "data", "out"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    data = made.label_images(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(Image.Image, "save", full)
    said = run(data.path, "--to", "masks", "--out", tmp_path / "out", code=1)
    assert "No space left" in said and sorted(tmp_path.rglob("*")) == before


def test_broken_annotations_stop_it_or_are_left_out(tmp_path) -> None:
    data = made.label_images(tmp_path / "data")
    data.files[0].write_bytes(b"no image")
    said = run(data.path, "--out", tmp_path / "a.json", code=1)
    assert str(data.files[0]) in said and "data check" in said
    assert not (tmp_path / "a.json").exists()
    said = run(data.path, "--out", tmp_path / "a.json", "--skip")
    assert "left out" in said and "2 images, 8 objects" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere", "--out", "x"], 1, "nowhere: no such"),
        ([".", "--out", "x", "--to", "tfrecord"], 2, "--to: expected one of coco, labelme"),
        ([".", "--out", "x", "--data", "vok"], 2, "--data: expected one of"),
        ([".", "--out", "x"], 1, "no annotation format that is known here"),
        ([".", "--out", "x", "--images", "no"], 1, "no: no such folder"),
        ([".", "--out", "x", "--classes", "a,,b"], 2, "--classes: expected names"),
    ],
)
def test_wrong_use(tmp_path, monkeypatch, words, code, said) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in run(*words, code=code)
    assert not os.listdir(tmp_path)


def test_parts_that_touch_at_a_corner_have_outlines_of_their_own() -> None:
    for mask in (np.eye(2, dtype=bool), np.eye(3, dtype=bool)[::-1]):
        assert len(pixel_rings(mask)) == len(mask)
    assert len(pixel_rings(~np.eye(3, dtype=bool))) == 2


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.1, 0.95), st.integers(0, 2**32 - 1))
def test_outlines_cover_exactly_their_pixels(height, width, share, seed) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    mask[0, 0] = True
    polygon = joined(pixel_rings(mask))
    np.testing.assert_array_equal(decode([polygon.ravel().tolist()], height, width), mask)
    (runs,) = encode_masks(mask[None])
    assert outline(runs, height, width)[1]


@settings(deadline=None, max_examples=60)
@given(st.integers(5, 60), st.integers(5, 60), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_polygons_become_one_of_the_same_pixels(height, width, parts, seed) -> None:
    random = np.random.default_rng(seed)
    polygons = [
        (random.random((random.integers(3, 8), 2)) * (width, height) * 1.1 - 1).ravel().tolist()
        for _ in range(parts)
    ]
    mask = decode(polygons, height, width)
    if not mask.any():
        return
    text, exact = outline(polygons, height, width)
    points = np.array(text.split(), float).reshape(-1, 2)
    assert exact and (points >= 0).all() and (points <= 1).all()
    drawn = decode([(points * (width, height)).ravel().tolist()], height, width)
    np.testing.assert_array_equal(drawn, mask)
