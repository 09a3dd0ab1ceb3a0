"""Files of every polygon format, damaged in many ways: a sentence with the path, or what is left.

Bytes are changed, cut and doubled; values in JSON are replaced by odd ones.  No other exception
than the two that readers may raise, nothing written, and what is read passes the gate.
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
import random
import shutil
import time

import pytest
import test_cvat
import test_label_studio
import test_labelme
import test_via
import test_yolo
from drawn import SCENE, save_images, write

from minimask.data.formats import get_format, read_annotations, recognise
from minimask.data.soundness import examine

TRIES = int(os.environ.get("MINIMASK_DAMAGED_FILES", "60"))  # for each kind of file
ODD = (
    *(
        None,
        True,
        -1,
        0,
        1e308,
        -1e308,
        10**30,
        float("nan"),
        float("inf"),
        "",
        "x",
        "\0",
        "\ud800",
    ),
    *([], {}, [[]], [1, 2, 3], {"a": 1}, "../" * 30 + "etc/passwd", "/etc/passwd", "a" * 5000),
    *([None], [{}], 10**9, "1e999", [[1e9, 1e9]] * 3, 65536, 99999),
)


def labelme(folder):
    png = test_labelme.PNG
    mask = test_labelme.shape("disk", "mask", [4, 5], [6, 7], mask=png, group_id=4)
    circle = test_labelme.shape("disk", "circle", [9, 9], [9, 5], group_id=4)
    shapes = [*test_labelme.drawn_scene("a.png"), mask, circle]
    return write(folder / "a.json", test_labelme.document("a.png", shapes))


def via(folder):
    kinds = {"class": {"type": "dropdown", "options": {"disk": "", "box": ""}}}
    content = test_via.scene()
    circle = {"name": "circle", "cx": 9, "cy": 9, "r": 5}
    content["a.png1234"]["regions"].append(test_via.region(circle, **{"class": "disk"}))
    return write(folder / "via.json", test_via.project(content, kinds))


def via_csv(folder):
    return write(folder / "via.csv", test_via.as_csv(test_via.scene()))


def cvat(folder):
    more = '<mask label="disk" rle="1,3" left="1" top="2" width="2" height="2"/>'
    more += '<ellipse label="disk" cx="9" cy="9" rx="4" ry="5" rotation="3"/></image>'
    return write(folder / "a.xml", test_cvat.scene().replace("</image>", more, 1))


def yolo_text(folder):
    test_yolo.lay_out(folder)
    write(folder / "data.yaml", test_yolo.LISTED)
    return folder / "labels/a.txt"


def yolo_yaml(folder):
    yolo_text(folder)
    return folder / "data.yaml"


def label_studio(folder):
    results = test_label_studio.drawn_scene("a.png")
    results.append(test_label_studio.broken_brush(test_label_studio.FULL))
    tasks = [test_label_studio.task("a.png", test_label_studio.annotation(results))]
    return write(folder / "export.json", tasks)


MAKERS = (labelme, via, via_csv, cvat, yolo_text, yolo_yaml, label_studio)


def damaged_bytes(rng, data):
    at, length = rng.randrange(len(data)), rng.choice([1, 1, 3, 40])
    odd = rng.choice([b"", b"\0", b"\xff", b"9" * 40, b"-", b"nan", b"[" * 3000, b'"', b"<", b"\n"])
    return rng.choice(
        [
            data[:at],
            data[:at] + odd + data[at + length :],
            data[:at] + data[at : at + 300] * 2 + data[at + 300 :],
            data[:at] + bytes(rng.randrange(256) for _ in range(length)) + data[at + length :],
        ]
    )


def damaged_values(rng, data):
    """One to three values somewhere in JSON replaced, or a key taken away."""
    content = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        here = content
        while True:
            if not isinstance(here, dict | list) or not here:
                break
            key = rng.choice(list(here) if isinstance(here, dict) else range(len(here)))
            if not isinstance(here[key], dict | list) or not here[key] or rng.random() < 0.15:
                if rng.random() < 0.2:
                    del here[key]
                else:
                    here[key] = copy.deepcopy(rng.choice(ODD))
                break
            here = here[key]
    return json.dumps(content).encode()


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_a_sentence_with_the_path_or_what_is_left(tmp_path, maker):
    rng = random.Random(maker.__name__)
    save_images(tmp_path)
    path = maker(tmp_path)
    whole, source = path.read_bytes(), tmp_path if path.suffix == ".txt" else path
    name = recognise(source)
    before = sorted(tmp_path.rglob("*"))
    refused = 0
    for _ in range(TRIES):
        damage = damaged_values if path.suffix == ".json" and rng.random() < 0.6 else damaged_bytes
        path.write_bytes(damage(rng, whole))
        get_format(name).recognises(source)  # never raises
        begin = time.monotonic()
        try:
            found = read_annotations(source, format=name)
        except (ValueError, FileNotFoundError) as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error), path.read_bytes()
            refused += 1
        else:
            examine(found)
            for finding in found.notes:
                assert str(tmp_path) in finding.file and "\n" not in str(finding)
            inside = (tmp_path / image["file_name"] for image in found.images)
            assert all(pathlib.Path(i).resolve().is_relative_to(tmp_path) for i in inside)
        assert time.monotonic() - begin < 5
    assert refused < TRIES  # some damage leaves something
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_odd_files_and_folders(tmp_path, maker):
    """Empty, a folder of that name, a broken link, not UTF-8."""
    save_images(tmp_path)
    path = maker(tmp_path)
    name = recognise(tmp_path if path.suffix == ".txt" else path)
    assert name == maker.__name__.partition("_csv")[0].partition("_text")[0].partition("_yaml")[0]
    for content in (b"", b"\xff\xfe", b"\0" * 100, "ä".encode("utf-16"), b"[" * 100_000, b"null"):
        path.write_bytes(content)
        assert recognise(path) != name or content
        if path.suffix != ".txt":
            with pytest.raises(ValueError, match=path.name):
                read_annotations(path, format=name)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    get_format(name).recognises(tmp_path)
    path.unlink()
    path.mkdir()
    get_format(name).recognises(tmp_path)
    get_format(name).recognises(path)
    shutil.rmtree(path)


def test_the_scene_holds_what_is_damaged():
    assert len(SCENE) == 3 and len(MAKERS) == 7
