"""Detections that are right but filed wrongly: under another image, class or score."""

# G objects   R detections   K classes

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.data.spellings import Id, Ids
from minimask.evaluate.cocoeval import Truth, number_results
from minimask.evaluate.notes import count
from minimask.evaluate.overlap import CLEAR, HALF, Scene, best, box_ious, fits_better, sample

LOOKED = 500  # annotations whose box is compared with their mask
SEEN = 3  # objects of a class that must show a mix-up where other classes are right
PAIRS = 5  # that are named
RANKED = 5  # right and wrong detections that scores are judged by


def id_hints(truth: Truth, results: list[dict[str, Any]]) -> Iterator[str]:
    """Detections that name images or categories the ground truth does not have, or the next one."""
    for key, ids, noun in (
        ("image_id", truth.image_ids, "image"),
        ("category_id", truth.category_ids, "category"),
    ):
        lost = [result[key] for result in results if ids.find(result[key]) is None]
        if lost:
            article = "an" if noun == "image" else "a"
            yield (
                f"{len(lost)} of {len(results)} detections name {article} {noun} that the ground "
                f"truth does not have, and count for nothing: they have {key} {_some(lost)}, the "
                f"ground truth has {_some(ids.values)}."
            )
            if noun == "category" and all(_next(v, 1, ids) for v in lost):
                yield "The detections' ids look like indices from 0: map them to the file's ids."


def image_shift_hint(
    truth: Truth, results: list[dict[str, Any]], known: list[dict[str, Any]]
) -> str | None:
    """Whether the detections fit the objects of the image with the next id."""
    scenes = sample(truth, known)
    now = best(map(box_ious, scenes))
    if not len(now) or not fits_better(now, np.ones_like(now)):
        return None  # nothing to gain
    images = {scene.image for scene in scenes}
    for step in (1, -1):
        moved = [
            {**result, "image_id": result["image_id"] + step}
            for result in results
            if _next(result["image_id"], step, truth.image_ids) in images
        ]
        if fits_better(now, best(map(box_ious, sample(truth, number_results(truth, moved))))):
            there = moved[0]["image_id"]
            return (
                "The image ids are off by one: the detections fit the objects of the image with "
                f"the {'next' if step == 1 else 'previous'} id; those of image {there - step}, for "
                f"example, belong to image {there}."
            )
    return None


def _some(values: list[Id]) -> str:
    """The first few of several ids, in order, as text."""
    ordered = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    return ", ".join(map(repr, ordered[:3])) + (" ..." if len(ordered) > 3 else "")


def _next(value: Id, step: int, ids: Ids) -> int | None:
    """The number of the id that is `step` further on, if there is one."""
    return ids.find(value + step) if isinstance(value, int) else None


def truth_box_hint(truth: Truth) -> list[str]:
    """Whether the ground truth's own boxes lie around its masks."""
    from pycocotools import mask as rle_tools

    drawn = truth.objects(masks=True)
    drawn = drawn[:: max(1, len(drawn) // LOOKED)]
    if not drawn:
        return []
    tight = np.array([rle_tools.toBbox(a["rle"]) for a in drawn], float)
    boxes = np.array([a["bbox"] for a in drawn], float)
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    now, then = (_paired_ious(tight, b) for b in (boxes, corners.clip(min=0)))
    far = now < HALF
    if far.mean() < 0.1:
        return []
    hint = (
        f"In the ground truth {far.mean():.0%} of the boxes do not lie around their own masks, so "
        "no detection can fit both"
    )
    if fits_better(now, then):
        hint += ": they are corners (x0, y0, x1, y1), COCO needs (x, y, width, height)"
    return [hint + "."]


def _paired_ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of each box of one list with that of the other; xywh."""
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    total = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - shared
    return shared / np.maximum(total, 1e-9)


def class_hints(truth: Truth, scenes: list[Scene], blind: float | None) -> list[str]:
    """Which classes stand for which others, where places are right and classes are not.

    Args:
        truth: from `clean_ground_truth`.
        scenes: from `sample`.
        blind: box AP50 with classes ignored, if that is far above box AP50.
    """
    table = _classes_on(scenes, len(truth.categories))
    total, own = table.sum(axis=1), table.diagonal()
    other = np.where(np.eye(len(table), dtype=bool), 0, table)
    mixed = (total > 0) & (own < 0.3 * total) & (other.max(axis=1) >= 0.6 * total)
    if not mixed[total > 0].all():
        mixed &= total >= SEEN
    names = [repr(category["name"]) for category in truth.categories]
    instead = {int(k): int(other[k].argmax()) for k in np.flatnonzero(mixed)}
    # each for another one: a network that gives one class to everything mixes nothing up
    taken = [d for d in instead.values() if total[d]]
    exchanged = len(set(taken)) == len(taken) and set(taken) <= instead.keys()
    pairs = [(names[d], names[k]) for k, d in instead.items()] if exchanged else []
    sentences = []
    if blind is not None and own.sum() < 0.5 * total.sum():
        sentences.append(
            "The classes are wrong, the places are right: with classes ignored box AP50 is "
            f"{blind:.2f}. Check that the order of the class names is the one the model was "
            "trained with."
        )
    if pairs:
        said = ", ".join(f"those of class {d} on objects of class {o}" for d, o in pairs[:PAIRS])
        more = f", and {len(pairs) - PAIRS} more" if len(pairs) > PAIRS else ""
        sentences.append(f"Classes are mixed up: detections lie, {said}{more}.")
    return sentences


def _classes_on(scenes: list[Scene], classes: int) -> np.ndarray:
    """(K, K) how often the detections that fit best an object of one class have another."""
    table = np.zeros((classes, classes), int)
    for scene in scenes:
        ious = box_ious(scene)
        if not ious.size:
            continue
        labels = np.array([r["category_id"] - 1 for r in scene.detections])
        for row, annotation in zip(ious, scene.objects, strict=True):
            fitting = row >= max(HALF, row.max() - CLEAR)
            mine = annotation["category_id"] - 1
            if fitting.any():  # its own class, if one of the best has it
                right = (labels[fitting] == mine).any()
                table[mine, mine if right else labels[np.flatnonzero(fitting)[0]]] += 1
    return table


def score_hint(scenes: list[Scene]) -> str | None:
    """Whether the scores are all equal or the wrong way round."""
    right: list[float] = []
    wrong: list[float] = []
    for scene in scenes:
        ious = box_ious(scene)
        labels = np.array([r["category_id"] for r in scene.detections])
        there = np.array([a["category_id"] for a in scene.objects])
        fits = ((ious >= HALF) & (there[:, None] == labels[None])).any(axis=0)
        for hit, result in zip(fits, scene.detections, strict=True):
            (right if hit else wrong).append(result["score"])
    if min(len(right), len(wrong)) < RANKED:
        return None
    hits, misses = np.array(right), np.sort(wrong)
    if (hits == hits[0]).all() and (misses == hits[0]).all():
        share = len(hits) / (len(hits) + len(misses))
        return (
            f"All scores are equal ({hits[0]:.3g}), so that nothing ranks the right detections "
            f"({share:.0%}) before the wrong ones, and AP is lower than it could be."
        )
    below = np.searchsorted(misses, hits, "left") + np.searchsorted(misses, hits, "right")
    chance = float(below.mean() / (2 * len(misses)))
    if chance >= 0.25:
        return None
    return (
        f"The scores look inverted: a right detection has a higher one than a wrong detection in "
        f"only {chance:.0%} of the pairs ({count(len(hits), 'right detection')}, {len(misses)} "
        "wrong). COCO takes high scores first."
    )
