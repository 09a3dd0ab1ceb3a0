"""Matching boxes with ground-truth objects, and sampling the few that a training step learns from.

Letters: G ground-truth objects, B boxes (anchors or proposals), R proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minimask.autograd.arrays import Array, array_module
from minimask.kernels.box_iou import best_overlaps, box_iou
from minimask.kernels.dispatch import emulating
from minimask.system.device import on_gpu

BACKGROUND = -1
IGNORED = -2
CROWD_IOU = 0.001  # what touches a crowd, in Matterport's code


@dataclass(frozen=True)
class Matcher:
    """Which ground-truth object, if any, each box stands for.

    That is the one it overlaps most, if by `fg_iou_thresh` at least; below `bg_iou_thresh` there
    is none, and in between the box is ignored.

    With `best_iou_min` the box (or, in a tie, the boxes) closest to each object is a match
    whatever the thresholds say, provided its IoU is positive and at least this.  It then stands
    for the object *it* overlaps most (Faster R-CNN, section 3.1.2, rule i); with `best_is_taken`
    for the object that it is closest to of all boxes, of several such objects the last.

    Raises:
        ValueError: `bg_iou_thresh` is above `fg_iou_thresh`.
    """

    fg_iou_thresh: float
    bg_iou_thresh: float
    best_iou_min: float | None = None
    best_is_taken: bool = False

    def __post_init__(self) -> None:
        if self.bg_iou_thresh > self.fg_iou_thresh:
            raise ValueError(
                f"background bound {self.bg_iou_thresh} is above the foreground bound "
                f"{self.fg_iou_thresh}"
            )

    def __call__(self, gt_boxes: Array, boxes: Array) -> Array:
        """Match by all overlaps of the boxes with the objects; on the CPU these are never stored.

        Args:
            gt_boxes: (G, 4), x0 y0 x1 y1.
            boxes: (B, 4), likewise, on the same device.

        Returns:
            (B,) int64 where the boxes are: 0 .. G - 1, or BACKGROUND, or IGNORED.
        """
        if on_gpu(boxes) or emulating() or self.best_is_taken:
            return self.match_iou(box_iou(gt_boxes, boxes))
        if len(gt_boxes) == 0:
            return np.full(len(boxes), BACKGROUND, np.int64)
        nearest, overlap, best_of_any = best_overlaps(gt_boxes, boxes)
        forced = None
        if self.best_iou_min is not None:
            forced = (best_of_any >= self.best_iou_min) & (best_of_any > 0)
        return self._decide(nearest, overlap, forced)

    def match_iou(self, iou: Array) -> Array:
        """The same from overlaps (G, B) that were computed already: (B,) int64."""
        objects, boxes = iou.shape
        if objects == 0:
            return array_module(iou).full(boxes, BACKGROUND, np.int64)
        nearest, overlap = iou.argmax(axis=0), iou.max(axis=0)
        forced = None
        if self.best_iou_min is not None and boxes:
            best = iou.max(axis=1, keepdims=True)
            # an object nothing overlaps has IoU 0 with every box: none of them is its match
            closest = (iou == best) & (best >= self.best_iou_min) & (best > 0)
            forced = closest.any(axis=0)
            if self.best_is_taken:
                xp = array_module(iou)
                last = objects - 1 - closest[::-1].argmax(axis=0)
                nearest = xp.where(forced, last, nearest)
        return self._decide(nearest, overlap, forced)

    def _decide(self, nearest: Array, overlap: Array, forced: Array | None) -> Array:
        """(B,) int64 from the nearest object of each box, their IoU, and forced matches."""
        unmatched = np.where(overlap < self.bg_iou_thresh, BACKGROUND, IGNORED)
        matches = np.where(overlap >= self.fg_iou_thresh, nearest, unmatched)
        if forced is not None:
            matches = np.where(forced, nearest, matches)
        return matches.astype(np.int64, copy=False)


def spare_crowds(matches: np.ndarray, boxes: np.ndarray, crowds: np.ndarray) -> np.ndarray:
    """Let boxes that touch a crowd be ignored where they would be background.

    Args:
        matches: (B,) from a `Matcher`.
        boxes: (B, 4).
        crowds: (C, 4) boxes of the groups.

    Returns:
        (B,) int64.
    """
    if len(crowds) == 0:
        return matches
    iou = box_iou(np.ascontiguousarray(crowds, boxes.dtype), np.ascontiguousarray(boxes))
    touching = iou.max(axis=0) >= CROWD_IOU
    return np.where((matches == BACKGROUND) & touching, IGNORED, matches)


@dataclass(frozen=True)
class BalancedSampler:
    """Draws positives up to their share of the batch, then fills up with negatives.

    Attributes:
        batch_size_per_image: how many to draw in all; fewer when there are not enough.
        positive_fraction: the largest share of positives.
        negatives_per_positive: at most this many negatives for one positive; None for no limit.
    """

    batch_size_per_image: int
    positive_fraction: float
    negatives_per_positive: float | None = None

    def __call__(
        self, matches: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw from one image.

        Args:
            matches: (B,) from a `Matcher`.
            rng: where the choice comes from.

        Returns:
            Indices of the positives and of the negatives, int64, each rising.
        """
        positive = np.flatnonzero(matches >= 0)
        positive = _draw(positive, int(self.batch_size_per_image * self.positive_fraction), rng)
        room = self.batch_size_per_image - len(positive)
        if self.negatives_per_positive is not None:
            room = min(room, int(self.negatives_per_positive * len(positive)))
        return positive, _draw(np.flatnonzero(matches == BACKGROUND), room, rng)


def _draw(indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of the indices without repetition, in their order; all of them if there are fewer."""
    if len(indices) <= count:
        return indices
    return indices[np.sort(rng.choice(len(indices), count, replace=False, shuffle=False))]


@dataclass(frozen=True)
class RecordedSampling:
    """The random choices of one training step, recorded so that it can be repeated exactly.

    Every field has one array per image. Anchors are counted over all levels of the pyramid, in
    the order of `AnchorGenerator`; RoIs over the proposals followed by the ground-truth boxes.
    """

    anchors_positive: Sequence[np.ndarray]  # int64 indices
    anchors_negative: Sequence[np.ndarray]
    proposals: Sequence[np.ndarray]  # (R, 4) float32, pixels of the resized image
    regions_positive: Sequence[np.ndarray]
    regions_negative: Sequence[np.ndarray]
