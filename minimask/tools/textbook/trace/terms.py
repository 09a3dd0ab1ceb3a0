"""The losses of a training step taken apart: every term, what their sum is divided by, who pays.

Letters: E terms' owners (anchors or RoIs), M side of a predicted mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.models.box_head import background_class
from minimask.tools.textbook.trace.record import TrainingStep
from minimask.tools.textbook.trace.stopwatch import LossCall

# name in `model.losses` -> stage it is computed in, operations it may end with
ENDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "loss_objectness": ("RPN loss", ("BinaryCrossEntropyWithLogits",)),
    "loss_rpn_box_reg": ("RPN loss", ("SmoothL1",)),
    "loss_classifier": ("box loss", ("CrossEntropy",)),
    "loss_box_reg": ("box loss", ("SmoothL1",)),
    "loss_mask": ("mask loss", ("BinaryCrossEntropyWithLogits",)),
    "loss_keypoint": ("keypoint loss", ("CrossEntropy",)),
}


@dataclass(frozen=True)
class Parts:
    """One loss taken apart.

    Attributes:
        name: in `model.losses`.
        value: what the model says it is.
        owners: (E, 4) the anchors or RoIs that are judged, in the network's input.
        positive: (E,) bool: those that stand for an object.
        shares: (E,) float64, the sum of the terms of each.
        terms: how many terms there are in all.
        divisor: what their sum is divided by.
        divided_by: the divisor in words.
    """

    name: str
    value: float
    owners: np.ndarray
    positive: np.ndarray
    shares: np.ndarray
    terms: int
    divisor: float
    divided_by: str

    @property
    def numerator(self) -> float:
        """The sum of all terms."""
        return float(self.shares.sum())

    @property
    def quotient(self) -> float:
        """What the loss comes to when it is put together again."""
        return self.numerator / self.divisor


def take_apart(training: TrainingStep, model: Any) -> list[Parts]:
    """Every loss of a step that has terms, in the order of `model.losses`."""
    return [
        parts
        for name in ENDS
        if name in training.losses and (parts := _parts(name, training, model)) is not None
    ]


def _parts(name: str, training: TrainingStep, model: Any) -> Parts | None:
    stage, operations = ENDS[name]
    ends = [c for c in training.loss_calls if c.stage == stage and c.operation in operations]
    competing = name == "loss_mask" and model.roi_heads.mask_output == "softmax"
    if not (ends or (competing and training.mask_targets is not None)):
        return None  # nothing to learn from: the model gives a plain 0
    owners, positive = _owners(name, training)
    each = _terms_of_competing_masks(training, model) if competing else _terms(ends[-1])
    shares = each.reshape(len(owners), -1).sum(axis=1) if len(owners) else np.zeros(0)
    divisor, words = _divisor(name, training, model, each.size)
    return Parts(name, training.losses[name], owners, positive, shares, each.size, divisor, words)


def _terms(end: LossCall) -> np.ndarray:
    """The value of every term, float64."""
    if end.operation != "CrossEntropy":
        return np.asarray(end.output, np.float64)
    logits = np.asarray(end.prediction, np.float64)  # (rows, K): the operation gives only the mean
    largest = logits.max(axis=1, keepdims=True)
    totals = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0]
    return totals - logits[np.arange(len(logits)), np.asarray(end.target)]


def _terms_of_competing_masks(training: TrainingStep, model: Any) -> np.ndarray:
    """(E, M, M) where masks are a softmax over the classes: of the true one and of background."""
    logits = np.asarray(training.mask_logits, np.float64)
    targets = np.asarray(training.mask_targets, np.float64)
    labels = training.mask_rois.labels[training.mask_rois.positive]
    largest = logits.max(axis=1, keepdims=True)
    totals = np.log(np.exp(logits - largest).sum(axis=1, keepdims=True)) + largest
    log_probs = logits - totals
    inside = log_probs[np.arange(len(labels)), labels]
    outside = log_probs[:, background_class(logits.shape[1], model.roi_heads.background)]
    return -(inside * targets + outside * (1 - targets))


def _owners(name: str, training: TrainingStep) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (E, 4) a loss judges, and which of them stand for an object."""
    if name in ("loss_objectness", "loss_rpn_box_reg"):
        positive, negative = training.sampled_anchors
        anchors = training.anchors
        if name == "loss_rpn_box_reg":
            return anchors[positive], np.ones(len(positive), bool)
        index = np.concatenate([positive, negative])
        return anchors[index], np.arange(len(index)) < len(positive)
    if name == "loss_keypoint":  # a term is a keypoint, and its owner the RoI
        targets = training.keypoint_targets
        boxes = np.repeat(targets.boxes, targets.valid.sum(axis=1), axis=0)
        return boxes, np.ones(len(boxes), bool)
    rois = training.mask_rois if name == "loss_mask" else training.sampled_rois
    if name == "loss_classifier":
        return rois.boxes, rois.positive
    boxes = rois.boxes[rois.positive]
    return boxes, np.ones(len(boxes), bool)


def _divisor(name: str, training: TrainingStep, model: Any, terms: int) -> tuple[float, str]:
    """What the sum is divided by, as the convention has it, and in words."""
    positive, negative = training.sampled_anchors
    sampled = len(positive) + len(negative)
    if name in ("loss_objectness", "loss_rpn_box_reg"):
        if model.rpn.loss_divisor == "batch_size":
            size = model.rpn.sampler.batch_size_per_image
            return float(size), f"{size}, the anchors a batch has room for"
        if model.rpn.loss_divisor == "positives" and name == "loss_rpn_box_reg":
            return 4.0 * max(len(positive), 1), f"4 × {len(positive)} positive anchors"
        return float(sampled), f"{sampled} sampled anchors, positive and negative"
    rois = training.sampled_rois
    count, positives = len(rois.boxes), int(rois.positive.sum())
    if name == "loss_classifier":
        return float(count), f"{count} sampled RoIs"
    if name == "loss_box_reg":
        if model.roi_heads.loss_divisor == "positives":
            return 4.0 * max(positives, 1), f"4 × {positives} RoIs with an object"
        return float(count), f"{count} sampled RoIs, those of background too"
    if name == "loss_keypoint":
        usual = model.roi_heads.usual_keypoints(1)
        if usual is not None:
            return float(usual), f"{usual}, the keypoints of as many positives as there is room for"
        return float(terms), f"{terms} keypoints, labeled and inside their RoIs"
    return float(terms), f"{terms} cells of all masks"
