"""What a reader of the numbers must know: what was measured, on what, up to which limit."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

from minimask.evaluate.cocoeval import Truth

COCO_LIMIT = 100  # detections per image and class in the official metric
Cut = dict[tuple[int, int], int]  # numbers of image and category -> detections


def count(number: int, noun: str) -> str:
    """Such as "1 image" and "3 categories"."""
    plural = {"category": "categories", "class": "classes"}.get(noun, noun + "s")
    return f"{number} {noun if number == 1 else plural}"


def left_out(results: list[dict[str, Any]], max_detections: int) -> Cut:
    """How many detections of an image and class are beyond the limit, where some are.

    Args:
        results: from `number_results`.
        max_detections: the limit.
    """
    counts = collections.Counter((r["image_id"], r["category_id"]) for r in results)
    return {key: n - max_detections for key, n in counts.items() if n > max_detections}


def notes(
    truth: Truth,
    checked: list[dict[str, Any]],
    known: list[dict[str, Any]],
    kinds: tuple[str, ...],
    cut: Cut,
    max_detections: int,
    asked: bool = False,
) -> Iterator[str]:
    """Sentences; none where everything was measured as COCO does.

    Args:
        truth: from `clean_ground_truth`.
        checked: all detections, from `check_results`.
        known: those that count, from `number_results`.
        kinds: what was measured.
        cut: from `left_out`.
        max_detections: the limit.
        asked: whether the kinds were chosen by the caller, who knows then what is missing.
    """
    if truth.objects() and known and ("mask" in kinds or not asked):
        yield from _masks(truth, known, kinds)
    yield from _limit(truth, known, cut, max_detections)
    for key, ids in (("image_id", truth.image_ids), ("category_id", truth.category_ids)):
        others = [r[key] for r in checked if not ids.has(r[key]) and ids.find(r[key])]
        if others:
            have, want = ("text", "numbers") if isinstance(others[0], str) else ("numbers", "text")
            yield (
                f"{key} of {count(len(others), 'detection')} is {have} and the ground truth has "
                f"{want}: {others[0]!r} was read as the same id."
            )


def _masks(truth: Truth, known: list[dict[str, Any]], kinds: tuple[str, ...]) -> Iterator[str]:
    objects, drawn = truth.objects(), truth.objects(masks=True)
    lacking = sum(result["rle"] is None for result in known)
    if "mask" not in kinds:
        if not drawn and lacking < len(known):
            yield "Masks were not measured: no object of the ground truth has one."
        elif drawn and lacking == len(known):
            yield "Masks were not measured: no detection has one."
        return
    missing = len(objects) - len(drawn)
    if missing:
        yield (
            f"{missing} of {count(len(objects), 'object')} "
            f"{'has' if missing == 1 else 'have'} no mask: mask AP is over the other {len(drawn)}, "
            "and detections inside the boxes of those without are not counted as false."
        )
    if lacking:
        yield (
            f"{lacking} of {count(len(known), 'detection')} {'has' if lacking == 1 else 'have'} "
            "no mask and did not count for mask AP."
        )


def _limit(
    truth: Truth, known: list[dict[str, Any]], cut: Cut, max_detections: int
) -> Iterator[str]:
    """What the limit left out where there are objects, or what a higher one let count."""
    objects = {(a["image_id"], a["category_id"]) for a in truth.objects()}
    bites = {key: number for key, number in cut.items() if key in objects}
    if bites:
        images = len({image for image, _ in bites})
        coco = ", as COCO counts," if max_detections == COCO_LIMIT else ""
        yield (
            f"In {count(images, 'image')} more than {max_detections} detections of a class were "
            f"found; only the best {max_detections}{coco} were measured and "
            f"{sum(bites.values())} were left out: raise --max-detections (max_detections in "
            "Python) to measure them."
        )
    elif max_detections > COCO_LIMIT and left_out(known, COCO_LIMIT):
        yield (
            f"Up to {max_detections} detections per image and class were measured; COCO's own "
            f"limit is {COCO_LIMIT}."
        )
