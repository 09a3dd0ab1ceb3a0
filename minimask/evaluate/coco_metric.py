"""Average precision of a list of detections, computed by pycocotools, and why it is low.

pycocotools' own summary hard-codes 100 detections per image, so the numbers are read from the
arrays that `cocoeval.py` returns.
"""

# T IoU thresholds .50 to .95   Q recall points 0 to 1   K classes   A area ranges

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from minimask.evaluate.cocoeval import check_results, clean_ground_truth, run_cocoeval
from minimask.evaluate.explain import explain_low_ap
from minimask.evaluate.results import Curve, Results

AREAS = ("all", "small", "medium", "large")  # COCO's limits: 32 and 96 pixels squared


def evaluate_detections(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    *,
    max_detections: int = 100,
    kinds: tuple[str, ...] | None = None,
) -> Results:
    """The COCO metric of detections against annotations.

    Small, medium and large objects are told apart by mask area for mask AP and by box area of the
    detection for box AP; the official script takes the box for both when results carry one.

    Args:
        ground_truth: a COCO dictionary with `images`, `annotations` and `categories`.
        results: COCO results: image_id, category_id, score, bbox (xywh) and segmentation (RLE).
        max_detections: best-scored detections per image and class that count; COCO takes 100.
        kinds: "box", "mask" or both; by default what the results hold.

    Raises:
        ValueError: the ground truth lacks a part, or max_detections is below 1.
    """
    if max_detections < 1:
        raise ValueError(f"max_detections: expected at least 1, got {max_detections}")
    check_results(results)
    gt = clean_ground_truth(ground_truth)
    kinds = kinds or _kinds_of(gt, results)
    image_ids = {image["id"] for image in gt["images"]}
    category_ids = {category["id"] for category in gt["categories"]}
    known = [r for r in results if r["image_id"] in image_ids and r["category_id"] in category_ids]
    names = tuple(category["name"] for category in gt["categories"])
    metrics, curves = {}, {}
    for kind in kinds:
        precision, recall, scores, params = run_cocoeval(gt, known, kind, max_detections)
        metrics[kind] = (_summary(precision, recall), precision, recall)
        curves[kind] = Curve(
            np.asarray(params.recThrs), np.asarray(params.iouThrs), precision[..., 0], scores, names
        )
    outcome = Results(
        box=metrics["box"][0] if "box" in metrics else {},
        mask=metrics["mask"][0] if "mask" in metrics else None,
        per_class=_per_class(gt, known, metrics),
        curves=curves,
        images=len(gt["images"]),
        objects=sum(not a["iscrowd"] for a in gt["annotations"]),
        detections=len(known),
        max_detections=max_detections,
        coco_results=results,
    )
    return dataclasses.replace(outcome, explanation=explain_low_ap(gt, results, outcome))


def _kinds_of(gt: dict[str, Any], results: list[dict[str, Any]]) -> tuple[str, ...]:
    """Both kinds, less the one that results or ground truth do not have."""
    if results:
        kinds = [
            kind
            for kind, key in (("box", "bbox"), ("mask", "segmentation"))
            if any(result.get(key) for result in results)
        ]
        if "mask" in kinds and "box" not in kinds:
            kinds.insert(0, "box")  # a mask has a bounding box: pycocotools takes that
    else:
        kinds = ["box", "mask"]
    if "mask" in kinds and not all(a.get("segmentation") for a in gt["annotations"]):
        kinds.remove("mask")  # boxes alone are annotated
    return tuple(kinds) or ("box",)


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
    gt: dict[str, Any], results: list[dict[str, Any]], metrics: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    per_class = {}
    for k, category in enumerate(gt["categories"]):
        same = [a for a in gt["annotations"] if a["category_id"] == category["id"]]
        entry: dict[str, Any] = {
            "objects": sum(not a["iscrowd"] for a in same),
            "detections": sum(r["category_id"] == category["id"] for r in results),
        }
        for kind, (_, precision, recall) in metrics.items():
            entry[kind] = _summary(precision[:, :, k : k + 1], recall[:, k : k + 1])
        per_class[category["name"]] = entry
    return per_class
