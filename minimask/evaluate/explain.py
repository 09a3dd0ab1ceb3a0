"""Why an AP is 0, -1 or far below what the detections could reach, in sentences.

Every hint is backed by a measurement on the same data: what the AP would be if the classes were
ignored, how the boxes and masks lie if they are read in another way, and so on.  Nothing is
guessed from the code.
"""

# G annotated objects   boxes are xywh, as COCO's files have them

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.evaluate.cocoeval import Truth, run_cocoeval
from minimask.evaluate.keypoint_readings import keypoint_hint
from minimask.evaluate.mixups import (
    class_hints,
    id_hints,
    image_shift_hint,
    score_hint,
    truth_box_hint,
)
from minimask.evaluate.notes import count
from minimask.evaluate.overlap import HALF, Scene, best, box_ious, sample
from minimask.evaluate.readings import box_hint, mask_hint
from minimask.evaluate.results import Results

LOW = 0.01  # an AP below this gets a diagnosis even if no cause is found
SIZES = {
    "APs": "smaller than 32x32 pixels",
    "APm": "between 32x32 and 96x96 pixels",
    "APl": "larger than 96x96 pixels",
}


def explain_low_ap(
    truth: Truth, results: list[dict[str, Any]], known: list[dict[str, Any]], found: Results
) -> str | None:
    """Sentences on every 0 and -1 of an evaluation; None when there is nothing to say.

    Args:
        truth: from `clean_ground_truth`.
        results: all detections from `check_results`, those with unknown ids included.
        known: the others, from `number_results`.
        found: the numbers to be explained.
    """
    if not truth.images:
        return "Every AP is -1: the ground truth lists no images."
    if not found.objects:
        crowds = len(truth.annotations)
        reason = f"all {crowds} annotations are crowds" if crowds else "nothing is annotated"
        return f"Every AP is -1: {reason} in the {count(found.images, 'image')}."
    sentences = list(id_hints(truth, results))
    shifted = image_shift_hint(truth, results, known)
    if not results:
        sentences.append(
            f"AP is 0: there are no detections at all in {count(found.images, 'image')} with "
            f"{count(found.objects, 'object')}. The model's score threshold may be too high, or "
            "it has not been trained long enough."
        )
    elif shifted:
        sentences.append(shifted)
    elif known:
        sentences += _places(truth, known, found)
        sentences += _low_classes(found)
    sentences += _sizes(found)
    return " ".join(sentences) or None


def _places(truth: Truth, known: list[dict[str, Any]], found: Results) -> Iterator[str]:
    """On masks, then boxes, then classes and scores: the first cause hides the later ones."""
    scenes = sample(truth, known)
    low = bool(found.box) and found.box["AP"] <= LOW
    if low:
        top = max(result["score"] for result in known)
        yield (
            f"Box AP is {format(found.box['AP'], '.2g')} "
            f"({count(found.detections, 'detection')}, {count(found.objects, 'object')}, "
            f"highest score {top:.3g})."
        )
    hints = list(_mask_hints(truth, known, found, scenes)) if found.mask is not None else []
    hints += truth_box_hint(truth)
    hints += filter(None, [box_hint(scenes) if found.box else None])
    if not hints:
        hints += class_hints(truth, scenes, _blind_ap50(truth, known, found, scenes))
    hints += keypoint_hint(truth, known, found)
    if not hints:
        hints += filter(None, [score_hint(scenes)])
    yield from hints
    if low and not hints:
        yield _overlap(scenes)


