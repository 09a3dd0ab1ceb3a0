"""From all anchors to the proposals, every cut by itself, read from what the model recorded.

Letters: B anchors of all levels, G ground-truth objects, R boxes left.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from minimask.autograd.arrays import sigmoid
from minimask.kernels import box_iou
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


def funnel(prediction: Prediction) -> list[Cut]:
    """The cuts in order: all anchors first, the proposals last."""
    steps, (everything, _) = prediction.filter, all_anchors(prediction)
    sizes = np.bincount(everything.levels) if len(steps.topk) > 1 else [0]
    starts = np.cumsum([0, *sizes])
    index = [best[0] + start for best, start in zip(steps.topk, starts, strict=False)]
    best = everything.keep("best of each level", np.concatenate(index))
    best = dataclasses.replace(best, scores=steps.scores[0])
    refined = best.moved("moved by the deltas", steps.decoded[0])
    clipped = refined.moved("clipped at the border", steps.clipped[0])
    valid = steps.valid[0]
    large = clipped.keep("too small ones removed", np.flatnonzero(valid))
    kept = steps.kept[steps.kept >= 0]
    survivors = clipped.keep("non-maximum suppression", kept[valid[kept]])
    last = survivors.keep("proposals", np.arange(len(prediction.arrays["rpn/proposals"])))
    return [everything, best, refined, clipped, large, survivors, last]


def recall(boxes: np.ndarray, gt_boxes: np.ndarray, threshold: float = 0.5) -> float:
    """Share of the ground truth (G, 4) that one of the boxes (R, 4) overlaps by `threshold`."""
    if len(gt_boxes) == 0:
        return float("nan")
    if len(boxes) == 0:
        return 0.0
    finite = np.ascontiguousarray(boxes[np.isfinite(boxes).all(axis=1)], np.float32)
    iou = box_iou(np.ascontiguousarray(gt_boxes, np.float32), finite)
    return float((iou.max(axis=1, initial=0) >= threshold).mean())


def found_share(boxes: np.ndarray, gt_boxes: np.ndarray) -> str:
    """The recall at IoU 0.5 in words."""
    return f"{recall(boxes, gt_boxes):.2f}" if len(gt_boxes) else "no objects"
