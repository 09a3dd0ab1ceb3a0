"""`minimask data check` and `data show`."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image
from runs import invoke, make_coco, make_folders


def test_check_finds_nothing_in_good_data(tmp_path) -> None:
    coco = make_coco(tmp_path / "data")
    result = invoke("data", "check", coco / "instances.json", "--images", coco / "images")
    assert result.exit_code == 0, result.output
    assert "3 images" in result.stdout and "error" not in result.stdout
    assert "circle" in result.stdout


def test_check_names_file_annotation_and_remedy(tmp_path) -> None:
    coco = make_coco(tmp_path / "data")
    truth = json.loads((coco / "instances.json").read_text())
    truth["annotations"][1]["category_id"] = 77
    (coco / "instances.json").write_text(json.dumps(truth))
    (coco / "images" / "000002.png").unlink()
    result = invoke("data", "check", coco / "instances.json", "--images", coco / "images")
    assert result.exit_code == 1
    assert "000002.png" in result.stdout and "To do" in result.stdout
    assert f"annotation {truth['annotations'][1]['id']}" in result.stdout
    assert "errors" in result.stdout.splitlines()[-1]


def test_check_does_not_flood(tmp_path) -> None:
    coco = make_coco(tmp_path / "data", count=6)
    first, *others = sorted((coco / "images").iterdir())
    for image in others:
        image.unlink()
    words = ("data", "check", coco / "instances.json", "--images", coco / "images")
    few = invoke(*words, "--most", 2).stdout
    assert few.count("no such file") == 2 and "and 3 more" in few and "5 errors" in few
    assert invoke(*words, "--most", 0).stdout.count("no such file") == 5
    first.unlink()  # all are gone: one cause
    assert "none of its 6 images is in" in invoke(*words).stdout.splitlines()[0]


def test_check_ends_with_the_command_to_train_with(tmp_path) -> None:
    coco = make_coco(tmp_path / "data")
    words = ("data", "check", coco / "instances.json", "--images", coco / "images")
    *_, about, command = invoke(*words).stdout.splitlines()
    assert " minute" in about and " on this machine" in about  # "1 minute" on a fast one
    given = command.split()
    assert given[:2] == ["minimask", "train"] and "--anchors" in given and "--size" in given
    result = invoke(*given[1:-2], "--out", tmp_path / "run", "--steps", 1, "--quiet")
    assert result.exit_code == 0, result.output


def test_check_of_what_is_no_coco_file(tmp_path) -> None:
    (tmp_path / "a.json").write_text('{"images": [')
    result = invoke("data", "check", tmp_path / "a.json", "--images", tmp_path)
    assert result.exit_code == 1 and "a.json" in result.stdout and "line 1" in result.stdout
    result = invoke("data", "check", tmp_path / "b.json", "--images", tmp_path)
    assert result.exit_code == 1 and "b.json: no such file" in result.stderr
    result = invoke("data", "check", tmp_path / "a.json", "--images", tmp_path / "no")
    assert result.exit_code == 1 and "no such folder" in result.stderr


def test_show_draws_a_sheet(tmp_path) -> None:
    coco = make_coco(tmp_path / "data")
    out = tmp_path / "sheet.png"
    words = ("data", "show", coco / "instances.json", "--images", coco / "images", "--out", out)
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    with Image.open(out) as file:
        sheet = np.asarray(file)
    assert sheet.shape == (8 + 2 * (24 + 512 + 8), 8 + 2 * (1024 + 8), 3)
    plain, drawn = sheet[32:544, 8:520], sheet[32:544, 520:1032]
    assert 0.01 < (plain != drawn).any(axis=2).mean() < 0.9
    again = invoke(*words)
    assert again.exit_code == 1 and "exists already" in again.stderr
    assert invoke(*words, "--force", "--count", 1, "--random", 1).exit_code == 0
    with Image.open(out) as sheet:
        assert sheet.size == (1040, 552)


def test_show_of_generated_images_and_wrong_use(tmp_path) -> None:
    out = tmp_path / "sheet.png"
    assert invoke("data", "show", "--data", "shapes", "--count", 2, "--out", out).exit_code == 0
    for words, said in (
        ((), "name the annotations"),
        (("--data", "cats"), "expected one of files, shapes"),
        (("--data", "shapes", "--count", "0"), "--count: expected at least 1"),
    ):
        result = invoke("data", "show", *words, "--out", tmp_path / "b.png")
        assert result.exit_code == 2 and said in result.stderr
    result = invoke("data", "show", "--data", "shapes", "--out", tmp_path / "b.xyz")
    assert result.exit_code == 2 and "ends in .png" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_mask_folders_are_checked_and_shown(tmp_path) -> None:
    folders = make_folders(tmp_path / "cells")
    words = ("--data", "folder", "--images", folders)
    result = invoke("data", "check", *words)
    assert result.exit_code == 0, result.output
    assert "3 images (0 without objects)" in result.stdout and "no problems" in result.stdout
    out = tmp_path / "sheet.png"
    result = invoke("data", "show", *words, "--classes", "cell", "--out", out)
    assert result.exit_code == 0 and "3 images with cell" in result.stdout
    next((folders / "cell1" / "masks").iterdir()).write_bytes(b"no image")
    result = invoke("data", "check", *words)
    assert result.exit_code == 1 and "cell1.png" in result.stdout and "1 error" in result.stdout


def test_checks_that_make_no_sense(tmp_path) -> None:
    for words, message in (
        ((), "name the annotations"),
        (("--data", "foldr"), "did you mean 'folder'"),
        (("--data", "folder"), "--data folder needs --images"),
        (("a.json", "--data", "folder", "--images", tmp_path), "exclude each other"),
        (("--data", "shapes"), "need no check"),
    ):
        result = invoke("data", "check", *words)
        assert result.exit_code == 2 and message in result.stderr, result.output
        assert result.stderr.count("\n") == 1


def test_show_draws_samples_as_training_sees_them(tmp_path) -> None:
    coco = make_coco(tmp_path / "data")
    sheets = []
    words = ("data", "show", coco / "instances.json", "--images", coco / "images", "--count", 2)
    for name, changes in (("a", "copypaste, rotate"), ("b", "copypaste, rotate"), ("c", "flip")):
        out = tmp_path / f"{name}.png"
        result = invoke(*words, "--augment", changes, "--out", out)
        assert result.exit_code == 0, result.output
        with Image.open(out) as file:
            sheets.append(np.asarray(file))
    first, again, other = sheets
    np.testing.assert_array_equal(first, again)
    assert first.shape == other.shape and (first != other).any()
    height, width = first.shape[:2]
    assert width > 1.4 * height  # 2 rows of 3: as it is, and changed twice
    plain = first[:, : width // 3]
    assert (plain != first[:, width // 3 : 2 * (width // 3)]).any()
    np.testing.assert_array_equal(plain[30:500], other[30:500, : width // 3])
    result = invoke(*words, "--augment", "spin", "--out", tmp_path / "d.png")
    assert result.exit_code == 2 and "--augment: expected one of flip" in result.stderr
    assert not (tmp_path / "d.png").exists()