def _mask_hints(
    truth: Truth, known: list[dict[str, Any]], found: Results, scenes: list[Scene]
) -> Iterator[str]:
    assert found.mask is not None
    boxes = found.box.get("AP50", 0)
    if boxes >= 0.1 and found.mask["AP50"] <= 0.25 * boxes and found.mask["AP50"] >= 0:
        yield (
            f"The boxes are right but the masks are wrong: AP50 is {boxes:.2f} for boxes "
            f"and {found.mask['AP50']:.2f} for masks."
        )
    wrong = []
    for result in known:
        if result["rle"] is not None:
            size, true = tuple(result["rle"]["size"]), truth.size(result["image_id"])
            if size != true:
                wrong.append((size, true))
    if wrong:
        (height, width), (true_height, true_width) = wrong[0]
        swapped = (height, width) == (true_width, true_height)
        yield (
            f"{count(len(wrong), 'mask')} of {len(known)} "
            f"{'does' if len(wrong) == 1 else 'do'} not have the image's size, for "
            f"example {height}x{width} for an image of {true_height}x{true_width} (height x width)"
            f"{': height and width are swapped' if swapped else ''}."
        )
    yield from filter(None, [mask_hint(scenes)])


def _blind_ap50(
    truth: Truth, known: list[dict[str, Any]], found: Results, scenes: list[Scene]
) -> float | None:
    """Box AP50 with classes ignored where box AP50 is far below it; else None."""
    if not found.box or len(truth.categories) < 2:
        return None
    reached = best(map(box_ious, scenes)) >= HALF
    if not len(reached) or reached.mean() < max(0.2, 1.5 * found.box["AP50"]):
        return None  # it cannot be far above
    images = {scene.image for scene in scenes}
    part = [result for result in known if result["image_id"] in images]
    few = dataclasses.replace(
        truth,
        images=[image for image in truth.images if image["id"] in images],
        annotations=[a for a in truth.annotations if a["image_id"] in images],
    )
    precision = run_cocoeval(few, part, "box", found.max_detections, use_classes=False)[0]
    counted = precision[0, :, :, 0]
    blind = float(counted[counted > -1].mean()) if (counted > -1).any() else -1.0
    return blind if blind > max(0.2, 2 * found.box["AP50"]) else None


def _overlap(scenes: list[Scene]) -> str:
    """How well the best detection of each object overlaps it, in the middle."""
    values = best(map(box_ious, scenes))
    middle, reached = float(np.median(values)), float(np.mean(values >= HALF))
    if reached >= HALF:
        return (
            f"The objects are found ({reached:.0%} have a box of IoU 0.5 or more) but ranked "
            "below many false detections: the scores do not tell right from wrong yet."
        )
    return (
        f"The boxes do not fit: the best one of the median object has IoU {middle:.2f}, and "
        f"{reached:.0%} of the objects reach 0.5, the lowest that counts."
    )


def _low_classes(found: Results) -> Iterator[str]:
    """Classes at 0 while others are not."""
    kind = next(iter(found.kinds), "box")
    if len(found.per_class) < 2 or found.box.get("AP", 1) <= LOW:
        return
    silent = [
        name
        for name, entry in found.per_class.items()
        if entry["objects"] and entry[kind]["AP"] == 0
    ]
    for name in silent[:5]:
        entry = found.per_class[name]
        if entry["detections"]:
            reason = f"none of its {count(entry['detections'], 'detection')} fits an object"
        else:
            reason = "no detection has this class"
        yield f"Class {name!r} has AP 0: {count(entry['objects'], 'object')}, but {reason}."
    if len(silent) > 5:
        yield f"{len(silent) - 5} more classes have AP 0."


def _sizes(found: Results) -> Iterator[str]:
    """The -1 entries: sizes and classes without an object."""
    kinds = {"Box": found.box, "Mask": found.mask or {}}
    for metric, size in SIZES.items():
        missing = [kind for kind, values in kinds.items() if values and values[metric] == -1]
        if missing:
            which = "" if len(missing) == sum(map(bool, kinds.values())) else f"{missing[0]} "
            yield f"{which}{metric} is -1: no object is {size}."
    empty = [name for name, entry in found.per_class.items() if not entry["objects"]]
    if empty:
        names = ", ".join(map(repr, sorted(empty)[:3])) + (" ..." if len(empty) > 3 else "")
        yield (
            f"No object of {count(len(empty), 'class')} is annotated ({names}): "
            "AP is the mean of the others."
        )
