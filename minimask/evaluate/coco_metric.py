"""Average precision of a list of detections, computed by pycocotools, and why it is low.

pycocotools' own summary hard-codes 100 detections per image, so the numbers are read from the
arrays that `cocoeval.py` returns.
"""

# T IoU thresholds .50 to .95   Q recall points 0 to 1   K classes   A area ranges

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask.evaluate.check import check_results
from minimask.evaluate.cocoeval import (
    KINDS,
    Truth,
    clean_ground_truth,
    number_results,
    run_cocoeval,
)
from minimask.evaluate.explain import explain_low_ap
from minimask.evaluate.keypoints import (
    KEYPOINT_LIMIT,
    keypoint_count,
    keypoint_notes,
    labeled_objects,
    refuse_lacking,
    sigmas_of,
)
from minimask.evaluate.notes import left_out, notes
from minimask.evaluate.results import Curve, Results

AREAS = ("all", "small", "medium", "large")  # COCO's limits: 32 and 96 pixels squared


def evaluate_detections(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    *,
    max_detections: int = 100,
    kinds: tuple[str, ...] | None = None,
    names: tuple[str, str] = ("ground_truth", ""),
    sigmas: Sequence[float] | None = None,
) -> Results:
    """The COCO metric of detections against annotations.

    Small, medium and large objects are told apart by mask area for mask AP and by box area of the
    detection for box AP; the official script takes the box for both when results carry one.
    Objects without a mask do not count for mask AP, nor do detections inside their boxes; objects
    without a labeled keypoint do not count for keypoint AP.

    Args:
        ground_truth: a COCO dictionary with `images`, `annotations` and `categories`; ids may be
            numbers or text.
        results: COCO results: image_id, category_id, score, bbox (xywh), segmentation (RLE) and
            keypoints (x, y and score of each).
        max_detections: best-scored detections per image and class that count; COCO takes 100,
            and of keypoints 20, which is the most that count here.
        kinds: some of "box", "mask" and "keypoints"; by default what both sides hold.
        names: where the two come from, for messages: the files.
        sigmas: of the keypoints; default: of the ground truth, see `keypoints.sigmas_of`.

    Raises:
        ValueError: a value of the ground truth or of the results is missing or wrong: the message
            says where; max_detections is below 1; keypoints are asked for and not there, or of
            another number.
    """
    if max_detections < 1:
        raise ValueError(f"max_detections: expected at least 1, got {max_detections}")
    for kind in kinds or ():
        if kind not in KINDS:
            raise ValueError(f"kinds: expected some of {list(KINDS)}, got {kind!r}")
    truth = clean_ground_truth(ground_truth, names[0])

    def size_of(value: Any) -> tuple[int, int] | None:
        number = truth.image_ids.find(value)
        return None if number is None else truth.size(number)

    count = None
    if kinds is None or "keypoints" in kinds:
        count = keypoint_count(truth, names[0])
    checked = check_results(results, names[1], size_of, count)
    known = number_results(truth, checked)
    asked = kinds is not None
    if kinds is not None and "keypoints" in kinds:
        refuse_lacking(truth, checked, names)
    kinds = kinds or _kinds_of(truth, checked)
    sigmas = sigmas_of(truth, count, sigmas) if count else ()
    classes = tuple(category["name"] for category in truth.categories)
    metrics, curves = {}, {}
    for kind in kinds:
        limit = min(max_detections, KEYPOINT_LIMIT) if kind == "keypoints" else max_detections
        precision, recall, scores, params = run_cocoeval(truth, known, kind, limit, sigmas=sigmas)
        metrics[kind] = (_summary(precision, recall), precision, recall)
        recalls, ious = np.asarray(params.recThrs), np.asarray(params.iouThrs)
        curves[kind] = Curve(recalls, ious, precision[..., 0], scores, classes)
    cut = left_out(known, max_detections)
    outcome = Results(
        box=metrics["box"][0] if "box" in metrics else {},
        mask=metrics["mask"][0] if "mask" in metrics else None,
        per_class=_per_class(truth, known, metrics),
        curves=curves,
        images=len(truth.images),
        objects=len(truth.objects()),
        detections=len(known),
        max_detections=max_detections,
        mask_objects=len(truth.objects(masks=True)),
        left_out=sum(cut.values()),
        left_out_images=len({image for image, _ in cut}),
        keypoints=metrics["keypoints"][0] if "keypoints" in metrics else None,
        keypoint_objects=len(labeled_objects(truth)),
        notes=(
            *notes(truth, checked, known, kinds, cut, max_detections, asked),
            *keypoint_notes(truth, known, kinds, sigmas, asked),
        ),
        coco_results=results,
    )
    return dataclasses.replace(outcome, explanation=explain_low_ap(truth, checked, known, outcome))


def _kinds_of(truth: Truth, results: list[dict[str, Any]]) -> tuple[str, ...]:
    """Boxes, which every mask has too, masks and keypoints if both sides have some."""
    drawn = not truth.annotations or any(a["rle"] is not None for a in truth.annotations)
    found = not results or any("segmentation" in result for result in results)
    placed = any("keypoints" in result for result in results) and bool(labeled_objects(truth))
    boxes = not results or any("bbox" in r or "segmentation" in r for r in results)
    kinds = [("box", boxes or not placed), ("mask", drawn and found), ("keypoints", placed)]
    return tuple(kind for kind, there in kinds if there)


def _summary(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """The numbers of `METRICS` from (T, Q, K, A) precision and (T, K, A) recall."""

    def mean(values: np.ndarray) -> float:
        counted = values[values > -1]  # -1: no object of that class and size
        return float(counted.mean()) if counted.size else -1.0

    everything = AREAS.index("all")
    summary = {
        "AP": mean(precision[..., everything]),
        "AP50": mean(precision[0, ..., everything]),
        "AP75": mean(precision[5, ..., everything]),
    }
    for name in ("small", "medium", "large"):
        summary[f"AP{name[0]}"] = mean(precision[..., AREAS.index(name)])
    summary["AR"] = mean(recall[..., everything])
    return summary


def _per_class(
    truth: Truth, results: list[dict[str, Any]], metrics: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    objects, masks, keypoints, detections = (
        collections.Counter(entry["category_id"] for entry in entries)
        for entries in (
            truth.objects(),
            truth.objects(masks=True),
            labeled_objects(truth),
            results,
        )
    )
    per_class = {}
    for k, category in enumerate(truth.categories):
        number = category["id"]
        entry: dict[str, Any] = {
            "objects": objects[number],
            "mask_objects": masks[number],
            "keypoint_objects": keypoints[number],
            "detections": detections[number],
        }
        for kind, (_, precision, recall) in metrics.items():
            entry[kind] = _summary(precision[:, :, k : k + 1], recall[:, k : k + 1])
        per_class[category["name"]] = entry
    return per_class
