"""OKS and keypoint AP: by hand, against pycocotools' own summary, and what is refused."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest

from minimask.data.keypoint_values import category_entry
from minimask.data.sample import Sample
from minimask.data.skeleton import COCO_PERSON, COCO_SIGMAS, Skeleton
from minimask.evaluate import evaluate, evaluate_detections, read_results, write_results
from minimask.models.detections import Detections

CARD = Skeleton.named(("left", "right"), ((0, 1),))
AREA = 400.0
LEFT, RIGHT = (20.0, 30.0), (40.0, 30.0)


def truth_of(*objects, skeleton=CARD, images=1):
    """A ground truth of objects (image, keypoints as a flat list)."""
    return {
        "images": [{"id": i + 1, "width": 100, "height": 100} for i in range(images)],
        "categories": [{"id": 1, "name": "card", **category_entry(skeleton)}],
        "annotations": [
            {
                "id": i + 1,
                "image_id": image,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [10, 20, 40, 20],
                "area": AREA,
                "keypoints": keypoints,
                "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
            }
            for i, (image, keypoints) in enumerate(objects)
        ],
    }


def found(image, keypoints, score, box=(10, 20, 40, 20)):
    entry = {"image_id": image, "category_id": 1, "score": score, "keypoints": keypoints}
    return entry | ({"bbox": list(box)} if box else {})


BOTH = [*LEFT, 2, *RIGHT, 1]


def test_one_exact_detection_is_perfect():
    results = evaluate_detections(truth_of((1, BOTH)), [found(1, [*LEFT, 1, *RIGHT, 1], 0.9)])
    assert results.keypoints["AP"] == pytest.approx(1)
    assert results.keypoints["APs"] == -1  # COCO knows no small ones
    assert results.box["AP"] == pytest.approx(1)
    assert results.keypoint_objects == 1
    assert "all, keypoints" in results.table()


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
def test_oks_by_hand(distance):
    # one of two keypoints off: OKS = (1 + exp(-d^2 / (2 area (2 sigma)^2))) / 2
    oks = (1 + np.exp(-(distance**2) / (2 * AREA * 0.1**2))) / 2
    assert oks == pytest.approx({1.0: 0.9412, 2.0: 0.8033, 4.0: 0.5677}[distance], abs=1e-4)
    moved = [LEFT[0] + distance, LEFT[1], 1, *RIGHT, 1]
    counted = sum(oks >= t for t in np.linspace(0.5, 0.95, 10))
    results = evaluate_detections(truth_of((1, BOTH)), [found(1, moved, 0.9)])
    assert results.keypoints["AP"] == pytest.approx(counted / 10)


def test_unlabeled_keypoints_do_not_count_and_hidden_ones_do():
    only_left = [*LEFT, 1, 0, 0, 0]
    results = evaluate_detections(truth_of((1, only_left)), [found(1, [*LEFT, 1, 90, 90, 1], 0.9)])
    assert results.keypoints["AP"] == pytest.approx(1)
    hidden_wrong = found(1, [90, 90, 1, *RIGHT, 1], 0.9)
    assert evaluate_detections(truth_of((1, only_left)), [hidden_wrong]).keypoints["AP"] == 0


def test_objects_without_labeled_keypoints_cost_nothing():
    truth = truth_of((1, BOTH), (1, [0] * 6))
    truth["annotations"][1]["bbox"] = [60, 60, 20, 20]
    results = evaluate_detections(
        truth,
        [found(1, [*LEFT, 1, *RIGHT, 1], 0.5), found(1, [70, 70, 1, 72, 70, 1], 0.9)],
    )
    # the second detection lies on the object that nobody labeled
    assert results.keypoints["AP"] == pytest.approx(1)
    assert results.keypoint_objects == 1
    assert any("1 of 2 objects have no labeled keypoint" in note for note in results.notes)


def random_people(rng, images=6):
    objects, results = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(1, 5)):
            places = rng.uniform(10, 90, (17, 2))
            v = rng.choice([0, 1, 2], 17, p=[0.2, 0.2, 0.6])
            flat = np.concatenate([places, v[:, None]], axis=1).round(1)
            objects.append((image, flat.ravel().tolist()))
            noise = rng.normal(0, rng.choice([0.5, 2, 6]), (17, 2))
            guess = np.concatenate([places + noise, np.ones((17, 1))], axis=1)
            results.append(found(image, guess.ravel().tolist(), float(rng.random())))
        stray = rng.uniform(0, 100, (17, 3)).ravel().tolist()
        results.append(found(image, stray, float(rng.random())))
    truth = truth_of(*objects, skeleton=COCO_PERSON, images=images)
    for a in truth["annotations"]:
        a["area"] = float(rng.uniform(200, 9000))
        a["iscrowd"] = int(rng.random() < 0.1)
    return truth, results


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_pycocotools_own_script(seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, results = random_people(np.random.default_rng(seed))
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = copy.deepcopy(truth)
        gt.createIndex()
        plain = [{k: v for k, v in r.items() if k != "bbox"} for r in copy.deepcopy(results)]
        scorer = COCOeval(gt, gt.loadRes(plain), "keypoints")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    ours = evaluate_detections(truth, results).keypoints
    theirs = dict(zip(("AP", "AP50", "AP75", "APm", "APl", "AR"), scorer.stats[:6], strict=True))
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name
    assert 0.05 < ours["AP"] < 0.95


def test_twenty_detections_count():
    wrong = [found(1, [0, 0, 1, 1, 1, 1], 0.9 - i / 100) for i in range(20)]
    good = found(1, [*LEFT, 1, *RIGHT, 1], 0.1)
    assert evaluate_detections(truth_of((1, BOTH)), [*wrong, good]).keypoints["AR"] == 0
    nineteen = evaluate_detections(truth_of((1, BOTH)), [*wrong[1:], good])
    assert nineteen.keypoints["AR"] == pytest.approx(1)


def test_sigmas_of_names_of_the_file_and_of_the_caller():
    moved = [LEFT[0] + 4, LEFT[1], 1, RIGHT[0] + 4, RIGHT[1], 1]
    truth, results = truth_of((1, BOTH)), [found(1, moved, 0.9)]
    assert evaluate_detections(truth, results).keypoints["AP"] == 0
    assert evaluate_detections(truth, results, sigmas=(1, 1)).keypoints["AP"] == pytest.approx(1)
    wide = Skeleton.named(CARD.names, sigmas=(1.0, 1.0))
    truth_with = truth_of((1, BOTH), skeleton=wide)
    assert evaluate_detections(truth_with, results).keypoints["AP"] == pytest.approx(1)
    with pytest.raises(ValueError, match="sigmas: expected 2 numbers above 0"):
        evaluate_detections(truth, results, sigmas=(1, 1, 1))
    assert COCO_PERSON.sigmas == COCO_SIGMAS


def test_official_results_without_boxes_measure_keypoints_alone(tmp_path):
    results = [found(1, [*LEFT, 1, *RIGHT, 1], 0.9, box=None)]
    write_results(tmp_path / "results.json", results)
    measured = evaluate_detections(truth_of((1, BOTH)), read_results(tmp_path / "results.json"))
    assert list(measured.kinds) == ["keypoints"]
    assert measured.keypoints["AP"] == pytest.approx(1)
    json.dumps(measured.to_json())


def test_what_cannot_be_measured_is_said():
    with_points, without = truth_of((1, BOTH)), truth_of((1, []), skeleton=None)
    result = found(1, [*LEFT, 1, *RIGHT, 1], 0.9)
    plain = {k: v for k, v in result.items() if k != "keypoints"}
    notes = evaluate_detections(with_points, [plain]).notes
    assert "Keypoints were not measured: no detection has any." in notes
    notes = evaluate_detections(without, [result]).notes
    assert "Keypoints were not measured: no object of the ground truth has any." in notes
    with pytest.raises(ValueError, match="no detection has `keypoints`; they come from a model"):
        evaluate_detections(with_points, [plain], kinds=("keypoints",))
    with pytest.raises(ValueError, match="no object has a labeled keypoint"):
        evaluate_detections(without, [result], kinds=("keypoints",))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t, r: r[0].update(keypoints=[1, 2, 3]), r"results\[0\].keypoints: 1 keypoints, bu"),
        (lambda t, r: r[0].update(keypoints=[1, 2]), r"results\[0\].keypoints: 2 numbers; expect"),
        (lambda t, r: r[0].update(keypoints="x"), r"results\[0\].keypoints: expected a list of fi"),
        (
            lambda t, r: t["annotations"][0].update(keypoints=[1, 2, 2]),
            r"annotations\[0\].keypoints: 3 numbers; expected 6",
        ),
        (
            lambda t, r: t["annotations"][0].update(keypoints=[1, 2, 7, 0, 0, 0]),
            r"annotations\[0\].keypoints: visibility 7",
        ),
        (
            lambda t, r: t["categories"][0].update(keypoints=["a", "a"]),
            r"categories\[0\].keypoints: 'a' is there twice",
        ),
    ],
)
def test_wrong_values_are_named(change, says):
    truth, results = truth_of((1, BOTH)), [found(1, [*LEFT, 1, *RIGHT, 1], 0.9)]
    change(truth, results)
    with pytest.raises(ValueError, match=says):
        evaluate_detections(truth, results)


def test_objects_of_different_numbers_are_refused_only_for_keypoints():
    truth = truth_of((1, BOTH), (1, [1, 1, 2]), skeleton=None)
    result = found(1, [*LEFT, 1, *RIGHT, 1], 0.9)
    with pytest.raises(ValueError, match=r"annotations.0. has 2 keypoints and annotations.1. 1"):
        evaluate_detections(truth, [result])
    assert evaluate_detections(truth, [result], kinds=("box",)).keypoints is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p[[1, 0]], "left and right are exchanged"),
        (lambda p: p[:, [1, 0, 2]], "x and y are swapped"),
        (lambda p: p / (100, 100, 1), "they are fractions of the image"),
        (lambda p: p * (1, -1, 1) + (0, 100, 0), "they are upside down"),
    ],
)
def test_explains_keypoints_read_otherwise(change, says):
    truth = truth_of((1, BOTH), (2, BOTH), images=2)
    right = np.array([(*LEFT, 1), (*RIGHT, 1)])
    results = [found(image, change(right).ravel().tolist(), 0.9) for image in (1, 2)]
    text = evaluate_detections(truth, results).explanation
    assert "The boxes are right but the keypoints are wrong" in text
    assert says in text
    good = [found(image, right.ravel().tolist(), 0.9) for image in (1, 2)]
    assert "keypoints are wrong" not in (evaluate_detections(truth, good).explanation or "")


class Exact:
    """A model that answers with the truth, keypoints moved by so much."""

    classes = ("card",)

    def __init__(self, data, shift=0.0, masks=False):
        self.data, self.shift, self.masks, self.at = data, shift, masks, 0

    def predict(self, images):
        found = []
        for _ in images:
            sample = self.data[self.at]
            self.at += 1
            points = sample.keypoints + np.float32((self.shift, 0, 0))
            count = len(sample)
            probs = np.ones((count, 28, 28), np.float32) if self.masks else None
            found.append(
                Detections(
                    sample.boxes,
                    sample.labels,
                    np.full(count, 0.9, np.float32),
                    probs,
                    sample.image.shape[:2],
                    self.classes,
                    keypoints=points,
                )
            )
        return found


class Cards:
    """Two images with a card each; the truth as COCO writes it."""

    classes, category_ids, skeleton = ("card",), (1,), CARD

    def __len__(self):
        return 2

    def describe(self, index):
        return f"card {index}"

    def __getitem__(self, index):
        masks = np.zeros((1, 64, 64), bool)
        masks[0, 10:50, 5:60] = True
        points = np.array([[(10.25, 20.75, 2), (50.5, 20.5, 1)]], np.float32)
        return Sample(
            np.zeros((64, 64, 3), np.uint8),
            np.array([[5, 10, 60, 50]], np.float32),
            np.zeros(1, np.int64),
            masks,
            image_id=index + 1,
            keypoints=points,
            skeleton=CARD,
        )

    def coco(self):
        from minimask.data.sample import coco_ground_truth

        return coco_ground_truth((self[i] for i in range(2)), self.classes, self.category_ids)


@pytest.mark.parametrize("masks", [False, True])
def test_a_model_is_measured_in_all_it_finds(masks):
    results = evaluate(Exact(Cards(), masks=masks), Cards(), progress=False)
    assert list(results.kinds) == (["box", "mask", "keypoints"] if masks else ["box", "keypoints"])
    assert results.keypoints["AP"] == pytest.approx(1)
    # both sides are written half a pixel less, so that a shift shows
    assert evaluate(Exact(Cards(), 3.0), Cards(), progress=False).keypoints["AP"] < 1
    first = results.coco_results[0]["keypoints"]
    assert first == pytest.approx([9.75, 20.25, 2, 50, 20, 1])
