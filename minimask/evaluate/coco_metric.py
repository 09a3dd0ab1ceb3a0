"""Average precision of a list of detections, computed by pycocotools.

pycocotools is the referee (`referee.py`); its summary hard-codes 100 detections per image, so the
numbers are read from its arrays here.
"""

# T IoU thresholds .50 to .95   Q recall points 0 to 1   K classes   A area ranges

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from minimask.evaluate.explain import explain
from minimask.evaluate.referee import check_results, clean_ground_truth, judge

AREAS = ("all", "small", "medium", "large")  # COCO's limits: 32 and 96 pixels squared
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")


@dataclasses.dataclass(frozen=True)
class Curve:
    """Precision over recall of one kind (boxes or masks).

    Attributes:
        recall: (Q,) 0, 0.01 ... 1.
        ious: (T,) 0.5, 0.55 ... 0.95.
        precision: (T, Q, K), -1 in classes without ground truth.
        scores: (T, Q, K) score at which that recall is reached, 0 where it never is.
        classes: the K names.
    """

    recall: np.ndarray
    ious: np.ndarray
    precision: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Results:
    """What an evaluation found.

    Attributes:
        box: AP, AP50, AP75, APs, APm, APl and AR of the boxes, 0 to 1; -1 where no object counts.
        mask: the same for masks; None when the detections have no masks.
        per_class: class name to {"box": ..., "mask": ..., "objects": n, "detections": n}.
        curves: "box" and "mask" to a `Curve`.
        images: number of images evaluated.
        objects: number of annotated objects in them, crowds not counted.
        detections: number of detections used.
        max_detections: at most so many detections per image and class count.
        explanation: sentences on why a number is 0 or -1; None when none is.
        seconds_per_image: time the model took; None when only detections were given.
        coco_results: the detections as COCO result dictionaries (RLE masks, xywh boxes).
    """

    box: dict[str, float]
    mask: dict[str, float] | None
    per_class: dict[str, dict[str, Any]]
    curves: dict[str, Curve]
    images: int
    objects: int
    detections: int
    max_detections: int = 100
    explanation: str | None = None
    seconds_per_image: float | None = None
    coco_results: list[dict[str, Any]] = dataclasses.field(default_factory=list, repr=False)

    def to_json(self) -> dict[str, Any]:
        """All numbers as plain JSON; without the curves and the detections."""
        skipped = ("curves", "coco_results")
        fields = [field.name for field in dataclasses.fields(self) if field.name not in skipped]
        return {name: getattr(self, name) for name in fields}

    def table(self, *, per_class: bool = True) -> str:
        """The numbers as aligned text for a terminal; a dash where there is nothing to measure."""
        rows: list[tuple[str, ...]] = [("", "objects", *METRICS)]
        rows += [
            (f"all, {kind}", str(self.objects), *_cells(values))
            for kind, values in (("box", self.box), ("mask", self.mask))
            if values is not None
        ]
        if per_class and len(self.per_class) > 1:
            for name, entry in self.per_class.items():
                for kind in self.curves:
                    rows.append((f"{name}, {kind}", str(entry["objects"]), *_cells(entry[kind])))
        first = max(len(row[0]) for row in rows)
        lines = [row[0].ljust(first) + "".join(cell.rjust(8) for cell in row[1:]) for row in rows]
        return "\n".join(lines)


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
    truth = clean_ground_truth(ground_truth)
    kinds = kinds or _kinds_of(truth, results)
    image_ids = {image["id"] for image in truth["images"]}
    category_ids = {category["id"] for category in truth["categories"]}
    known = [r for r in results if r["image_id"] in image_ids and r["category_id"] in category_ids]
    names = tuple(category["name"] for category in truth["categories"])
    metrics, curves = {}, {}
    for kind in kinds:
        precision, recall, scores, params = judge(truth, known, kind, max_detections)
        metrics[kind] = (_summary(precision, recall), precision, recall)
        curves[kind] = Curve(
            np.asarray(params.recThrs), np.asarray(params.iouThrs), precision[..., 0], scores, names
        )
    outcome = Results(
        box=metrics["box"][0] if "box" in metrics else {},
        mask=metrics["mask"][0] if "mask" in metrics else None,
        per_class=_per_class(truth, known, metrics),
        curves=curves,
        images=len(truth["images"]),
        objects=sum(not a["iscrowd"] for a in truth["annotations"]),
        detections=len(known),
        max_detections=max_detections,
        coco_results=results,
    )
    return dataclasses.replace(outcome, explanation=explain(truth, results, outcome))


def _cells(values: dict[str, float]) -> list[str]:
    return ["-" if values[name] < 0 else f"{values[name]:.3f}" for name in METRICS]


def _kinds_of(truth: dict[str, Any], results: list[dict[str, Any]]) -> tuple[str, ...]:
    """Both kinds, less the one that results or ground truth do not have."""
    if results:
        kinds = [
            kind
            for kind, key in (("box", "bbox"), ("mask", "segmentation"))
            if any(result.get(key) for result in results)
        ]
        if "mask" in kinds and "box" not in kinds:
            kinds.insert(0, "box")  # a mask has a bounding box: the referee takes that
    else:
        kinds = ["box", "mask"]
    if "mask" in kinds and not all(a.get("segmentation") for a in truth["annotations"]):
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
    truth: dict[str, Any], results: list[dict[str, Any]], metrics: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    per_class = {}
    for k, category in enumerate(truth["categories"]):
        same = [a for a in truth["annotations"] if a["category_id"] == category["id"]]
        entry: dict[str, Any] = {
            "objects": sum(not a["iscrowd"] for a in same),
            "detections": sum(r["category_id"] == category["id"] for r in results),
        }
        for kind, (_, precision, recall) in metrics.items():
            entry[kind] = _summary(precision[:, :, k : k + 1], recall[:, k : k + 1])
        per_class[category["name"]] = entry
    return per_class
