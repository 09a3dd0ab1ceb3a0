"""Average recall against a computation by hand, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimask.evaluate import average_recall, evaluate
from minimask.kernels.box_iou import box_iou

IOUS = np.arange(0.5, 0.96, 0.05)
RANGES = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}


def coco(boxes):
    """Ground truth in which image i has the boxes[i], (R, 4) x0 y0 x1 y1, of changing classes."""
    annotations = [
        {
            "id": 100 * i + j + 1,
            "image_id": i,
            "category_id": 5 + j % 2,
            "bbox": [*box[:2], *(box[2:] - box[:2])],
            "area": float(np.prod(box[2:] - box[:2])),
            "iscrowd": 0,
        }
        for i, image in enumerate(boxes)
        for j, box in enumerate(image)
    ]
    return {
        "images": [{"id": i, "height": 300, "width": 300} for i in range(len(boxes))],
        "annotations": annotations,
        "categories": [{"id": 5, "name": "a"}, {"id": 6, "name": "b"}],
    }


def results(boxes, scores):
    return [
        {"image_id": i, "category_id": 77, "bbox": [*b[:2], *(b[2:] - b[:2])], "score": float(s)}
        for i, (image, score) in enumerate(zip(boxes, scores, strict=True))
        for b, s in zip(image, score, strict=True)
    ]


def by_hand(objects, proposals, scores, limit, low, high):
    """Greedy matching, best proposals first, as COCO does it; mean over the IoU thresholds."""
    found, total = np.zeros(len(IOUS)), 0
    for truth, boxes, score in zip(objects, proposals, scores, strict=True):
        area = np.prod(truth[:, 2:] - truth[:, :2], axis=1)
        counts = (area >= low) & (area <= high)
        total += counts.sum()
        best = boxes[np.argsort(-score, kind="stable")[:limit]]
        iou = box_iou(truth.astype(np.float64), best.astype(np.float64))
        for t, threshold in enumerate(IOUS):
            free = np.ones(len(truth), bool)
            for d in range(len(best)):
                # objects of other sizes are taken only if none of this size is left
                for group in (counts, ~counts):
                    here = np.where(free & group, iou[:, d], -1)
                    if len(here) and here.max() >= min(threshold, 1 - 1e-10):
                        free[here.argmax()] = False
                        break
            found[t] += (counts & ~free).sum()
    return -1.0 if total == 0 else float((found / total).mean())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_as_by_hand(seed):
    rng = np.random.default_rng(seed)
    objects, proposals, scores = [], [], []
    for _ in range(3):
        corner = rng.uniform(0, 150, (rng.integers(0, 5), 2))
        objects.append(np.concatenate([corner, corner + rng.uniform(10, 140, corner.shape)], 1))
        near = np.repeat(objects[-1], 3, axis=0)
        near = near + rng.normal(0, 6, near.shape)
        far = rng.uniform(0, 100, (4, 4)) + np.array([0, 0, 110, 110])
        boxes = np.concatenate([near, far])
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2] > 1).all(axis=1)]
        proposals.append(boxes)
        scores.append(rng.permutation(len(boxes)) / len(boxes))
    found = average_recall(coco(objects), results(proposals, scores), limits=(1, 3, 1000))
    for limit in (1, 3, 1000):
        for which, (low, high) in RANGES.items():
            expected = by_hand(objects, proposals, scores, limit, low, high)
            assert found[f"AR{which}@{limit}"] == pytest.approx(expected), (which, limit)


def test_one_object_half_covered():
    (box,) = boxes = np.array([[0, 0, 100, 100.0]])
    proposal = box * [1, 1, 0.72, 1]  # IoU 0.72: enough for 0.50 ... 0.70
    found = average_recall(coco([boxes]), results([[proposal]], [[0.5]]))
    assert found["AR@100"] == found["AR@1000"] == pytest.approx(0.5)
    assert found["ARl@300"] == pytest.approx(0.5)
    assert found["ARs@300"] == -1


def test_limits_are_numbers_of_proposals():
    with pytest.raises(ValueError, match="limits: expected numbers of at least 1"):
        average_recall(coco([]), [], limits=(0,))


def test_a_model_without_classes_is_measured_by_recall(shapes_like):
    model, data = shapes_like
    found = evaluate(model, data, progress=False)
    assert found.average_recall["AR@100"] == pytest.approx(1.0)
    assert found.box["AP"] == pytest.approx(1.0)
    assert found.to_json()["average_recall"]["AR@300"] == pytest.approx(1.0)
    assert "1000 proposals" in found.table()


@pytest.fixture
def shapes_like():
    """A model that knows the answers and calls everything an object."""
    from minimask.data.shapes import Shapes
    from minimask.models import Detections

    data = Shapes(3, (96, 96), seed=1)
    answers = {data[i].image.tobytes(): data[i].target for i in range(3)}

    class Knows:
        class_agnostic = True
        classes = ("circle", "square")

        def predict(self, images):
            found = []
            for image in images:
                boxes = answers[image.tobytes()].boxes
                labels, scores = np.zeros(len(boxes), np.int64), np.ones(len(boxes), np.float32)
                size = image.shape[:2]
                found.append(Detections(boxes, labels, scores, None, size, ("object",)))
            return found

    return Knows(), data
