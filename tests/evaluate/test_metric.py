"""The metric: against numbers worked out by hand, an independent computation, and invariances."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from truths import FAR, SIZE, A, B, found, rectangle, truth_of

from minimask.data.sample import Sample
from minimask.data.shapes import Shapes
from minimask.evaluate import (
    evaluate,
    evaluate_detections,
    ground_truth,
    read_results,
    write_results,
)
from minimask.evaluate.cocoeval import clean_ground_truth, number_results, run_cocoeval
from minimask.models.detections import Detections

# ---------------------------------------------------------------- by hand


def test_half_found_with_a_false_one_in_between() -> None:
    # order by score: hit A, false, hit B.  Precision 1 up to recall 0.5 (51 of the 101 points),
    # then 2/3 for the remaining 50.
    truth = truth_of((1, 1, A), (1, 1, B))
    results = evaluate_detections(
        truth, [found(1, 1, A, 0.9), found(1, 1, FAR, 0.8), found(1, 1, B, 0.7)]
    )
    expected = (51 + 50 * 2 / 3) / 101
    for values in (results.box, results.mask):
        assert values is not None
        assert values["AP"] == pytest.approx(expected, abs=1e-9)
        assert values["AP50"] == values["AP75"] == pytest.approx(expected, abs=1e-9)
        assert values["APs"] == values["APl"] == -1
        assert values["APm"] == pytest.approx(1.0)  # FAR is 900 px: small, so not a false medium
        assert values["AR"] == 1.0
    assert (results.images, results.objects, results.detections) == (1, 2, 3)


def test_thresholds_count_singly() -> None:
    # 40x40 against 40x32: IoU 0.8, so it counts at .5 ... .8, 7 of 10 thresholds
    results = evaluate_detections(truth_of((1, 1, A)), [found(1, 1, (10, 10, 40, 32), 0.9)])
    assert results.box["AP"] == pytest.approx(0.7)
    assert results.box["AP75"] == pytest.approx(1.0)


def test_each_object_is_matched_once() -> None:
    results = evaluate_detections(
        truth_of((1, 1, A), (1, 1, B)), [found(1, 1, A, 0.9), found(1, 1, A, 0.8)]
    )
    assert results.box["AP"] == pytest.approx(51 / 101)


def test_a_crowd_neither_helps_nor_harms() -> None:
    truth = truth_of((1, 1, A), (1, 1, B, {"iscrowd": 1}))
    results = evaluate_detections(truth, [found(1, 1, B, 0.95), found(1, 1, A, 0.9)])
    assert results.box["AP"] == pytest.approx(1.0)
    assert results.objects == 1


def test_an_annotation_id_of_zero_is_matched() -> None:
    truth = truth_of((1, 1, A))
    truth["annotations"][0]["id"] = 0
    assert evaluate_detections(truth, [found(1, 1, A, 0.9)]).box["AP"] == pytest.approx(1.0)


def test_max_detections_cuts_by_score() -> None:
    truth = truth_of((1, 1, A), (1, 1, B))
    results = [found(1, 1, B, 0.5), found(1, 1, A, 0.9)]
    one = evaluate_detections(truth, results, max_detections=1)
    assert one.box["AP"] == pytest.approx(51 / 101)
    assert evaluate_detections(truth, results, max_detections=2).box["AP"] == pytest.approx(1.0)


def test_more_than_a_hundred_detections_can_count() -> None:
    boxes = [(x, y, 8, 8) for x in range(0, 110, 10) for y in range(0, 100, 10)]  # 110 objects
    truth = truth_of(*((1, 1, box) for box in boxes))
    results = [found(1, 1, box, 0.9 - i / 1000) for i, box in enumerate(boxes)]
    assert evaluate_detections(truth, results).box["AR"] == pytest.approx(100 / 110)
    assert evaluate_detections(truth, results, max_detections=200).box["AP"] == pytest.approx(1)


def test_mask_sizes_go_by_the_mask() -> None:
    # a thin diagonal object in a large box is small by its mask
    truth = truth_of((1, 1, A))
    truth["annotations"][0].update(segmentation=rectangle(10, 10, 40, 10), area=400.0)
    result = {**found(1, 1, A, 0.9), "segmentation": rectangle(10, 10, 40, 10)}
    false = {**found(1, 1, B, 0.95), "segmentation": rectangle(60, 10, 40, 10)}
    mask = evaluate_detections(truth, [result, false]).mask
    assert mask is not None
    assert mask["APs"] == pytest.approx(0.5)  # the false one is small too, and counts


# ---------------------------------------------------------------- independent


def plain_ap(truth: dict, results: list[dict], threshold: float) -> float:
    """AP of boxes of one class at one threshold, written from the definition."""
    ranked = sorted(enumerate(results), key=lambda pair: (-pair[1]["score"],))
    # COCO sorts within images first, then stably over images in order of their ids
    ranked.sort(key=lambda pair: (-pair[1]["score"], pair[1]["image_id"], pair[0]))
    taken: set[int] = set()
    hits = []
    for _, result in ranked:
        best, best_overlap = None, threshold
        for annotation in truth["annotations"]:
            if annotation["image_id"] != result["image_id"] or annotation["id"] in taken:
                continue
            overlap = box_overlap(annotation["bbox"], result["bbox"])
            if overlap >= best_overlap:
                best, best_overlap = annotation["id"], overlap
        hits.append(best is not None)
        taken |= {best} if best is not None else set()
    if not hits:
        return 0.0
    correct = np.cumsum(hits)
    precision = correct / np.arange(1, len(hits) + 1)
    recall = correct / len(truth["annotations"])
    points = [precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)]
    return float(np.mean(points))


def box_overlap(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[dict, list[dict]]:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    objects = [
        (int(rng.integers(1, 4)), 1, tuple(rng.integers(0, 40, 2)) + tuple(rng.integers(8, 50, 2)))
        for _ in range(draw(st.integers(1, 8)))
    ]
    truth = truth_of(*((i, c, tuple(map(int, box))) for i, c, box in objects), images=3)
    results = []
    for score in rng.permutation(draw(st.integers(0, 12))):  # all scores differ
        near = truth["annotations"][rng.integers(len(truth["annotations"]))]
        box = np.maximum(np.add(near["bbox"], rng.integers(-6, 7, 4)), [0, 0, 4, 4])
        results.append(found(int(near["image_id"]), 1, tuple(map(int, box)), float(score + 1) / 20))
    return truth, results


@given(scenes())
def test_same_as_the_definition(scene: tuple[dict, list[dict]]) -> None:
    truth, results = scene
    ours = evaluate_detections(truth, results, kinds=("box",)).box
    assert ours["AP50"] == pytest.approx(plain_ap(truth, results, 0.5), abs=1e-9)
    assert ours["AP75"] == pytest.approx(plain_ap(truth, results, 0.75), abs=1e-9)


def test_same_as_the_official_summary() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(3)
    boxes = [
        tuple(int(v) for v in (*rng.integers(0, 30, 2), *rng.integers(10, 60, 2))) for _ in "a" * 30
    ]
    truth = truth_of(
        *((1 + i % 5, 1 + i % 2, box) for i, box in enumerate(boxes)),
        images=5,
        categories=("cell", "dust"),
    )
    results = []
    for i, box in enumerate(boxes):
        moved = tuple(int(v) for v in np.maximum(np.add(box, rng.integers(-3, 4, 4)), 0))
        result = found(1 + i % 5, 1 + i % 2, moved, float(rng.random()))
        results.append(result)
    with contextlib.redirect_stdout(io.StringIO()):
        official_gt = COCO()
        official_gt.dataset = copy.deepcopy(truth)
        official_gt.createIndex()
        official = COCOeval(official_gt, official_gt.loadRes(copy.deepcopy(results)), "bbox")
        official.evaluate()
        official.accumulate()
        official.summarize()
    ours = evaluate_detections(truth, results).box
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert [ours[name] for name in names] == pytest.approx(list(official.stats[:6]))
    assert ours["AR"] == pytest.approx(official.stats[8])


# ---------------------------------------------------------------- invariance, cleanliness


def test_input_is_left_alone_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    truth, results = truth_of((1, 1, A)), [found(1, 1, A, 0.9)]
    before = copy.deepcopy((truth, results))
    evaluate_detections(truth, results)
    assert (truth, results) == before
    assert capsys.readouterr().out == ""


def test_the_order_of_results_does_not_matter() -> None:
    truth = truth_of((1, 1, A), (1, 1, B), (2, 1, A), images=2)
    results = [found(1, 1, A, 0.9), found(2, 1, FAR, 0.8), found(2, 1, A, 0.7), found(1, 1, B, 0.3)]
    assert evaluate_detections(truth, results).box == evaluate_detections(truth, results[::-1]).box


def test_polygons_and_uncompressed_runs_and_missing_fields() -> None:
    truth = truth_of((1, 1, A), (1, 1, B))
    polygon = [[10, 10, 50, 10, 50, 50, 10, 50]]
    columns = np.zeros(SIZE, np.uint8)
    columns[10:50, 60:100] = 1
    flat = columns.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    runs = np.diff(np.concatenate([[0], changes])).tolist()
    for annotation, shape in zip(
        truth["annotations"], (polygon, {"size": list(SIZE), "counts": runs}), strict=True
    ):
        annotation["segmentation"] = shape
        for key in ("area", "iscrowd", "bbox"):
            del annotation[key]
    results = evaluate_detections(truth, [found(1, 1, A, 0.9), found(1, 1, B, 0.8)])
    assert results.box["AP"] == pytest.approx(1.0)
    assert results.mask is not None and results.mask["AP"] == pytest.approx(1.0)


def test_boxes_alone() -> None:
    results = evaluate_detections(truth_of((1, 1, A)), [found(1, 1, A, 0.9, mask=False)])
    assert results.mask is None and results.box["AP"] == pytest.approx(1.0)
    assert "mask" not in results.curves


def test_masks_alone_give_their_boxes() -> None:
    result = found(1, 1, A, 0.9)
    del result["bbox"]
    results = evaluate_detections(truth_of((1, 1, A)), [result])
    assert results.box["AP"] == pytest.approx(1.0)


def test_per_class_and_curves() -> None:
    truth = truth_of((1, 1, A), (1, 2, B), categories=("cell", "dust", "hair"))
    results = evaluate_detections(truth, [found(1, 1, A, 0.9), found(1, 2, FAR, 0.8)])
    assert results.per_class["cell"]["box"]["AP"] == pytest.approx(1.0)
    assert results.per_class["dust"]["box"]["AP"] == 0
    assert results.per_class["hair"]["box"]["AP"] == -1
    assert results.box["AP"] == pytest.approx(0.5)
    curve = results.curves["mask"]
    assert curve.precision.shape == (10, 101, 3) and curve.classes == ("cell", "dust", "hair")
    assert (curve.precision[:, :, 2] == -1).all()
    table = results.table().splitlines()
    assert len(table) == 9 and table[1].startswith("all, box")
    assert json.loads(json.dumps(results.to_json()))["box"]["AP"] == pytest.approx(0.5)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"a": 1}, "expected a list"),
        ([3], r"results\[0\]: expected a dictionary"),
        ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}], r"no \['score'\]"),
        ([{"image_id": 1, "category_id": 1, "score": 1}], "neither"),
    ],
)
def test_refuses_what_is_no_result(results, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_detections(truth_of((1, 1, A)), results)


def test_refuses_what_is_no_ground_truth() -> None:
    with pytest.raises(ValueError, match="'annotations'"):
        evaluate_detections({"images": []}, [])
    bare = {"id": 4, "image_id": 1, "category_id": 1}
    with pytest.raises(ValueError, match=r"annotations\[0\]: has neither a mask nor a box"):
        evaluate_detections({**truth_of((1, 1, A)), "annotations": [bare]}, [])
    with pytest.raises(ValueError, match="max_detections"):
        evaluate_detections(truth_of((1, 1, A)), [], max_detections=0)


def test_results_file_round_trip(tmp_path) -> None:
    results = [found(1, 1, A, 0.9)]
    write_results(tmp_path / "deep" / "results.json", results)
    assert read_results(tmp_path / "deep" / "results.json") == results
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["results.json"]
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_results(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    broken.write_text('[{"image_id": 1,')
    with pytest.raises(ValueError, match=r"broken\.json"):
        read_results(broken)
    for change, said in (
        ({"score": "high"}, r"results\[0\]\.score: expected a number"),
        ({"bbox": [1, 2, 3]}, r"results\[0\]\.bbox: expected \[x, y"),
        ({"segmentation": {"size": list(SIZE), "counts": "xyz"}}, r"results\[0\]\.segmentation"),
        ({"segmentation": {"size": 3, "counts": "1"}}, r"\.size: expected \[height, width\]"),
    ):
        broken.write_text(json.dumps([{**results[0], **change}]))
        with pytest.raises(ValueError, match=said):
            read_results(broken)
    broken.write_text("[[]]")
    with pytest.raises(ValueError, match=r"broken\.json: results\[0\]"):
        read_results(broken)


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "results.json"
    write_results(path, [found(1, 1, A, 0.9)])
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_results(path, [{"score": object()}])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


# ---------------------------------------------------------------- a model on a data set


class Oracle:
    """Knows the answers: returns each image's own objects, with soft masks cut from the truth."""

    def __init__(self, dataset, classes: tuple[str, ...], indices) -> None:
        self.classes = classes
        self.largest_batch = 0
        self.answers = {dataset[i].image.tobytes(): dataset[i] for i in indices}
        self.data_classes = dataset.classes

    def predict(self, images: list[np.ndarray]) -> list[Detections]:
        self.largest_batch = max(self.largest_batch, len(images))
        return [self.answer(self.answers[image.tobytes()]) for image in images]

    def answer(self, sample: Sample) -> Detections:
        known = [i for i in range(len(sample)) if self.name(sample, i) in self.classes]
        labels = [self.classes.index(self.name(sample, i)) for i in known]
        return Detections(
            boxes=sample.boxes[known],
            labels=np.array(labels, np.int64),
            scores=np.full(len(known), 0.9, np.float32),
            mask_probs=np.stack([crop_probs(sample, i) for i in known])
            if known
            else np.zeros((0, 56, 56), np.float32),
            image_size=sample.image.shape[:2],
            classes=self.classes,
            paste="detectron2",
        )

    def name(self, sample: Sample, i: int) -> str:
        return self.data_classes[sample.labels[i]]


