"""From the box head's outputs to the final boxes, every decision by itself.

The model made them (`record("det/candidates", ...)`); only who suppressed whom is worked out here.

Letters: R RoIs (proposals), K classes with background, E candidates: pairs of RoI and class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minimask import boxes as box_ops
from minimask.kernels import box_iou
from minimask.models.box_head import background_class
from minimask.models.roi_heads import RoIHeads
from minimask.tools.textbook.trace.record import Prediction

CUT_OFF = -2  # in `suppressed_by`: survived, but there are more than an image may have


@dataclass(frozen=True)
class Outcome:
    """What becomes of every proposal.

    Attributes:
        probabilities: (R, K) of the network's classes, rows sum to 1.
        background: the network's index of background.
        rois: (E,) the proposal of each candidate above the score threshold.
        labels: (E,) its class, counted without background.
        scores: (E,) its probability.
        boxes: (E, 4) its box after the class's own refinement, clipped, in the network's input.
        suppressed_by: (E,) the candidate that suppressed it, -1 none, `CUT_OFF` too many.
        kept: the candidates that are left, best first.
        small: how many candidates were dropped for their size.
    """

    probabilities: np.ndarray
    background: int
    rois: np.ndarray
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


def refined(
    deltas: np.ndarray, rois: np.ndarray, rows: np.ndarray, roi_heads: RoIHeads
) -> np.ndarray:
    """RoIs (E, 4) moved by the deltas of one class each.

    Args:
        deltas: (E, 4 * box rows).
        rois: (E, 4).
        rows: (E,) the network's class of each.
        roi_heads: knows how deltas are meant.
    """
    per_class = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)
    class_deltas = per_class[np.arange(len(rows)), rows]
    with np.errstate(over="ignore", invalid="ignore"):
        return box_ops.decode(class_deltas, rois, roi_heads.box_weights, roi_heads.delta_clamp)


def decide(roi_heads: RoIHeads, prediction: Prediction) -> Outcome | None:
    """Every decision about the proposals; None without proposals."""
    c = prediction.candidates
    if c is None:
        return None
    background = background_class(c.probabilities.shape[1], roi_heads.background)
    roi, labels, scores, boxes = (a[c.valid] for a in (c.roi, c.labels, c.scores, c.boxes))
    survivors = (np.cumsum(c.valid) - 1)[c.kept]  # counted without those that are too small
    limit = len(prediction.arrays["det/boxes"])
    by = _suppressors(boxes, scores, labels, survivors, roi_heads.nms_thresh)
    by[survivors[limit:]] = CUT_OFF
    small = int((~c.valid).sum())
    return Outcome(
        c.probabilities, background, roi, labels, scores, boxes, by, survivors[:limit], small
    )


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
