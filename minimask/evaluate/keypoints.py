"""Object keypoint similarity (OKS): how pycocotools is told whose keypoints are measured.

OKS = mean over the labeled keypoints of exp(-d^2 / (2 s^2 (2 sigma)^2)), d the distance in pixels
and s^2 the object's area (cocodataset.org, keypoint evaluation).  It takes the place of the IoU;
objects without a labeled keypoint do not count.
"""

# P keypoints of an object

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minimask.data.keypoint_values import common_skeleton
from minimask.data.skeleton import COCO_SIGMAS, UNIFORM, Skeleton

if TYPE_CHECKING:
    from minimask.evaluate.cocoeval import Truth

KEYPOINT_LIMIT = 20  # detections per image and class in the official metric


def labeled_objects(truth: Truth) -> list[dict[str, Any]]:
    """The annotations that are no crowds and have a labeled keypoint."""
    return [a for a in truth.objects() if any(v > 0 for v in a.get("keypoints", ())[2::3])]


def keypoint_count(truth: Truth, name: str = "ground_truth") -> int | None:
    """P of the annotated keypoints; None where nobody annotated any.

    Raises:
        ValueError: objects have different numbers, or classes different keypoints.
    """
    annotated = [a for a in truth.annotations if a.get("keypoints")]
    if not annotated:
        return None
    counts = {len(a["keypoints"]) // 3: a["place"] for a in reversed(annotated)}
    if len(counts) > 1:
        (one, first), (other, second), *_ = sorted(counts.items(), key=lambda item: item[1])
        raise ValueError(
            f"{name}: annotations[{first}] has {one} keypoints and annotations[{second}] {other}: "
            "OKS compares objects of one kind; measure each class by itself"
        )
    _skeleton(truth, name)
    return next(iter(counts))


def _skeleton(truth: Truth, name: str) -> Skeleton | None:
    used = {a["category_id"] for a in truth.annotations if a.get("keypoints")}
    try:
        return common_skeleton(c for c in truth.categories if c["id"] in used)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def sigmas_of(truth: Truth, count: int, given: Sequence[float] | None = None) -> Sequence[float]:
    """The sigma of each keypoint.

    Args:
        truth: whose categories may name keypoints and sigmas.
        count: P.
        given: by the caller, who knows better.

    Returns:
        P numbers: given ones, else those of the ground truth's names; without names COCO's where
        there are 17 keypoints, else 0.05 for all.

    Raises:
        ValueError: other than P were given.
    """
    if given is not None:
        if len(given) != count or not all(0 < sigma < float("inf") for sigma in given):
            raise ValueError(
                f"sigmas: expected {count} numbers above 0, one for each keypoint, "
                f"got {list(given)}"
            )
        return given
    skeleton = _skeleton(truth, "ground_truth")
    if skeleton is not None:
        return skeleton.sigmas
    return COCO_SIGMAS if count == len(COCO_SIGMAS) else (UNIFORM,) * count


def refuse_lacking(truth: Truth, results: list[dict[str, Any]], names: tuple[str, str]) -> None:
    """Raise where keypoints were asked for and one side has none.

    Raises:
        ValueError: it says which.
    """
    if not labeled_objects(truth):
        raise ValueError(
            f"{names[0]}: no object has a labeled keypoint, so there is nothing to measure "
            "keypoints against; give annotations with `keypoints`"
        )
    if results and not any("keypoints" in result for result in results):
        raise ValueError(
            f"{names[1] or 'results'}: no detection has `keypoints`; they come from a model with a "
            "keypoint head, such as keypointrcnn_laptop"
        )


def keypoint_notes(
    truth: Truth,
    known: list[dict[str, Any]],
    kinds: Sequence[str],
    sigmas: Sequence[float],
    asked: bool,
) -> list[str]:
    """Sentences on what was measured of keypoints and what not; see `notes.notes`."""
    there, found = labeled_objects(truth), [r for r in known if "keypoints" in r]
    if "keypoints" not in kinds:
        if asked:
            return []
        if found and not there:
            return ["Keypoints were not measured: no object of the ground truth has any."]
        if there and known and not found:
            return ["Keypoints were not measured: no detection has any."]
        return []
    notes = []
    lacking, missing = len(known) - len(found), len(truth.objects()) - len(there)
    if missing:
        notes.append(
            f"{missing} of {len(truth.objects())} objects have no labeled keypoint: keypoint AP "
            f"is over the other {len(there)}."
        )
    if lacking:
        notes.append(f"{lacking} of {len(known)} detections have no keypoints.")
    if tuple(sigmas) != COCO_SIGMAS and set(sigmas) == {UNIFORM}:
        notes.append(
            f"Keypoints: OKS with sigma {UNIFORM:g} for all, as nobody gave others (`sigmas` of "
            "the category)."
        )
    return notes
