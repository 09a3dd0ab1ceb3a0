"""Why an AP is 0 or -1, in sentences.

Every hint is backed by a measurement on the same data: what the AP would be if the classes were
ignored, the boxes read in another format, and so on.  Nothing is guessed from the code.
"""

# R detections   G annotated objects   boxes are xywh, as COCO's files have them

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minimask.evaluate.cocoeval import run_cocoeval
from minimask.evaluate.results import Results

LOW = 0.01  # an AP below this gets a diagnosis
SIZES = {
    "APs": "smaller than 32x32 pixels",
    "APm": "between 32x32 and 96x96 pixels",
    "APl": "larger than 96x96 pixels",
}


def explain_low_ap(gt: dict[str, Any], results: list[dict[str, Any]], found: Results) -> str | None:
    """Sentences on every 0 and -1 of an evaluation; None when there is nothing to say.

    Args:
        gt: the ground truth as `clean_ground_truth` returns it.
        results: all detections, those with unknown ids included.
        found: the numbers to be explained.
    """
    if not gt["images"]:
        return "Every AP is -1: the ground truth lists no images."
    if not found.objects:
        crowds = len(gt["annotations"])
        reason = f"all {crowds} annotations are crowds" if crowds else "nothing is annotated"
        return f"Every AP is -1: {reason} in the {_count(found.images, 'image')}."
    sentences = list(_ids(gt, results))
    if not results:
        sentences.append(
            f"AP is 0: there are no detections at all in {_count(found.images, 'image')} with "
            f"{_count(found.objects, 'object')}. The model's score threshold may be too high, or "
            "it has not been trained long enough."
        )
    elif found.detections:
        sentences += _low_boxes(gt, results, found)
        sentences += _low_masks(gt, results, found)
        sentences += _low_classes(found)
    sentences += _sizes(found)
    return " ".join(sentences) or None


def _count(number: int, noun: str) -> str:
    plural = {"category": "categories", "class": "classes"}.get(noun, noun + "s")
    return f"{number} {noun if number == 1 else plural}"


def _some(values: set[Any]) -> str:
    """The first few of a set, in order, as text."""
    ordered = sorted(values, key=str)
    return ", ".join(map(repr, ordered[:3])) + (" ..." if len(ordered) > 3 else "")


