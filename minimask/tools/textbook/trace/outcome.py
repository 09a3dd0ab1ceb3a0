"""From the box head's outputs to the final boxes, every decision by itself.

The model decides in one go (`minimask.models.box_head.find_objects`).  The last step must give the
model's own boxes: a test says so.

Letters: R regions (proposals), K classes with background, E candidates: pairs of region and class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask import boxes as box_ops
from minimask.kernels import batched_nms, box_iou
from minimask.tools.textbook.trace.record import Prediction

CUT_OFF = -2  # in `suppressed_by`: survived, but there are more than an image may have


@dataclass(frozen=True)
class Outcome:
    """What becomes of every proposal.

    Attributes:
        probabilities: (R, K) of the network's classes, rows sum to 1.
        background: the network's index of background.
        regions: (E,) the proposal of each candidate above the score threshold.
        labels: (E,) its class, counted without background.
        scores: (E,) its probability.
        boxes: (E, 4) its box after the class's own refinement, clipped, in the network's input.
        suppressed_by: (E,) the candidate that suppressed it, -1 none, `CUT_OFF` too many.
        kept: the candidates that are left, best first.
        small: how many candidates were dropped for their size.
    """

    probabilities: np.ndarray
    background: int
    regions: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    suppressed_by: np.ndarray
    kept: np.ndarray
    small: int

    @property
    def predicted(self) -> np.ndarray:
        """(R,) the most probable of the network's classes for each proposal."""
        return self.probabilities.argmax(axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (R, K) of logits (R, K)."""
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        return powers / powers.sum(axis=1, keepdims=True)


def refined(
    deltas: np.ndarray, regions: np.ndarray, rows: np.ndarray, convention: Any
) -> np.ndarray:
    """Regions (E, 4) moved by the deltas of one class each.

    Args:
        deltas: (E, 4 * box rows).
        regions: (E, 4).
        rows: (E,) the network's class of each.
        convention: `box_weights`, `delta_clamp`.
    """
    per_class = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)
    moves = per_class[np.arange(len(rows)), rows]
    with np.errstate(over="ignore", invalid="ignore"):
        return box_ops.decode(moves, regions, convention.box_weights, convention.delta_clamp)


def decide(model: Any, prediction: Prediction) -> Outcome | None:
    """Every decision about the proposals; None without proposals."""
    if "box/cls_logits" not in prediction.arrays:
        return None
    c, frame = model.convention, prediction.batch.frames[0]
    logits, deltas = prediction.arrays["box/cls_logits"], prediction.arrays["box/deltas"]
    proposals = prediction.arrays["rpn/proposals"]
    first = 1 if c.background == "first" else 0
    background = 0 if first else logits.shape[1] - 1
    probabilities = softmax(logits)
    foreground = probabilities[:, first : first + logits.shape[1] - 1].copy()
    if c.best_class_only:
        classes = np.arange(first, first + foreground.shape[1])
        foreground *= probabilities.argmax(axis=1)[:, None] == classes
    regions, labels = np.nonzero(foreground > c.box_score_thresh)
    scores = foreground[regions, labels]
    boxes = frame.clip(refined(deltas[regions], proposals[regions], labels + first, c))
    sound = box_ops.is_large(boxes, c.box_min_size) & np.isfinite(boxes).all(axis=1)
    regions, labels, scores, boxes = (a[sound] for a in (regions, labels, scores, boxes))
    survivors = batched_nms(boxes, scores, labels.astype(np.int64), c.box_nms_thresh)
    kept = survivors[: c.box_detections_per_img]
    by = _suppressors(boxes, scores, labels, survivors, c.box_nms_thresh)
    by[survivors[c.box_detections_per_img :]] = CUT_OFF
    small = int((~sound).sum())
    return Outcome(probabilities, background, regions, labels, scores, boxes, by, kept, small)


def _suppressors(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    survivors: np.ndarray,
    threshold: float,
) -> np.ndarray:
    """For each candidate the best survivor of its class that overlaps it too much; -1 for none."""
    by = np.full(len(boxes), -1, np.int64)
    if len(survivors) == 0:
        return by
    iou = box_iou(boxes, boxes[survivors])
    close = (iou > np.float32(threshold)) & (labels[:, None] == labels[survivors])
    lost = np.ones(len(boxes), bool)
    lost[survivors] = False
    lost &= close.any(axis=1)
    by[lost] = survivors[close[lost].argmax(axis=1)]  # survivors come best first
    return by
