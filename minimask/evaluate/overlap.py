"""How well detections lie on objects, measured on some images: as they are, or read otherwise.

AP says little about why: these measurements look at each object's best detection.
"""

# G objects   R detections   boxes are xywh, as COCO's files have them

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minimask.evaluate.cocoeval import Truth

IMAGES = 60  # that are looked at; evenly spaced among those with objects
MASKS = 150  # decoded masks of about 600 x 600 pixels at most
PER_IMAGE = 1000  # best-scored detections of an image that are looked at
HALF = 0.5  # IoU that counts as found
FEW = 3  # objects that chance makes fit; unless they fit exactly
EXACT = 0.9
CLEAR = 0.1  # difference in IoU that is no rounding

Results = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Scene:
    """One image: its objects and its best-scored detections."""

    image: int
    size: tuple[int, int]
    objects: Results
    detections: Results


def sample(truth: Truth, results: Results, image_of: Callable[[dict], Any] | None = None) -> list:
    """Scenes of some images with objects.

    Args:
        truth: from `clean_ground_truth`.
        results: from `number_results`.
        image_of: another image number for a detection, to see what would be if it were there.
    """
    objects: dict[int, Results] = collections.defaultdict(list)
    for annotation in truth.objects():
        objects[annotation["image_id"]].append(annotation)
    images = sorted(objects)
    step = max(1, -(-len(images) // IMAGES))
    chosen: dict[int, Results] = {image: [] for image in images[::step]}
    for result in results:
        image = result["image_id"] if image_of is None else image_of(result)
        if image in chosen:
            chosen[image].append(result)
    return [
        Scene(
            image,
            truth.size(image),
            objects[image][:PER_IMAGE],
            sorted(found, key=lambda r: -r["score"])[:PER_IMAGE],
        )
        for image, found in chosen.items()
    ]


def box_ious(scene: Scene, boxes: list[list[float]] | None = None) -> np.ndarray:
    """(G, R) IoU of each object's box with each detection's, or with these instead."""
    from pycocotools import mask as rle_tools

    found = [r["bbox"] for r in scene.detections] if boxes is None else boxes
    there = [a["bbox"] for a in scene.objects]
    if not found or not there:
        return np.zeros((len(there), len(found)))
    ious = rle_tools.iou(np.array(found, float), np.array(there, float), [0] * len(there))
    return np.nan_to_num(np.asarray(ious, float).T)


def best(ious: Iterable[np.ndarray]) -> np.ndarray:
    """The best IoU of every object of several (G, R) arrays, 0 where nothing is near."""
    rows = [np.max(array, axis=1, initial=0.0) for array in ious]
    return np.concatenate(rows) if rows else np.zeros(0)


def fits_better(now: np.ndarray, then: np.ndarray, fitted: bool = False) -> bool:
    """Whether another reading of the same detections is plainly the right one.

    For a tenth of the objects it must fit clearly better and well, and hardly ever worse: by
    chance a wrong reading helps some objects and spoils as many.

    Args:
        now: best IoU of each object.
        then: the same, read otherwise.
        fitted: whether the reading was made to fit these objects, as a shift is: then a few of
            them prove nothing.
    """
    better, worse = then > now + CLEAR, then < now - CLEAR
    if not better.any():
        return False
    if better.sum() < FEW and (fitted or np.median(then[better]) < EXACT):
        return False
    return bool(
        better.sum() >= 0.1 * len(now)
        and worse.sum() <= 0.1 * better.sum()
        and np.median(then[better]) >= HALF
    )
