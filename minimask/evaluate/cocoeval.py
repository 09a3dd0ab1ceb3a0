"""pycocotools' metric, fed with clean input.

What it is protected from: ids that are text or zero or larger than its arrays hold (it counts a
match with the annotation of id 0 as a miss), an empty result list (it raises), annotations
without `area`, `iscrowd` or mask (it raises), and its prints.  Everything behind `Truth` counts
images and categories 1, 2, ... in the order of their ids.
"""

# T IoU thresholds .50 to .95   Q recall points 0 to 1   K classes   A area ranges

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask.data.keypoint_values import extent
from minimask.data.segmentation import to_run_lengths
from minimask.data.spellings import Ids
from minimask.data.truth import check_ground_truth

KINDS = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}


@dataclasses.dataclass(frozen=True)
class Truth:
    """A ground truth as pycocotools needs it.

    Attributes:
        images: `id` (1, 2, ...), `height` and `width`.
        annotations: `id`, `image_id`, `category_id`, `iscrowd`, `area`, `bbox`, `rle`, None
            where nobody drew a mask, and `keypoints` where somebody placed some.
        categories: `id` (1, 2, ...) and `name`, perhaps what they say of keypoints.
        image_ids: the images' own ids, by number.
        category_ids: those of the categories.
    """

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    image_ids: Ids
    category_ids: Ids

    def size(self, number: int) -> tuple[int, int]:
        """Height and width of an image."""
        image = self.images[number - 1]
        return image["height"], image["width"]

    def objects(self, masks: bool = False) -> list[dict[str, Any]]:
        """The annotations that are no crowds; with `masks`, those of them that have one."""
        return [
            a for a in self.annotations if not a["iscrowd"] and not (masks and a["rle"] is None)
        ]


def clean_ground_truth(ground_truth: Any, name: str = "ground_truth") -> Truth:
    """A checked ground truth with numbers for ids and every mask as run lengths.

    Args:
        ground_truth: a COCO dictionary; it stays as it is.
        name: where it comes from, for messages.

    Raises:
        ValueError: as `check_ground_truth`.
    """
    content = check_ground_truth(ground_truth, name)
    images, categories = (
        sorted(content[part], key=lambda entry: (isinstance(entry["id"], str), entry["id"]))
        for part in ("images", "categories")
    )
    image_ids, category_ids = (Ids(e["id"] for e in entries) for entries in (images, categories))
    truth = Truth(
        [{**image, "id": i + 1} for i, image in enumerate(images)],
        [],
        [{**category, "id": k + 1} for k, category in enumerate(categories)],
        image_ids,
        category_ids,
    )
    for i, annotation in enumerate(content["annotations"]):
        entry = {
            **annotation,
            "id": i + 1,
            "image_id": image_ids.find(annotation["image_id"]),
            "category_id": category_ids.find(annotation["category_id"]),
        }
        problem = _complete(entry, *truth.size(entry["image_id"]))
        if problem:
            raise ValueError(f"{name}: annotations[{entry['place']}]: {problem}")
        truth.annotations.append(entry)
    return truth


def _complete(entry: dict[str, Any], height: int, width: int) -> str | None:
    """Give an annotation or a detection its `rle`, `bbox` and `area`; what keeps it from that."""
    from pycocotools import mask as rle_tools

    segmentation = entry.pop("segmentation", None)
    rle = None if segmentation is None else to_run_lengths(segmentation, height, width)
    area = 0.0 if rle is None else float(rle_tools.area(rle))
    if not area:  # a polygon between the pixels or outside
        rle = None
    if rle is None and "bbox" not in entry:
        return "the mask has no pixel, and there is no box"
    entry["rle"] = rle
    if "bbox" not in entry:
        entry["bbox"] = rle_tools.toBbox(rle).tolist()
    if "area" not in entry:
        entry["area"] = area or min(entry["bbox"][2] * entry["bbox"][3], float(height * width))
    return None