def crop_probs(sample: Sample, i: int, cells: int = 56) -> np.ndarray:
    x0, y0, x1, y1 = sample.boxes[i]
    at_x = np.clip(np.floor(x0 + (np.arange(cells) + 0.5) / cells * (x1 - x0)), x0, x1 - 1)
    at_y = np.clip(np.floor(y0 + (np.arange(cells) + 0.5) / cells * (y1 - y0)), y0, y1 - 1)
    return sample.masks[i][np.ix_(at_y.astype(int), at_x.astype(int))].astype(np.float32)


def test_an_oracle_has_a_perfect_score() -> None:
    dataset = Shapes(7, size=96, seed=5)
    oracle = Oracle(dataset, dataset.classes, range(7))
    seen = []
    results = evaluate(
        oracle, dataset, batch_size=3, progress=False, on_image=lambda s, d: seen.append((s, d))
    )
    assert results.box["AP"] == pytest.approx(1.0)
    assert results.mask is not None and results.mask["AP"] > 0.95
    assert results.images == 7 and len(seen) == 7 and oracle.largest_batch == 3
    assert results.seconds_per_image is not None and results.seconds_per_image > 0
    assert len(results.coco_results) == results.detections == results.objects


def test_classes_are_matched_by_name() -> None:
    dataset = Shapes(5, size=96, seed=5)
    names = (*dataset.classes[::-1], "moon")
    results = evaluate(Oracle(dataset, names, range(5)), dataset, progress=False)
    assert results.box["AP"] == pytest.approx(1.0)
    assert "The data has no class 'moon'" in (results.explanation or "")

    class MoonGazer(Oracle):
        def answer(self, sample: Sample) -> Detections:
            known = super().answer(sample)
            first = known.keep([0])
            scores = np.r_[np.float32(1), known.scores]
            labels = np.r_[names.index("moon"), known.labels]
            boxes, probs = (
                np.concatenate([getattr(d, name) for d in (first, known)])
                for name in ("boxes", "mask_probs")
            )
            return dataclasses.replace(
                known, boxes=boxes, labels=labels, scores=scores, mask_probs=probs
            )

    gazed = evaluate(MoonGazer(dataset, names, range(5)), dataset, progress=False)
    assert gazed.box == results.box and gazed.detections == results.detections
    results = evaluate(Oracle(dataset, ("star",), range(5)), dataset, progress=False)
    assert "does not know 'circle', 'square', 'triangle'" in (results.explanation or "")
    with pytest.raises(ValueError, match="no class in common: the model knows 'moon'"):
        evaluate(Oracle(dataset, ("moon",), range(5)), dataset, progress=False)


