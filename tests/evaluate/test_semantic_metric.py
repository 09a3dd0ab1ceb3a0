"""Pixel IoU: known answers by counting."""

from __future__ import annotations

import numpy as np
import pytest

from minimask.data.sample import Sample, boxes_of_masks
from minimask.evaluate import SemanticResults, evaluate
from minimask.evaluate.semantic import confusion, results_of, true_label_map
from minimask.models.label_map import IGNORED, LabelMap


def sample(crowd=(False, False)) -> Sample:
    masks = np.zeros((2, 4, 6), bool)
    masks[0, :2, :3] = True
    masks[1, 2:, 3:] = True
    image = np.zeros((4, 6, 3), np.uint8)
    return Sample(image, boxes_of_masks(masks), np.array([0, 1]), masks, np.array(crowd))


class Says:
    """A model that gives the same label map for every image."""

    task = "semantic"

    def __init__(self, labels: np.ndarray, classes=("a", "b")) -> None:
        self.labels, self.classes = labels, classes

    def predict(self, images):
        one = np.zeros((len(self.classes) + 1, *self.labels.shape), np.float32)
        return [LabelMap(self.labels, one, self.classes) for _ in images]


class Data:
    classes, category_ids = ("a", "b"), (1, 2)

    def __init__(self, *samples: Sample) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def test_the_truth_itself_scores_one():
    truth = true_label_map(sample(), (0, 1))
    found = evaluate(Says(truth), Data(sample()), progress=False)
    assert isinstance(found, SemanticResults)
    assert found.iou == {"background": 1.0, "a": 1.0, "b": 1.0}
    assert found.mean_iou == found.foreground_iou == found.pixel_accuracy == 1.0
    assert found.pixels == {"background": 12, "a": 6, "b": 6}


def test_known_counts():
    """Class a found on 4 of its 6 pixels and 2 of background; b called a altogether."""
    labels = np.zeros((4, 6), np.int64)
    labels[:2, 1:4] = 1
    labels[2:, 3:] = 1
    found = evaluate(Says(labels), Data(sample(), sample()), progress=False)
    assert found.images == 2
    assert found.iou["a"] == pytest.approx(4 / (6 + 12 - 4))
    assert found.iou["b"] == 0
    assert found.iou["background"] == pytest.approx(10 / 14)
    assert found.mean_iou == pytest.approx((4 / 14 + 0 + 10 / 14) / 3)
    assert found.foreground_iou == pytest.approx(10 / 14)  # a for b is foreground all the same
    assert found.pixel_accuracy == pytest.approx(14 / 24)
    assert found.score == ("mean IoU", found.mean_iou)
    assert set(found.row()) == set(found.columns) - {"step"}


def test_crowds_and_unknown_classes_do_not_count():
    truth = true_label_map(sample(crowd=(True, False)), (0, 1))
    assert (truth[:2, :3] == IGNORED).all() and (truth[2:, 3:] == 2).all()
    truth = true_label_map(sample(), (-1, 0))
    assert (truth[:2, :3] == IGNORED).all() and (truth[2:, 3:] == 1).all()
    assert confusion(truth, np.zeros_like(truth), 2).sum() == 24 - 6


def test_classes_go_by_their_names():
    labels = true_label_map(sample(), (1, 0))
    found = evaluate(Says(labels, ("b", "a")), Data(sample()), progress=False)
    assert found.iou == {"background": 1.0, "b": 1.0, "a": 1.0}
    found = evaluate(Says(labels, ("b", "c")), Data(sample()), progress=False)
    assert "does not know a" in found.explanation and "no class c" in found.explanation
    assert found.iou["b"] == 1.0


def test_a_class_that_is_nowhere_has_no_number():
    found = results_of(np.array([[5, 0, 0], [1, 3, 0], [0, 0, 0]]), ("a", "b"), 1)
    assert found.iou["b"] == -1 and found.mean_iou == pytest.approx((5 / 6 + 3 / 4) / 2)
    assert found.table().splitlines()[3].split() == ["b", "0", "-"]


def test_no_class_in_common_is_refused():
    with pytest.raises(ValueError, match="no class in common"):
        evaluate(Says(np.zeros((4, 6), int), ("x",)), Data(sample()), progress=False)