def number_results(truth: Truth, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The detections whose image and category the ground truth knows, with numbers for ids.

    Args:
        truth: from `clean_ground_truth`.
        results: from `check_results`.

    Returns:
        Each with image_id, category_id, score, `given` (whether it has a box of its own), `bbox`
        (else around its mask or keypoints), `rle` (None without a mask), perhaps `keypoints`, and
        `index` in `results`.
    """
    known = []
    for i, result in enumerate(results):
        image = truth.image_ids.find(result["image_id"])
        category = truth.category_ids.find(result["category_id"])
        if image is None or category is None:
            continue
        entry = {**result, "image_id": image, "category_id": category, "index": i}
        entry["given"] = "bbox" in entry
        mask = entry.get("segmentation")
        size = tuple(mask["size"]) if isinstance(mask, dict) else truth.size(image)
        entry["bbox"] = entry.get("bbox")
        entry["rle"] = None if mask is None else to_run_lengths(entry.pop("segmentation"), *size)
        if entry["bbox"] is None and mask is None:
            entry["bbox"] = extent(entry["keypoints"])
        elif entry["bbox"] is None:
            from pycocotools import mask as rle_tools

            entry["bbox"] = rle_tools.toBbox(entry["rle"]).tolist()
        known.append(entry)
    return known


def _sides(
    truth: Truth, results: list[dict[str, Any]], kind: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Annotations and detections of one kind as pycocotools takes them.

    An object without a mask becomes a crowd as large as its box when masks are measured: who
    finds it must not lose by that, and nobody can say how well.
    """
    from pycocotools import mask as rle_tools

    key = "bbox" if kind == "box" else "segmentation"
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for a in truth.annotations:
        entry = {k: a[k] for k in ("id", "image_id", "category_id", "iscrowd", "area", "bbox")}
        if kind == "mask":
            entry["segmentation"] = a["rle"]
            if a["rle"] is None:
                (entry["segmentation"],) = rle_tools.frPyObjects(
                    np.array([a["bbox"]], float), *truth.size(a["image_id"])
                )
                entry["iscrowd"] = 1
        annotations.append(entry)
    for r in results:
        if kind == "mask" and r["rle"] is None:
            continue
        if kind == "box" and r["rle"] is None and not r["given"]:
            continue
        entry = {"id": len(detections) + 1, "iscrowd": 0, "score": r["score"]}
        entry |= {"image_id": r["image_id"], "category_id": r["category_id"]}
        entry[key] = r["bbox"] if kind == "box" else r["rle"]
        box = r["bbox"]
        entry["area"] = box[2] * box[3] if kind == "box" else float(rle_tools.area(r["rle"]))
        detections.append(entry)
    return annotations, detections


def _keypoint_sides(
    truth: Truth, results: list[dict[str, Any]], count: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same for keypoints: objects without any have `num_keypoints` 0 and do not count."""
    annotations: list[dict[str, Any]] = []
    for a in truth.annotations:
        entry = {k: a[k] for k in ("id", "image_id", "category_id", "iscrowd", "area", "bbox")}
        entry["keypoints"] = a.get("keypoints") or [0] * (3 * count)
        entry["num_keypoints"] = sum(v > 0 for v in entry["keypoints"][2::3])
        annotations.append(entry)
    detections: list[dict[str, Any]] = []
    for r in results:
        if "keypoints" not in r:
            continue
        entry = {k: r[k] for k in ("image_id", "category_id", "score", "keypoints")}
        _, _, width, height = extent(r["keypoints"])
        entry |= {"id": len(detections) + 1, "iscrowd": 0, "area": width * height}
        detections.append(entry)
    return annotations, detections


def run_cocoeval(
    truth: Truth,
    results: list[dict[str, Any]],
    kind: str,
    max_detections: int,
    use_classes: bool = True,
    sigmas: Sequence[float] = (),
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """What pycocotools finds.

    Args:
        truth: from `clean_ground_truth`.
        results: from `number_results`.
        kind: "box", "mask" or "keypoints".
        max_detections: best-scored detections per image and class that count.
        use_classes: whether a detection must have its object's class.
        sigmas: of the keypoints.

    Returns:
        precision (T, Q, K, A), recall (T, K, A), scores (T, Q, K), and the settings used.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    lists = {"info": {}, "images": truth.images, "categories": truth.categories}
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        if kind == "keypoints":
            both = _keypoint_sides(truth, results, len(sigmas))
        else:
            both = _sides(truth, results, kind)
        for annotations in both:
            side = COCO()
            side.dataset = {**lists, "annotations": annotations}
            side.createIndex()
            sides.append(side)
        scorer = COCOeval(*sides, iouType=KINDS[kind])
        scorer.params.maxDets = [max_detections]
        if kind == "keypoints":
            scorer.params.kpt_oks_sigmas = np.asarray(sigmas, float)
        scorer.params.useCats = int(use_classes)
        scorer.evaluate()
        scorer.accumulate()
    found = scorer.eval
    precision, recall = found["precision"][..., 0], found["recall"][..., 0]
    if kind == "keypoints":  # no small objects there: COCO labels none
        precision, recall = (np.insert(a, 1, -1.0, axis=-1) for a in (precision, recall))
    return (
        precision,
        recall,
        found["scores"][:, :, :, 0, 0],
        scorer.params,
    )
