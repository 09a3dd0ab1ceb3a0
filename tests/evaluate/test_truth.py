"""Truth and results of every origin: read where the meaning is plain, else one sentence."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from pycocotools import mask as rle_tools
from truths import FAR, SIZE, A, B, found, rectangle, truth_of

from minimask.data.packed_masks import sound_masks
from minimask.data.segmentation import segmentation_problem
from minimask.data.truth import check_ground_truth
from minimask.evaluate import evaluate_detections, read_results
from minimask.evaluate.results_file import parse_results

POLYGON = [60, 10, 100, 10, 100, 50, 60, 50]  # B
NAN, INF = math.nan, math.inf


def changed(part: str = "annotations", number: int = 1, **changes) -> dict:
    """Two objects, A and B, with one entry changed; a value of `...` removes the key."""
    truth = truth_of((1, 1, A), (1, 1, B))
    entry = truth[part][number]
    entry.update(changes)
    for key in [key for key, value in entry.items() if value is ...]:
        del entry[key]
    return truth


RIGHT = [found(1, 1, A, 0.9), found(1, 1, B, 0.8)]


@pytest.mark.parametrize(
    "changes",
    [
        {"segmentation": [POLYGON]},
        {"segmentation": POLYGON},
        {"segmentation": [POLYGON, []]},
        {"segmentation": tuple(POLYGON)},
        {"segmentation": [np.array(POLYGON, np.float32)]},
        {"segmentation": np.array([POLYGON])},
        {"segmentation": [str(v) for v in POLYGON]},
        {"segmentation": [[[60, 10], [100, 10], [100, 50], [60, 50]]]},
        {"segmentation": [[60, 10], [100, 10], [100, 50], [60, 50]]},
        {"segmentation": [rectangle(*B)]},
        {"segmentation": {**rectangle(*B), "counts": rectangle(*B)["counts"].encode()}},
        {"segmentation": {**rectangle(*B), "size": [100.0, "120"]}},
        {"segmentation": {**rectangle(*B), "size": np.array(SIZE)}},
        {"bbox": ..., "area": ...},
        {"bbox": [], "area": None},
        {"bbox": [60, 10, 0, 0], "area": 0},
        {"bbox": ["60", "10", "40", "40"], "area": "1600"},
        {"bbox": np.array(B, np.float32), "area": np.float64(1600)},
        {"iscrowd": ...},
        {"iscrowd": False},
        {"iscrowd": "0"},
        {"iscrowd": None},
        {"id": ...},
        {"id": 1},
        {"image_id": "1", "category_id": 1.0},
        {"image_id": np.int64(1)},
    ],
)
def test_plain_spellings_are_read(changes) -> None:
    truth = changed(**changes)
    before = repr(truth)
    results = evaluate_detections(truth, RIGHT)
    assert results.box["AP"] == results.mask["AP"] == pytest.approx(1.0)
    assert repr(truth) == before


@pytest.mark.parametrize("flag", [1, True, "1", "true", 1.0])
def test_crowds_in_every_spelling(flag) -> None:
    results = evaluate_detections(changed(iscrowd=flag), RIGHT)
    assert results.objects == 1 and results.box["AP"] == pytest.approx(1.0)


def uncompressed(*counts) -> dict:
    return {"size": list(SIZE), "counts": list(counts)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"segmentation": [[60, 10, 100, 3.5e8, 100, 50]]}, r"\.segmentation\[0\]: y from 10 to"),
        ({"segmentation": [[60, 10, 100, 1e300, 100, 50]]}, r"\.segmentation\[0\]"),
        ({"segmentation": [[60, 10, 100, 10**400, 100, 50]]}, r"\.segmentation\[0\]"),
        ({"segmentation": [[60, 10, 100, NAN, 100, 50]]}, r"\.segmentation\[0\]: .*finite"),
        ({"segmentation": [[60, 10, 100, -INF, INF, 50]]}, r"\.segmentation\[0\]: .*finite"),
        ({"segmentation": [[60, 10, 100, None, 100, 50]]}, r"\.segmentation\[0\]: .*finite"),
        ({"segmentation": [[60, 10, 100, True, 100, 50]]}, r"\.segmentation\[0\]: .*finite"),
        ({"segmentation": [[60, 10, 100, 50]]}, r"\.segmentation\[0\]: 4 numbers"),
        ({"segmentation": [[60, 10, 100, 50, 3, 4, 5]]}, r"\.segmentation\[0\]: 7 numbers"),
        ({"segmentation": "M10 10"}, r"\.segmentation: expected polygons"),
        ({"segmentation": 3}, r"\.segmentation: expected polygons"),
        ({"segmentation": uncompressed(100)}, r"\.segmentation\.counts: 100 pixels in all"),
        ({"segmentation": uncompressed(12005, -5)}, r"\.segmentation\.counts: .* negative"),
        ({"segmentation": uncompressed("a", 12000)}, r"\.segmentation\.counts"),
        (
            {"segmentation": {"size": [120, 100], "counts": [12000]}},
            r".*\.size: .*swapped",
        ),
        ({"segmentation": {"size": [10**6, 10**6], "counts": [10**12]}}, r"\.segmentation\.size"),
        (
            {"segmentation": {"size": list(SIZE), "counts": "\u20ac"}},
            r".*\.counts: not a",
        ),
        (
            {"segmentation": {"size": list(SIZE), "counts": b"\xff\xfe"}},
            r".*\.counts: not a",
        ),
        ({"segmentation": {"size": list(SIZE)}}, r"\.segmentation: run lengths need"),
        ({"bbox": [1, 2, 3]}, r"\.bbox: expected \[x, y, width, height\].*got \[1, 2, 3\]"),
        ({"bbox": [1, 2, NAN, 3]}, r"\.bbox: expected"),
        ({"bbox": [1, 2, INF, 3]}, r"\.bbox: expected"),
        ({"bbox": [1, 2, -5, 3]}, r"\.bbox: .* negative"),
        ({"bbox": [1, 2, 1e8, 3]}, r"\.bbox: .*image of 120 x 100"),
        ({"bbox": {"x": 1}}, r"\.bbox: expected"),
        ({"bbox": [60, 10, 0, 0], "segmentation": []}, r": has neither"),
        ({"bbox": None, "segmentation": [[]]}, r": has neither"),
        ({"bbox": None, "segmentation": [[3.1, 3.1, 3.2, 3.1, 3.2, 3.2]]}, r": .*no pixel"),
        ({"area": -1}, r"\.area: expected"),
        ({"area": NAN}, r"\.area: expected"),
        ({"area": 1e12}, r"\.area: expected .*0 to 12000"),
        ({"area": [3]}, r"\.area: expected"),
        ({"iscrowd": 2}, r"\.iscrowd: expected 0 or 1, got 2"),
        ({"iscrowd": "yes"}, r"\.iscrowd: expected 0 or 1"),
        ({"iscrowd": NAN}, r"\.iscrowd: expected 0 or 1"),
        ({"image_id": 9}, r"\.image_id: no image has the id 9"),
        ({"category_id": "cat"}, r"\.category_id: no category has the id 'cat'"),
        ({"image_id": ...}, r"\.image_id: .*got nothing"),
        ({"category_id": [1]}, r"\.category_id: expected a whole number or text"),
        ({"category_id": True}, r"\.category_id: expected a whole number or text"),
        ({"category_id": NAN}, r"\.category_id: expected a whole number or text"),
    ],
)
def test_broken_annotations_are_named(changes, said: str) -> None:
    truth = changed(**changes)
    for results in (RIGHT, []):
        with pytest.raises(ValueError, match=r"^truth\.json: annotations\[1\]" + said):
            evaluate_detections(truth, results, names=("truth.json", "results.json"))


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("images", {"height": ...}, r"images\[0\]\.height: .*got nothing"),
        ("images", {"width": 0}, r"images\[0\]\.width: expected 1 to"),
        ("images", {"width": 10**7}, r"images\[0\]\.width: expected 1 to"),
        ("images", {"width": "wide"}, r"images\[0\]\.width: .*'wide'"),
        ("images", {"height": NAN}, r"images\[0\]\.height"),
        ("images", {"id": None}, r"images\[0\]\.id: expected a whole number or text"),
        ("categories", {"id": {}}, r"categories\[0\]\.id"),
        ("categories", {"name": ["a"]}, r"categories\[0\]\.name: expected text"),
    ],
)
def test_broken_images_and_categories_are_named(part: str, changes, said: str) -> None:
    with pytest.raises(ValueError, match=f"^ground_truth: {said}"):
        evaluate_detections(changed(part, 0, **changes), RIGHT)


def test_entries_that_are_none_and_ids_that_are_there_twice() -> None:
    for part in ("images", "annotations", "categories"):
        truth = truth_of((1, 1, A), (1, 1, B))
        truth[part].append("something")
        with pytest.raises(ValueError, match=rf"{part}\[\d\]: expected an object, got 'some"):
            evaluate_detections(truth, RIGHT)
    for part, key in (("images", "width"), ("categories", "name")):
        truth = truth_of((1, 1, A), (1, 1, B))
        truth[part].append({**truth[part][0], key: 77})
        with pytest.raises(ValueError, match=rf"{part}\[1\]\.id: 1 is there twice"):
            evaluate_detections(truth, RIGHT)
        truth[part][-1] = dict(truth[part][0])  # the very same again
        assert evaluate_detections(truth, RIGHT).box["AP"] == pytest.approx(1.0)
    truth = truth_of((1, 1, A), (1, 1, B))
    truth["annotations"].append(dict(truth["annotations"][0]))
    assert evaluate_detections(truth, RIGHT).objects == 2
    with pytest.raises(ValueError, match="got list"):
        check_ground_truth([truth])


def test_sizes_in_text_and_categories_without_names() -> None:
    truth = changed("images", 0, height="100", width=120.0)
    truth["categories"] = [{"id": 1}, {"id": 2, "name": "cell"}, {"id": 3, "name": "cell"}]
    results = evaluate_detections(truth, RIGHT)
    assert results.box["AP"] == pytest.approx(1.0)
    assert set(results.per_class) == {"category 1", "cell (id 2)", "cell (id 3)"}


@pytest.mark.parametrize(
    "ids", [("a", "b", "c"), (7, "b", 2**127 + 1), (0, 5, -3), ("7", 7, "007"), (2**64, 1.0, 3)]
)
def test_ids_of_every_kind(ids: tuple) -> None:
    truth = truth_of((1, 1, A), (2, 2, B), (3, 3, FAR), images=3, categories=("x", "y", "z"))
    results = [found(1, 1, A, 0.9), found(2, 2, B, 0.8), found(3, 3, FAR, 0.7)]
    for entry in (*truth["images"], *truth["categories"]):
        entry["id"] = ids[entry["id"] - 1]
    for entry in (*truth["annotations"], *results):
        entry.update({k: ids[entry[k] - 1] for k in ("image_id", "category_id")})
    before = copy.deepcopy(results)
    measured = evaluate_detections(truth, results)
    assert measured.box["AP"] == measured.mask["AP"] == pytest.approx(1.0)
    assert measured.coco_results == before and measured.detections == 3
    assert {n: e["objects"] for n, e in measured.per_class.items()} == {"x": 1, "y": 1, "z": 1}


def test_results_with_ids_in_text() -> None:
    truth = truth_of((1, 1, A), (1, 1, B))
    measured = evaluate_detections(truth, [{**r, "image_id": "1"} for r in RIGHT])
    assert measured.box["AP"] == pytest.approx(1.0)
    assert any("image_id of 2 detections is text" in note for note in measured.notes)


@pytest.mark.parametrize(
    "changes",
    [
        {"bbox": np.array(B), "score": np.float32(0.8), "image_id": np.int64(1)},
        {"bbox": tuple(B), "category_id": 1.0},
        {"segmentation": {**rectangle(*B), "counts": rectangle(*B)["counts"].encode()}},
        {"segmentation": [POLYGON]},
        {"segmentation": POLYGON},
        {"segmentation": np.array([POLYGON])},
        {"bbox": None},
        {"bbox": []},
    ],
)
def test_results_from_python_are_read(changes) -> None:
    results = [RIGHT[0], {**RIGHT[1], **changes}]
    measured = evaluate_detections(truth_of((1, 1, A), (1, 1, B)), results)
    assert measured.box["AP"] == measured.mask["AP"] == pytest.approx(1.0)
    assert not measured.notes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score": NAN}, r"\.score: expected a number, got nan"),
        ({"score": INF}, r"\.score: expected a number"),
        ({"score": None}, r"\.score: expected a number"),
        ({"score": "0.9"}, r"\.score: expected a number"),
        ({"score": [0.9]}, r"\.score: expected a number"),
        ({"score": True}, r"\.score: expected a number"),
        ({"bbox": [1, 2, 3]}, r"\.bbox: expected \[x, y"),
        ({"bbox": [1, 2, 3, NAN]}, r"\.bbox: expected \[x, y"),
        ({"bbox": [1, INF, 3, 4]}, r"\.bbox: expected \[x, y"),
        ({"bbox": [1, 2, -3, 4]}, r"\.bbox: .* negative"),
        ({"bbox": [1, 2, 1e8, 4]}, r"\.bbox: expected a box in the image"),
        ({"bbox": 7}, r"\.bbox: expected \[x, y"),
        ({"bbox": [], "segmentation": [[]]}, r": has neither"),
        ({"segmentation": {"size": [1e3, INF], "counts": "a"}}, r"\.segmentation\.size"),
        ({"segmentation": {"size": [-1, -1], "counts": [1]}}, r"\.segmentation\.size"),
        ({"segmentation": {"size": [10**6] * 2, "counts": [10**12]}}, r"\.segmentation\.size"),
        ({"segmentation": {"size": [10**5] * 2, "counts": [10**10]}}, r"\.segmentation: an image"),
        ({"segmentation": {"size": list(SIZE), "counts": "04"}}, r"\.segmentation\.counts"),
        ({"segmentation": [[1, 2, 3e8, 4, 5, 6]]}, r"\.segmentation\[0\]: x from"),
        ({"segmentation": 5}, r"\.segmentation: expected polygons"),
        ({"image_id": None}, r"\.image_id: expected a whole number"),
        ({"image_id": [1]}, r"\.image_id: expected a whole number"),
        ({"category_id": NAN}, r"\.category_id: expected a whole number"),
    ],
)
def test_broken_results_are_named(changes, said: str, tmp_path) -> None:
    results = [RIGHT[0], {**RIGHT[1], **changes}]
    truth = truth_of((1, 1, A), (1, 1, B))
    with pytest.raises(ValueError, match=r"^results\[1\]" + said):
        evaluate_detections(truth, results)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    if "[0]: x from" not in said:  # the image's size is not known to the file alone
        with pytest.raises(ValueError, match=r"results\.json: results\[1\]" + said):
            read_results(path)
    with pytest.raises(ValueError, match=r"results\.json: results\[1\]" + said):
        evaluate_detections(truth, parse_results(path), names=("truth", str(path)))


@pytest.mark.parametrize("text", ["[" * 99999, "1" * 9999, "", "\ufeff[", "\x00"])
def test_results_files_that_are_no_json(text: str, tmp_path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"results\.json: not valid JSON"):
        read_results(path)
    path.write_text("\ufeff[]", encoding="utf-8")
    assert read_results(path) == []


# ---------------------------------------------------------------- what is said beside the numbers


def test_objects_without_masks_do_not_count_for_masks() -> None:
    truth = truth_of((1, 1, A), (1, 1, B), (2, 1, A), images=2)
    truth["annotations"][1]["segmentation"] = []
    results = [*RIGHT, found(2, 1, A, 0.7), found(2, 1, FAR, 0.2)]
    measured = evaluate_detections(truth, results)
    # the box-only object is found by the second-best detection: not a false one
    assert measured.mask["AP"] == pytest.approx(1.0) == measured.box["AP"]
    assert (measured.objects, measured.mask_objects) == (3, 2)
    assert "1 of 3 objects has no mask: mask AP is over the other 2" in measured.notes[0]
    assert measured.table().splitlines()[2].split()[:3] == ["all,", "mask", "2"]
    assert measured.to_json()["notes"] == measured.notes
    away = found(1, 1, FAR, 0.99)
    assert evaluate_detections(truth, [away, *results]).mask["AP"] < 0.8


def test_results_without_masks_are_said() -> None:
    truth = truth_of((1, 1, A), (1, 1, B))
    some = evaluate_detections(truth, [RIGHT[0], found(1, 1, B, 0.8, mask=False)])
    assert "1 of 2 detections has no mask and did not count for mask AP." in some.notes
    assert some.mask["AP"] == pytest.approx(51 / 101)
    none = evaluate_detections(truth, [found(1, 1, B, 0.8, mask=False)])
    assert none.mask is None and none.notes == ("Masks were not measured: no detection has one.",)
    for annotation in truth["annotations"]:
        annotation["segmentation"] = None
    boxes = evaluate_detections(truth, RIGHT)
    assert boxes.mask is None and "no object of the ground truth has one" in boxes.notes[0]
    assert not evaluate_detections(truth, RIGHT, kinds=("box",)).notes
    asked = evaluate_detections(truth, RIGHT, kinds=("mask",))
    assert asked.mask["AP"] == -1 and asked.box == {} and asked.table()


def crowded(objects: int, false: int) -> tuple[dict, list[dict]]:
    boxes = [(x, y, 4, 4) for x in range(0, 118, 6) for y in range(0, 96, 6)]
    truth = truth_of(*((1, 1, box) for box in boxes[:objects]), categories=("cell", "dust"))
    results = [found(1, 1, box, 0.9 - i / 1000) for i, box in enumerate(boxes[:objects])]
    return truth, results + [found(1, 2, box, 0.1) for box in boxes[:false]]


def test_the_limit_is_said_where_it_bites() -> None:
    truth, results = crowded(130, 0)
    measured = evaluate_detections(truth, results)
    assert (measured.left_out, measured.left_out_images, measured.max_detections) == (30, 1, 100)
    (note,) = measured.notes
    assert "In 1 image more than 100 detections of a class" in note and "30 were left out" in note
    assert "--max-detections" in note
    more = evaluate_detections(truth, results, max_detections=130)
    assert more.left_out == 0 and more.box["AP"] == pytest.approx(1.0)
    assert more.notes == (
        "Up to 130 detections per image and class were measured; COCO's own limit is 100.",
    )
    elsewhere = evaluate_detections(*crowded(50, 130))  # no object of that class
    assert elsewhere.left_out == 30 and not elsewhere.notes


def test_many_packed_masks_are_judged_as_one_by_one() -> None:
    rng = np.random.default_rng(4)
    entries: list = [None, {}, {"segmentation": []}, {"segmentation": rectangle(*A)}]
    for _ in range(1500):
        pixels = np.asfortranarray(rng.random((9, 7)) < rng.random(), np.uint8)
        text = rle_tools.encode(pixels)["counts"].decode()
        if rng.random() < 0.6:
            at = int(rng.integers(len(text)))
            text = text[:at] + chr(int(rng.choice([*range(40, 120), 200]))) + text[at + 1 :]
        text = text[: int(rng.integers(len(text) + 1))] if rng.random() < 0.1 else text
        text = "o" * 9 + text if rng.random() < 0.02 else text
        entries.append({"segmentation": {"size": [9, 7], "counts": text}})
    expected = [segmentation_problem(e["segmentation"], 9, 7) is None for e in entries[4:]]
    assert sound_masks(entries) == [False, False, False, True, *expected]
    assert 200 < sum(expected) < 1300
    odd = ({"size": "97", "counts": "o"}, {"size": [9, 7.0], "counts": "o"}, {"counts": "o"})
    huge = {"size": [10**5, 10**5], "counts": "o"}
    assert sound_masks([{"segmentation": mask} for mask in (*odd, huge)]) == [False] * 4
