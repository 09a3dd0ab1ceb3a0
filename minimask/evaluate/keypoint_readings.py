"""Other readings of keypoints: what detections would be if their writer meant them so."""

# P keypoints of an object

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minimask.data.keypoint_values import common_skeleton
from minimask.evaluate.cocoeval import Truth, run_cocoeval
from minimask.evaluate.keypoints import KEYPOINT_LIMIT, keypoint_count, sigmas_of
from minimask.evaluate.results import Results

Size = tuple[int, int]  # height, width of the image
Reading = Callable[[np.ndarray, Size], np.ndarray]  # (P, 3) to (P, 3)

READINGS: dict[str, tuple[Reading, str]] = {
    "swapped": (lambda p, size: p[:, [1, 0, 2]], "x and y are swapped"),
    "fraction": (
        lambda p, size: p * (size[1], size[0], 1),
        "they are fractions of the image, COCO results need pixels",
    ),
    "upside down": (
        lambda p, size: p * (1, -1, 1) + (0, size[0], 0),
        "they are upside down, y counted from the image's lower edge",
    ),
}


def keypoint_hint(truth: Truth, known: list[dict[str, Any]], found: Results) -> Iterator[str]:
    """A sentence where the boxes are right and the keypoints are not, with the cause if known."""
    boxes, points = found.box.get("AP50", 0), found.keypoints
    if points is None or boxes < 0.1 or not 0 <= points["AP50"] <= 0.25 * boxes:
        return
    cause = ""
    for change, sentence in _readings(truth):
        reached = _ap50(truth, known, change)
        if reached > max(0.2, 2 * points["AP50"]):
            cause = f" Perhaps {sentence}: read so, keypoint AP50 is {reached:.2f}."
            break
    yield (
        f"The boxes are right but the keypoints are wrong: AP50 is {boxes:.2f} for boxes and "
        f"{points['AP50']:.2f} for keypoints.{cause}"
    )


def _readings(truth: Truth) -> Iterator[tuple[Reading, str]]:
    skeleton = common_skeleton(truth.categories)
    if skeleton is not None and skeleton.flip != tuple(range(len(skeleton))):
        flip = list(skeleton.flip)
        yield lambda p, size: p[flip], "left and right are exchanged"
    yield from READINGS.values()


def _ap50(truth: Truth, known: list[dict[str, Any]], change: Reading) -> float:
    """Keypoint AP50 of the detections read in another way."""
    changed = []
    for result in known:
        if "keypoints" in result:
            points = np.array(result["keypoints"], float).reshape(-1, 3)
            points = change(points, truth.size(result["image_id"]))
            changed.append({**result, "keypoints": points.ravel().tolist()})
    sigmas = sigmas_of(truth, keypoint_count(truth) or 0)
    precision, *_ = run_cocoeval(truth, changed, "keypoints", KEYPOINT_LIMIT, sigmas=sigmas)
    counted = precision[0, :, :, 0]
    return float(counted[counted > -1].mean()) if (counted > -1).any() else -1.0