def _ids(gt: dict[str, Any], results: list[dict[str, Any]]) -> Iterator[str]:
    """Detections that name images or categories the ground truth does not have."""
    for key, part, noun in (
        ("image_id", "images", "image"),
        ("category_id", "categories", "category"),
    ):
        known = {entry["id"] for entry in gt[part]}
        lost = [result[key] for result in results if result[key] not in known]
        if not lost:
            continue
        article = "an" if noun == "image" else "a"
        sentence = (
            f"{len(lost)} of {len(results)} detections name {article} {noun} that the ground truth "
            f"does not have, and count for nothing: they have {key} {_some(set(lost))}, the "
            f"ground truth has {_some(known)}."
        )
        if {str(value) for value in lost} & {str(value) for value in known}:
            sentence += " The ids differ in type: one side holds text, the other numbers."
        elif noun == "category" and {value + 1 for value in lost if _whole(value)} <= known:
            sentence += " The detections' ids look like indices from 0: map them to the file's ids."
        yield sentence


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _known(gt: dict[str, Any], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    images = {image["id"] for image in gt["images"]}
    categories = {category["id"] for category in gt["categories"]}
    return [r for r in results if r["image_id"] in images and r["category_id"] in categories]


def _low_boxes(gt: dict[str, Any], results: list[dict[str, Any]], found: Results) -> Iterator[str]:
    if not found.box or found.box["AP"] > LOW:
        return
    known = _known(gt, results)
    cap = found.max_detections
    top = max(float(result["score"]) for result in known)
    yield (
        f"Box AP is {format(found.box['AP'], '.2g')} "
        f"({_count(found.detections, 'detection')}, {_count(found.objects, 'object')}, "
        f"highest score {top:.3g})."
    )
    blind = _ap50(gt, known, "box", cap, use_classes=False)
    if len(gt["categories"]) > 1 and blind > max(0.2, 2 * found.box["AP50"]):
        yield (
            f"The classes are wrong, the places are right: with classes ignored box AP50 is "
            f"{blind:.2f}. Check that the order of the class names is the one the model was "
            "trained with."
        )
        return
    with_boxes = [result for result in known if result.get("bbox")]
    sizes = {image["id"]: (image["height"], image["width"]) for image in gt["images"]}
    for reading, advice in READINGS.items():
        convert = _FORMATS[reading]
        changed = [{**r, "bbox": convert(r["bbox"], sizes[r["image_id"]])} for r in with_boxes]
        if changed and _ap50(gt, changed, "box", cap, use_classes=False) > max(0.2, 2 * blind):
            yield advice
            return
    yield _overlap(gt, known)


def _ap50(
    gt: dict[str, Any],
    results: list[dict[str, Any]],
    kind: str,
    cap: int,
    use_classes: bool,
) -> float:
    precision = run_cocoeval(gt, results, kind, cap, use_classes)[0][0, :, :, 0]
    counted = precision[precision > -1]
    return float(counted.mean()) if counted.size else -1.0


Size = tuple[int, int]  # height, width
_FORMATS: dict[str, Callable[[list[float], Size], list[float]]] = {
    "corners": lambda b, size: [b[0], b[1], b[2] - b[0], b[3] - b[1]],
    "center": lambda b, size: [b[0] - b[2] / 2, b[1] - b[3] / 2, b[2], b[3]],
    "fraction": lambda b, size: [b[0] * size[1], b[1] * size[0], b[2] * size[1], b[3] * size[0]],
    "fraction corners": lambda b, size: [
        b[0] * size[1],
        b[1] * size[0],
        (b[2] - b[0]) * size[1],
        (b[3] - b[1]) * size[0],
    ],
    "swapped": lambda b, size: [b[1], b[0], b[3], b[2]],
}
READINGS = {
    "corners": (
        "The detections' boxes are corners (x0, y0, x1, y1), COCO results need "
        "(x, y, width, height): read as corners they fit the objects."
    ),
    "center": (
        "The detections' boxes are (center x, center y, width, height), COCO results need the "
        "upper left corner: read as centers they fit the objects."
    ),
    "fraction": (
        "The detections' boxes are fractions of the image, COCO results need pixels: multiplied "
        "by width and height they fit the objects."
    ),
    "fraction corners": (
        "The detections' boxes are corners as fractions of the image, COCO results need "
        "(x, y, width, height) in pixels: read so they fit the objects."
    ),
    "swapped": (
        "x and y are swapped in the detections' boxes: read as (y, x, height, width) they fit "
        "the objects."
    ),
}


def _overlap(gt: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """How well the best detection of each object overlaps it, in the middle."""
    from pycocotools import mask as rle_tools

    by_image = collections.defaultdict(list)
    for result in results:
        if result.get("bbox"):
            by_image[result["image_id"]].append(result["bbox"])
    best = []
    for annotation in gt["annotations"]:
        if annotation["iscrowd"]:
            continue
        boxes = np.asarray(by_image.get(annotation["image_id"], np.zeros((0, 4))), float)
        overlaps = rle_tools.iou(boxes, np.asarray([annotation["bbox"]], float), [0])
        best.append(float(np.max(overlaps)) if len(boxes) else 0.0)
    middle, reached = float(np.median(best)), float(np.mean(np.asarray(best) >= 0.5))
    if reached >= 0.5:
        return (
            f"The objects are found ({reached:.0%} have a box of IoU 0.5 or more) but ranked "
            "below many false detections: the scores do not tell right from wrong yet."
        )
    return (
        f"The boxes do not fit: the best one of the median object has IoU {middle:.2f}, and "
        f"{reached:.0%} of the objects reach 0.5, the lowest that counts."
    )


def _low_masks(gt: dict[str, Any], results: list[dict[str, Any]], found: Results) -> Iterator[str]:
    if found.mask is None or not found.box:
        return
    if found.box["AP50"] < 0.1 or found.mask["AP50"] > 0.25 * found.box["AP50"]:
        return
    yield (
        f"The boxes are right but the masks are wrong: AP50 is {found.box['AP50']:.2f} for boxes "
        f"and {found.mask['AP50']:.2f} for masks."
    )
    known = _known(gt, results)
    lacking = sum(not result.get("segmentation") for result in known)
    sizes = {image["id"]: [image["height"], image["width"]] for image in gt["images"]}
    wrong = [
        (list(r["segmentation"]["size"]), sizes[r["image_id"]])
        for r in known
        if isinstance(r.get("segmentation"), dict)
        and list(r["segmentation"]["size"]) != sizes[r["image_id"]]
    ]
    if lacking:
        yield f"{_count(lacking, 'detection')} of {len(known)} have no mask."
    if wrong:
        (height, width), (true_height, true_width) = wrong[0]
        swapped = (height, width) == (true_width, true_height)
        yield (
            f"{_count(len(wrong), 'mask')} of {len(known)} do not have the image's size, for "
            f"example {height}x{width} for an image of {true_height}x{true_width} (height x width)"
            f"{': height and width are swapped' if swapped else ''}."
        )


def _low_classes(found: Results) -> Iterator[str]:
    """Classes at 0 while others are not."""
    kind = "box" if found.box else "mask"
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
            reason = f"none of its {_count(entry['detections'], 'detection')} fits an object"
        else:
            reason = "no detection has this class"
        yield f"Class {name!r} has AP 0: {_count(entry['objects'], 'object')}, but {reason}."
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
        yield (
            f"No object of {_count(len(empty), 'class')} is annotated ({_some(set(empty))}): "
            "AP is the mean of the others."
        )
