"""Average recall: how much of the objects a few proposals cover, whatever their classes.

Hosang et al. 2015; COCO's AR.  Recall at an IoU is the share of objects that some proposal overlaps
by that much, each proposal counting for one object; its mean over IoU 0.50, 0.55 ... 0.95 is AR.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask.evaluate.check import check_results
from minimask.evaluate.coco_metric import AREAS
from minimask.evaluate.cocoeval import clean_ground_truth, number_results, run_cocoeval

LIMITS = (100, 300, 1000)
OBJECT = 1  # the only category id where classes do not count


def average_recall(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    *,
    limits: Sequence[int] = LIMITS,
    names: tuple[str, str] = ("ground_truth", ""),
) -> dict[str, float]:
    """AR of the best-scored proposals of each image, computed by pycocotools.

    Args:
        ground_truth: a COCO dictionary; crowds are no objects.
        results: COCO results with boxes; their categories do not count.
        limits: so many proposals of each image, one number for each.
        names: where the two come from, for messages.

    Returns:
        "AR@100", "AR@300", "AR@1000"; and "ARs@...", "ARm@...", "ARl@..." of objects below 32 x 32
        pixels, below 96 x 96 and above, at each limit.  0 to 1; -1 where there is no such object.

    Raises:
        ValueError: a value of the ground truth or of the results is missing or wrong, or a limit
            is below 1.
    """
    if not limits or min(limits) < 1:
        raise ValueError(f"limits: expected numbers of at least 1, got {list(limits)}")
    truth = clean_ground_truth(as_objects(ground_truth), names[0])

    def size_of(value: Any) -> tuple[int, int] | None:
        number = truth.image_ids.find(value)
        return None if number is None else truth.size(number)

    anything = [{**result, "category_id": OBJECT} for result in results]
    known = number_results(truth, check_results(anything, names[1], size_of))
    found = {}
    for limit in limits:
        _, recall, _, _ = run_cocoeval(truth, known, "box", limit, use_classes=False)
        for k, name in enumerate(AREAS):
            which = "" if name == "all" else name[0]
            found[f"AR{which}@{limit}"] = _mean(recall[..., k])
    return found


def as_objects(ground_truth: dict[str, Any]) -> dict[str, Any]:
    """The same annotations, all of one class."""
    try:
        annotations = [{**a, "category_id": OBJECT} for a in ground_truth["annotations"]]
    except (KeyError, TypeError):
        return ground_truth  # to be refused by whoever checks it
    category = {"id": OBJECT, "name": "object"}
    return {**ground_truth, "annotations": annotations, "categories": [category]}


def _mean(recall: np.ndarray) -> float:
    counted = recall[recall > -1]  # -1: no object of that size
    return float(counted.mean()) if counted.size else -1.0
