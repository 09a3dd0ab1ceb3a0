"""Keypoint R-CNN: Faster R-CNN with a branch that finds the joints of every object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minimask.data.skeleton import COCO_PERSON, Skeleton
from minimask.models.factory import fields_of
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.mask_rcnn import MaskRCNN

PARTS = fields_of(Skeleton)
SKELETONS = {"coco_person": COCO_PERSON}


class KeypointRCNN(FasterRCNN):
    """Keypoint R-CNN (Mask R-CNN, section 5): a Faster R-CNN whose `roi_heads` find keypoints."""


class MaskKeypointRCNN(MaskRCNN, KeypointRCNN):
    """Masks and keypoints of the same objects (Mask R-CNN, table 5)."""


def skeleton_of_options(
    skeleton: Skeleton | Mapping[str, Any] | str | None = None, num_keypoints: int | None = None
) -> Skeleton:
    """The keypoints a model is to find.

    Args:
        skeleton: their names and limbs, as an object or as its `as_dict()`, or a name of
            `SKELETONS`; default: COCO's person.
        num_keypoints: how many, where they have no names; then they are called 1, 2, ...

    Raises:
        ValueError: neither one nor the other is a skeleton, or they disagree.
    """
    if num_keypoints is not None and (
        not isinstance(num_keypoints, int | np.integer) or num_keypoints < 1
    ):
        raise ValueError(f"num_keypoints: expected a number from 1, got {num_keypoints!r}")
    if skeleton is None:
        if num_keypoints is None:
            return COCO_PERSON
        return Skeleton.named([str(i + 1) for i in range(num_keypoints)])
    found = _as_skeleton(skeleton)
    if num_keypoints not in (None, len(found)):
        raise ValueError(
            f"num_keypoints is {num_keypoints}, but the skeleton has {len(found)} keypoints; "
            "leave num_keypoints out"
        )
    return found


def _as_skeleton(given: Any) -> Skeleton:
    if isinstance(given, Skeleton):
        return given
    if isinstance(given, str) and given in SKELETONS:
        return SKELETONS[given]
    if isinstance(given, Mapping) and "names" in given and set(given) <= PARTS:
        try:
            return Skeleton.named(**given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"skeleton: {error}") from None
    raise ValueError(
        "skeleton: expected a Skeleton, a dict of its names, limbs, flip and sigmas, or one of "
        f"{', '.join(SKELETONS)}, got {given!r}"
    )
