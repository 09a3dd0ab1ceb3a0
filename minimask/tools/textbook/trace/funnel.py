"""From all anchors to the proposals, every cut by itself.

The model makes these cuts in one go (`minimask.models.proposals`).  Here they are made one after
the other with the same functions, and the last must give the model's own proposals: a test says so.

Letters: B anchors of all levels, G true objects, R boxes left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask import boxes as box_ops
from minimask.kernels import batched_nms, box_iou
from minimask.models.proposals import sigmoid, top
from minimask.models.rpn import flatten_level
from minimask.tools.textbook.trace.record import Prediction


@dataclass(frozen=True)
class Cut:
    """What is left after one cut.

    Attributes:
        name: of the cut.
        boxes: (R, 4) in the network's input.
        scores: (R,) probability of an object.
        levels: (R,) int64, the pyramid's level of each, 0 the finest.
        anchors: (R,) int64, the anchor each box began as.
    """

    name: str
    boxes: np.ndarray
    scores: np.ndarray
    levels: np.ndarray
    anchors: np.ndarray

    def keep(self, name: str, index: np.ndarray) -> Cut:
        """Some of the boxes."""
        parts = (self.boxes, self.scores, self.levels, self.anchors)
        return Cut(name, *(part[index] for part in parts))

    def moved(self, name: str, boxes: np.ndarray) -> Cut:
        """As many boxes, elsewhere."""
        return Cut(name, boxes, self.scores, self.levels, self.anchors)


def all_anchors(prediction: Prediction) -> tuple[Cut, np.ndarray]:
    """Every anchor with its score and level, and the (B, 4) deltas the network gave it."""
    logits = [flatten_level(a, 1)[0, :, 0] for a in prediction.levels("rpn/objectness/")]
    deltas = [flatten_level(a, 4)[0] for a in prediction.levels("rpn/deltas/")]
    levels = np.repeat(np.arange(len(logits)), [len(level) for level in logits])
    anchors = prediction.arrays["rpn/anchors"]
    scores = sigmoid(np.concatenate(logits))
    cut = Cut("all anchors", anchors, scores, levels, np.arange(len(anchors)))
    return cut, np.concatenate(deltas)


def funnel(model: Any, prediction: Prediction) -> list[Cut]:
    """The cuts in order: all anchors first, the proposals last."""
    c, frame = model.convention, prediction.batch.frames[0]
    first, deltas = all_anchors(prediction)
    best = first.keep("best of each level", _best(prediction, c))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dropped below
        moved = box_ops.decode(deltas[best.anchors], best.boxes, c.rpn_box_weights, c.delta_clamp)
        refined = best.moved("moved by the deltas", moved)
        clipped = refined.moved("clipped at the border", frame.clip(moved))
        large = box_ops.is_large(clipped.boxes, c.rpn_min_size)
    sound = large & np.isfinite(clipped.boxes).all(axis=1) & np.isfinite(clipped.scores)
    valid = clipped.keep("too small ones removed", np.flatnonzero(sound))
    groups = valid.levels if c.proposals_per_level else np.zeros_like(valid.levels)
    kept = batched_nms(valid.boxes, valid.scores, groups, c.rpn_nms_thresh)
    survivors = valid.keep("non-maximum suppression", kept)
    last = survivors.keep("proposals", np.arange(min(len(kept), c.rpn_post_nms_top_n_test)))
    return [first, best, refined, clipped, valid, survivors, last]


def _best(prediction: Prediction, convention: Any) -> np.ndarray:
    """Indices of the anchors that pass the first cut, by level or of all together."""
    limit = convention.rpn_pre_nms_top_n_test
    logits = [flatten_level(a, 1)[:, :, 0] for a in prediction.levels("rpn/objectness/")]
    if not convention.proposals_per_level:
        logits = [np.concatenate(logits, axis=1)]
    starts = np.cumsum([0, *(level.shape[1] for level in logits)])[:-1]
    return np.concatenate(
        [top(level, limit)[0] + start for level, start in zip(logits, starts, strict=True)]
    )


def recall(boxes: np.ndarray, objects: np.ndarray, threshold: float = 0.5) -> float:
    """Share of the objects (G, 4) that one of the boxes (R, 4) overlaps by `threshold` or more."""
    if len(objects) == 0:
        return float("nan")
    if len(boxes) == 0:
        return 0.0
    finite = np.ascontiguousarray(boxes[np.isfinite(boxes).all(axis=1)], np.float32)
    iou = box_iou(np.ascontiguousarray(objects, np.float32), finite)
    return float((iou.max(axis=1, initial=0) >= threshold).mean())


def found_share(boxes: np.ndarray, objects: np.ndarray) -> str:
    """The recall at IoU 0.5 in words."""
    return f"{recall(boxes, objects):.2f}" if len(objects) else "no objects"
