"""pycocotools' metric, fed with clean input.

What it is protected from: an empty result list (it raises), a ground-truth id of 0 (it counts the
match as a miss), annotations without `area` or `iscrowd` (it raises), and its prints.
"""

# T IoU thresholds .50 to .95   Q recall points 0 to 1   K classes   A area ranges

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

KINDS = {"box": "bbox", "mask": "segm"}


def check_results(results: Any) -> None:
    """Raise ValueError, naming the entry, unless this is a list of COCO result dictionaries."""
    if not isinstance(results, list):
        raise ValueError(
            f"results: expected a list of COCO result dictionaries, got {type(results).__name__}"
        )
    for i, result in enumerate(results):
        if not isinstance(result, dict):
            raise ValueError(f"results[{i}]: expected a dictionary, got {type(result).__name__}")
        missing = [key for key in ("image_id", "category_id", "score") if key not in result]
        if missing:
            raise ValueError(f"results[{i}]: has no {missing}; it has {sorted(result)}")
        if not (result.get("bbox") or result.get("segmentation")):
            raise ValueError(f"results[{i}]: has neither `bbox` nor `segmentation`")


def clean_ground_truth(ground_truth: dict[str, Any]) -> dict[str, Any]:
    """A copy whose annotations all have what pycocotools needs; the input stays as it is.

    Raises:
        ValueError: a part of the COCO dictionary is missing.
    """
    for part in ("images", "annotations", "categories"):
        if not isinstance(ground_truth.get(part), list):
            raise ValueError(
                f"ground_truth: expected a COCO dictionary with a list under {part!r}, "
                f"got the keys {sorted(ground_truth)}"
            )
    categories = sorted(ground_truth["categories"], key=lambda category: category["id"])
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    annotations: list[dict[str, Any]] = []
    for annotation in ground_truth["annotations"]:
        if annotation["image_id"] not in sizes:
            continue
        entry = {"iscrowd": 0, **annotation, "id": len(annotations) + 1}
        if entry.get("segmentation"):
            entry["segmentation"] = to_rle(entry["segmentation"], *sizes[entry["image_id"]])
        if not (entry.get("bbox") or entry.get("segmentation")):
            raise ValueError(
                f"ground_truth: annotation {annotation.get('id')} has neither `bbox` nor "
                "`segmentation`"
            )
        if "bbox" not in entry and entry.get("segmentation"):
            from pycocotools import mask as rle_tools

            entry["bbox"] = rle_tools.toBbox(entry["segmentation"]).tolist()
        if "area" not in entry:
            entry["area"] = _area(entry)
        annotations.append(entry)
    return {
        "info": {},
        "images": list(ground_truth["images"]),
        "annotations": annotations,
        "categories": categories,
    }


def to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Polygons or RLE of either form as one compressed RLE dictionary."""
    from pycocotools import mask as rle_tools

    if isinstance(segmentation, list):
        return rle_tools.merge(rle_tools.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return rle_tools.frPyObjects(segmentation, *segmentation["size"])
    return segmentation


def _area(annotation: dict[str, Any]) -> float:
    if annotation.get("segmentation"):
        from pycocotools import mask as rle_tools

        return float(rle_tools.area(annotation["segmentation"]))
    return float(annotation["bbox"][2] * annotation["bbox"][3])


def _detection(
    result: dict[str, Any], kind: str, number: int, size: tuple[int, int]
) -> dict[str, Any]:
    """One result as an annotation of that kind: its own copy, with area and id."""
    entry = {
        "id": number,
        "iscrowd": 0,
        **{key: result[key] for key in ("image_id", "category_id", "score")},
    }
    if result.get("segmentation"):
        entry["segmentation"] = to_rle(result["segmentation"], *size)
    if kind == "box":
        if result.get("bbox"):
            entry["bbox"] = [float(value) for value in result["bbox"]]
        else:
            from pycocotools import mask as rle_tools

            entry["bbox"] = rle_tools.toBbox(entry["segmentation"]).tolist()
        entry.pop("segmentation", None)
    entry["area"] = _area(entry)
    return entry


def run_cocoeval(
    gt: dict[str, Any],
    results: list[dict[str, Any]],
    kind: str,
    max_detections: int,
    use_classes: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """What pycocotools finds.

    Returns:
        precision (T, Q, K, A), recall (T, K, A), scores (T, Q, K), and the settings used.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if kind == "mask":
        results = [result for result in results if result.get("segmentation")]
    sizes = {image["id"]: (image["height"], image["width"]) for image in gt["images"]}
    detections = [
        _detection(result, kind, i + 1, sizes[result["image_id"]])
        for i, result in enumerate(results)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for annotations in ([dict(a) for a in gt["annotations"]], detections):
            side = COCO()
            side.dataset = {**gt, "annotations": annotations}
            side.createIndex()
            sides.append(side)
        scorer = COCOeval(*sides, iouType=KINDS[kind])
        scorer.params.maxDets = [max_detections]
        scorer.params.useCats = int(use_classes)
        scorer.evaluate()
        scorer.accumulate()
    found = scorer.eval
    return (
        found["precision"][..., 0],
        found["recall"][..., 0],
        found["scores"][:, :, :, 0, 0],
        scorer.params,
    )