def test_limits_and_data_without_end() -> None:
    endless = Shapes(None, size=64, seed=1)
    oracle = Oracle(endless, endless.classes, range(4))
    results = evaluate(oracle, endless, limit=4, progress=False)
    assert results.images == 4 and results.box["AP"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no end"):
        evaluate(oracle, endless, progress=False)
    with pytest.raises(ValueError, match="limit: expected at least 1"):
        evaluate(oracle, endless, limit=0, progress=False)
    with pytest.raises(ValueError, match="no images"):
        evaluate(oracle, Shapes(0, size=64), progress=False)
    fixed = Shapes(9, size=64, seed=1)
    assert ground_truth(fixed, 4)["annotations"] == ground_truth(endless, 4)["annotations"]
    assert evaluate(oracle, fixed, limit=4, progress=False).images == 4


def test_ignoring_classes_is_one_class() -> None:
    truth = truth_of((1, 1, A), (1, 2, B), categories=("cell", "dust"))
    clean = clean_ground_truth(truth)
    results = number_results(clean, [found(1, 2, A, 0.9)])
    precision, *_ = run_cocoeval(clean, results, "box", 100, use_classes=False)
    assert precision.shape[2] == 1


def test_the_limit_is_the_models_own_where_that_is_higher() -> None:
    dataset = Shapes(2, size=64, seed=5)
    oracle = Oracle(dataset, dataset.classes, range(2))
    for kept, expected in ((None, 100), (30, 100), (300, 300)):
        if kept is not None:
            oracle.selection = types.SimpleNamespace(detections_per_img=kept)
        assert evaluate(oracle, dataset, progress=False).max_detections == expected
    assert evaluate(oracle, dataset, progress=False, max_detections=5).max_detections == 5
