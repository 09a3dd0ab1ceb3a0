"""Formats that hold pixels: recognised by content, read with exactly the masks they hold."""

from __future__ import annotations

import functools
import time

import made_pixels as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle

from minimask.data import open_annotations, read_annotations
from minimask.data.formats import recognise
from minimask.data.label_runs import objects_of_labels
from minimask.data.segmentation import decode

LAYOUTS = {
    **{
        f"labels {kind} {suffix}": (
            "label_images",
            functools.partial(made.label_images, kind=kind, suffix=suffix),
        )
        for kind, suffix in [
            ("u8", ".png"),
            ("u16", ".png"),
            ("u16", ".tif"),
            ("i32", ".tif"),
            ("f32", ".tif"),
            ("palette", ".png"),
            ("rgb", ".png"),
            ("npy", ".npy"),
        ]
    },
    "cellpose cp": ("label_images", made.cellpose),
    "cellpose masks": ("label_images", functools.partial(made.cellpose, ending="_masks.tif")),
    "mask folders": ("mask_folders", made.mask_folders),
    "mask folders, classes": ("mask_folders", functools.partial(made.mask_folders, classes=True)),
    "a folder per class": ("mask_folders", made.shared_folders),
    "a folder per image": ("mask_folders", functools.partial(made.shared_folders, by="image")),
    "beside": ("mask_folders", made.beside),
    "voc": ("pascal_voc", made.pascal_voc),
    "voc of CVAT": ("pascal_voc", functools.partial(made.pascal_voc, cvat=True)),
    "cityscapes": ("cityscapes", made.cityscapes),
    "cityscapes, polygons": ("cityscapes", made.city_polygons),
    "open images": ("open_images", made.open_images),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_masks(tmp_path, layout) -> None:
    format, make = LAYOUTS[layout]
    data = make(tmp_path / "set")
    assert recognise(data.path) == format
    found = read_annotations(data.path, data.images)
    assert not [str(note) for note in found.notes if note.severity == "error"]
    assert made.held(found) == made.packed(data.want)
    opened = open_annotations(data.path, data.images)
    for i, image in enumerate(opened.images):
        sample = opened[i]
        assert sample.masks.sum() == sum(m.sum() for _, m, _ in data.want[_stem(image)])
    assert len({str(place) for place in found.places}) == len(found.annotations)
    assert all(str(tmp_path) in found.place(i)[0] for i in range(len(found.annotations)))


def _stem(image) -> str:
    return image["file_name"].rpartition("/")[2].rpartition(".")[0]


@pytest.mark.parametrize(
    ("make", "annotations", "images"),
    [
        (made.label_images, "masks", "images"),
        (made.pascal_voc, "", "JPEGImages"),
        (made.pascal_voc, "SegmentationObject", "JPEGImages"),
        (made.cityscapes, "gtFine/train", "leftImg8bit/train"),
        (made.cityscapes, "gtFine", None),
        (made.cityscapes, "gtFine/train/a", None),
        (made.open_images, "", "images"),
        (made.open_images, "", None),
        (made.mask_folders, "", ""),
    ],
)
def test_folders_that_people_name(tmp_path, make, annotations, images) -> None:
    data = make(tmp_path)
    folder = None if images is None else tmp_path / images
    found = read_annotations(tmp_path / annotations, folder)
    assert made.held(found) == made.packed(data.want)


def test_voc_list_of_images(tmp_path) -> None:
    made.pascal_voc(tmp_path)
    found = read_annotations(tmp_path / "ImageSets" / "Segmentation" / "train.txt")
    assert [image["file_name"] for image in found.images] == ["img_0.jpg", "img_1.jpg"]
    assert len(found.categories) == 20
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("other")
    with pytest.raises(ValueError, match=r"train\.txt: names no file of"):
        read_annotations(tmp_path / "ImageSets" / "Segmentation" / "train.txt")


def notes(data: made.Made) -> list[str]:
    return [str(note) for note in read_annotations(data.path, data.images).notes]


def test_files_without_partner_are_noted(tmp_path) -> None:
    data = made.label_images(tmp_path)
    made.photo(7).save(tmp_path / "images" / "alone.png")
    data.files[0].rename(tmp_path / "masks" / "nobody.png")
    text = "\n".join(notes(data))
    assert text.count("no label image, so left out") == 2 and "note: " in text
    assert "nobody.png: a label image without an image" in text and "error" not in text
    assert len(read_annotations(data.path).images) == 2


@pytest.mark.parametrize(
    "make", [made.label_images, made.mask_folders, made.pascal_voc, made.cityscapes]
)
def test_masks_of_another_size(tmp_path, make) -> None:
    data = make(tmp_path)
    file = next(f for f in reversed(data.files) if f.suffix == ".png")
    with Image.open(file) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.save(file)
    (found,) = [n for n in notes(data) if n.startswith("error")]
    assert "40 x 48 pixels, but its image" in found and "has 48 x 40" in found
    assert "EXIF" in found and str(tmp_path) in found


def test_a_broken_label_image_is_an_error_and_no_empty_image(tmp_path) -> None:
    data = made.label_images(tmp_path)
    data.files[1].write_bytes(data.files[1].read_bytes()[:60])
    found = read_annotations(tmp_path)
    assert [i["file_name"] for i in found.images] == ["img_0.png", "img_2.png"]
    with pytest.raises(ValueError, match=r"img_1\.png: .*damaged"):
        open_annotations(tmp_path)


def test_pickled_arrays_are_refused_in_a_sentence(tmp_path) -> None:
    made.save_images(tmp_path)
    np.save(tmp_path / "img_0_seg.npy", {"masks": np.zeros((4, 4))}, allow_pickle=True)
    with pytest.raises(ValueError, match=r"img_0_seg\.npy: .*pickled Python objects.*PNG"):
        read_annotations(tmp_path)
    data = made.label_images(tmp_path / "set", "npy", ".npy")
    np.save(data.files[0], np.array([{1: 2}], dtype=object), allow_pickle=True)
    assert "pickled Python objects" in notes(data)[0]


def test_numbers_that_are_none(tmp_path) -> None:
    data = made.label_images(tmp_path, "f32", ".tif")
    Image.fromarray(np.full((made.H, made.W), 0.5, np.float32)).save(data.files[0])
    Image.fromarray(np.full((made.H, made.W), np.nan, np.float32)).save(data.files[1])
    Image.fromarray(np.full((made.H, made.W), -1, np.int32)).save(data.files[2])
    text = notes(data)
    assert "not whole" in text[0] and "not whole" in text[1] and "numbers from -1" in text[2]


def test_a_folder_too_high_is_named(tmp_path) -> None:
    made.label_images(tmp_path / "train")
    with pytest.raises(ValueError, match=r"found 3; with one label image .* are .*train$"):
        read_annotations(tmp_path)


def test_a_photograph_in_place_of_a_label_image(tmp_path) -> None:
    data = made.label_images(tmp_path)
    made.photo(0).save(data.files[0])
    (note,) = notes(data)
    assert f"error: {data.files[0]}: 19" in note and "as a photograph has" in note


def test_one_value_only_is_doubtful(tmp_path) -> None:
    data = made.label_images(tmp_path)
    for file in data.files:
        with Image.open(file) as image:
            white = (np.asarray(image) > 0).astype(np.uint8) * 255
        Image.fromarray(white).save(file)
    (warning,) = notes(data)
    assert warning.startswith("warning") and "3 of 3 files hold one value only" in warning


def test_jpeg_labels(tmp_path) -> None:
    data = made.label_images(tmp_path, "u8")
    for file in data.files:
        with Image.open(file) as image:
            image.convert("L").point(lambda v: v * 60).save(file.with_suffix(".jpg"))
        file.unlink()
    assert all("object numbers are lost" in note for note in notes(data)) and len(notes(data)) == 3


def test_soft_inverted_empty_and_jpeg_masks(tmp_path) -> None:
    data = made.mask_folders(tmp_path)
    empty, soft, jpeg, labels = data.files[:4]
    Image.new("L", (made.W, made.H)).save(empty)
    values = np.zeros((made.H, made.W), np.uint8)
    values[5:15, 5:15], values[6:14, 6:14] = 100, 250
    Image.fromarray(values).save(soft)
    Image.fromarray(values).save(jpeg.with_suffix(".jpg"), quality=60)
    jpeg.unlink()
    Image.fromarray(values // 100).save(labels)
    found = read_annotations(tmp_path)
    text = "\n".join(map(str, found.notes))
    assert "1 of 11 mask files have no pixel" in text
    assert "1 of 11 mask files have grey edges" in text
    assert "1 of 11 mask files are JPEG" in text
    assert (
        f"{labels}: 2 values besides 0 (1, 2), few of them near white" in text
        and text.count("error") == 1
    )
    areas = [rle.area(a["segmentation"]) for a in found.annotations]
    assert areas[0] == 64 and abs(areas[1] - 64) <= 8  # half of white, not all that is not black
    for file in sorted(tmp_path.glob("*/masks/*")):
        with Image.open(file) as image:
            inverted = image.convert("L").point(lambda v: 255 - v)
        inverted.save(file)
    assert "inverted, with the object in black?" in "\n".join(notes(data))


def test_mask_folders_without_masks(tmp_path) -> None:
    made.mask_folders(tmp_path)
    for name, place in (("x", "images"), ("y", "masks")):
        (tmp_path / name / "images").mkdir(parents=True)
        made.photo(0).save(tmp_path / name / "images" / f"{name}.png")
        (tmp_path / name / place).mkdir(exist_ok=True)
    found = read_annotations(tmp_path)
    assert [_stem(image) for image in found.images][-1] == "y"
    text = "\n".join(map(str, found.notes))
    assert "x.png: no masks, so the image is left out" in text
    assert "y.png: no mask, so an image without objects" in text


def test_voc_objects_without_class_and_semantic_voc(tmp_path) -> None:
    data = made.pascal_voc(tmp_path)
    file = tmp_path / "SegmentationClass" / "img_0.png"
    made.palette_image(np.zeros((made.H, made.W))).save(file)
    found = read_annotations(tmp_path)
    assert sum("has no class in img_0.png" in str(n) for n in found.notes) == 4
    file.unlink()
    assert "no file of this name in" in notes(data)[0]
    for path in (tmp_path / "SegmentationObject").iterdir():
        path.unlink()
    (tmp_path / "SegmentationObject").rmdir()
    with pytest.raises(ValueError, match="no folder SegmentationObject"):
        read_annotations(tmp_path)


def test_voc_class_by_majority(tmp_path) -> None:
    made.pascal_voc(tmp_path)
    file = tmp_path / "SegmentationClass" / "img_0.png"
    with Image.open(file) as image:
        values = np.array(image)
    values[31:33] = np.where(values[31:33] > 0, 7, 0)  # a part of the last object
    made.palette_image(values).save(file)
    names = [kind for kind, _, _ in made.held(read_annotations(tmp_path))["img_0"]]
    assert names == ["aeroplane", "aeroplane", "bicycle", "bicycle"]


def test_cityscapes_says_what_it_passes_over(tmp_path) -> None:
    data = made.cityscapes(tmp_path)
    (note,) = notes(data)
    assert "3 objects of classes that the benchmark does not measure (numbers [29])" in note
    assert [c["name"] for c in read_annotations(tmp_path).categories][:3] == [
        "person",
        "rider",
        "car",
    ]


def test_open_images_findings(tmp_path) -> None:
    data = made.open_images(tmp_path)
    (tmp_path / "class-descriptions.csv").unlink()
    lines = data.path.read_text().splitlines()
    lines[2] = "," + lines[2].partition(",")[2]
    lines[3] = "gone.png," + lines[3].partition(",")[2]
    data.path.write_text("\n".join(lines))
    text = "\n".join(notes(data))
    assert "line 3: no MaskPath" in text and "line 4: mask" in text and "gone.png" in text
    assert "no file beside it names the classes /m/01, /m/02" in text


def test_what_is_not_of_these_formats(tmp_path) -> None:
    made.save_images(tmp_path / "photos")
    assert recognise(tmp_path / "photos") is None
    (tmp_path / "empty").mkdir()
    assert recognise(tmp_path / "empty") is None
    grey = tmp_path / "grey"
    grey.mkdir()
    made.photo(0).convert("L").save(grey / "a.png")
    assert recognise(grey) is None
    with pytest.raises(ValueError, match="no annotation format that is known here"):
        read_annotations(grey)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_run_lengths_of_labels(height, width, values, seed) -> None:
    labels = np.random.default_rng(seed).integers(0, values, (height, width))
    found = objects_of_labels(labels)
    assert list(found) == [v for v in np.unique(labels).tolist() if v]
    for value, runs in found.items():
        np.testing.assert_array_equal(decode(runs, height, width), labels == value)


def test_a_label_image_of_many_objects_is_read_in_one_pass() -> None:
    labels = np.zeros((1000, 1000), np.int32)
    for i in range(300):
        y, x = divmod(i, 20)
        labels[60 * y + 5 : 60 * y + 55, 50 * x + 4 : 50 * x + 46] = i + 1
    objects_of_labels(labels[:9])
    start = time.perf_counter()
    assert len(objects_of_labels(labels)) == 300
    assert time.perf_counter() - start < 1  # about 0.02; a mask per object takes far longer
