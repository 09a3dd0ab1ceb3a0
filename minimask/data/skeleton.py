"""What the keypoints of a class are called, which are joined, and which are left and right.

Letters: R instances, P keypoints of one instance.

Keypoints are arrays (R, P, 3) float32: x and y in pixels, continuous (the pixel of column i and
row j covers i .. i + 1 and j .. j + 1), then the visibility v of COCO: 0 not labeled, 1 labeled
but hidden, 2 visible.  Of a detection the third number is the score instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

UNIFORM = 0.05  # sigma of keypoints that nobody measured: about the mean of COCO's joints
SIDES = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])|^(left|right)(?=[a-z])|(left|right)$")


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of a class.

    Attributes:
        names: P names, all different.
        limbs: pairs of indices that are joined by a line.
        flip: (P,) the permutation that swaps left and right: keypoint i of the mirrored image is
            keypoint flip[i] of the image.
        sigmas: (P,) how far annotators disagree about each keypoint, in units of the square root
            of the object's area: COCO's OKS.

    Raises:
        ValueError: parts that do not fit together.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    flip: tuple[int, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        count = len(self.names)
        if not count or len(set(self.names)) < count:
            raise ValueError(f"keypoints: expected different names, got {list(self.names)}")
        if any(not 0 <= end < count for limb in self.limbs for end in limb):
            raise ValueError(f"limbs: expected pairs of 0 .. {count - 1}, got {list(self.limbs)}")
        if sorted(self.flip) != list(range(count)) or any(
            self.flip[other] != i for i, other in enumerate(self.flip)
        ):
            raise ValueError(
                f"flip: expected each of 0 .. {count - 1} with its partner, got {list(self.flip)}"
            )
        if len(self.sigmas) != count or not all(0 < sigma < np.inf for sigma in self.sigmas):
            raise ValueError(
                f"sigmas: expected {count} numbers above 0, one per keypoint, "
                f"got {list(self.sigmas)}"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sides(self) -> tuple[str, ...]:
        """(P,) "left", "right" or "", of those that have no partner.

        Of partners whose names do not say it the first is taken to be the left one.
        """
        sides = []
        for i, other in enumerate(self.flip):
            found = SIDES.search(self.names[i].lower())
            if other == i:
                sides.append("")
            elif found:
                sides.append({"l": "left", "r": "right"}[found.group()[0]])
            else:
                sides.append("left" if i < other else "right")
        return tuple(sides)

    @classmethod
    def named(
        cls,
        names: Sequence[str],
        limbs: Sequence[Sequence[int]] = (),
        *,
        flip: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> Skeleton:
        """A skeleton from what a file says of it.

        Args:
            names: P names.
            limbs: pairs of indices, from 0.
            flip: default: partners by the names, see `flip_of_names`.
            sigmas: default: COCO's for its person, else 0.05 for all.

        Raises:
            ValueError: see `Skeleton`.
        """
        if sigmas is None:
            known = tuple(names) == COCO_NAMES
            sigmas = COCO_SIGMAS if known else (UNIFORM,) * len(names)
        return cls(
            tuple(names),
            tuple((int(a), int(b)) for a, b in limbs),
            tuple(flip_of_names(names) if flip is None else flip),
            tuple(float(sigma) for sigma in sigmas),
        )

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Skeleton:
        """From `as_dict`, also after JSON made lists of its tuples."""
        return cls.named(plain["names"], plain["limbs"], flip=plain["flip"], sigmas=plain["sigmas"])

    def as_dict(self) -> dict[str, Any]:
        """The plain form for configurations: lists of text and numbers."""
        limbs = [list(limb) for limb in self.limbs]
        return {name: list(value) for name, value in asdict(self).items()} | {"limbs": limbs}

    def problem(self, other: Skeleton) -> str | None:
        """How the keypoints of another skeleton differ from these, or None.

        A phrase that follows "the model has".  Keypoints called 1, 2, ... have no names, so only
        their number counts.
        """
        if len(self) != len(other):
            return (
                f"{len(self)} keypoints ({_some(self.names)}), "
                f"the data {len(other)} ({_some(other.names)})"
            )
        numbers = tuple(str(i + 1) for i in range(len(self)))
        if numbers in (self.names, other.names):
            return None
        for i, (here, there) in enumerate(zip(self.names, other.names, strict=True)):
            if here != there:
                return f"{here!r} as keypoint {i + 1} of {len(self)}, the data {there!r}"
        return None


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown}, ..." if len(names) > 3 else shown


def flip_of_names(names: Sequence[str]) -> tuple[int, ...]:
    """Who is whose mirror image, by the names: left_knee and right_knee, l-eye and r-eye, eyeLeft.

    Returns:
        (P,) indices; a keypoint without a partner is its own.
    """
    index = {name: i for i, name in enumerate(names)}
    lower = {name.lower(): i for i, name in enumerate(names)}
    partner = list(range(len(names)))
    for name, i in index.items():
        found = lower.get(_mirrored(name.lower()), i)
        if _mirrored(names[found].lower()) == name.lower():
            partner[i] = found
    mutual = all(partner[other] == i for i, other in enumerate(partner))
    return tuple(partner) if mutual else tuple(range(len(names)))


def _mirrored(name: str) -> str:
    """The name with left and right exchanged, once; the same name where there is no side."""
    swap = {"left": "right", "right": "left", "l": "r", "r": "l"}
    return SIDES.sub(lambda side: swap[side.group()], name, count=1)


COCO_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
COCO_LIMBS = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6)),  # legs, trunk
    *((5, 7), (6, 8), (7, 9), (8, 10)),  # arms
    *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),  # head
)
# Measured on 5000 images annotated twice: cocodataset.org, keypoint evaluation.
COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035),  # head
    *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062),  # arms
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),  # legs
)
COCO_PERSON = Skeleton.named(COCO_NAMES, COCO_LIMBS)
