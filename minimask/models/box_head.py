"""The box head: what is in each RoI, and where exactly (Fast R-CNN)?

Letters: R RoIs of all images, E candidates (pairs of RoI and class), K classes the network tells
apart, with background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask.autograd import Tensor, ops, zero_like
from minimask.autograd.arrays import softmax
from minimask.autograd.hooks import record, stage
from minimask.kernels.nms import batched_nms
from minimask.models.conv_layer import ConvLayer
from minimask.models.detections import Instances
from minimask.models.initialization import linear
from minimask.models.transform import ImageTransform
from minimask.nn import Module, Sequential
from minimask.system.device import download, upload

POOLED_SIZE = 7  # Fast R-CNN, section 2.1
C4_POOLED_SIZE = 14  # Mask R-CNN, figure 4 left: the stage halves it
Four = tuple[float, float, float, float]


class BoxHead(Module):
    """Two fully connected layers (FPN, section 4.2)."""

    def __init__(self, in_features: int, width: int, rng: np.random.Generator):
        self.fc6 = linear(in_features, width, rng)
        self.fc7 = linear(width, width, rng)

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C, 7, 7) -> (R, width)."""
        flat = ops.reshape(pooled, (pooled.shape[0], -1))
        return F.relu(self.fc7(F.relu(self.fc6(flat))))


class ConvBoxHead(Sequential):
    """3x3 convolutions and one fully connected layer (Group Normalization, section 4.2).

    Parameters are named as in torchvision, where flattening has a number: 0 .. 3 are the usual
    four convolutions, 5 is the fully connected layer.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        width: int,
        rng: np.random.Generator,
        **norm: Any,  # norm and norm_eps of a `ConvLayer`
    ):
        sizes = [in_channels, *channels]
        super().__init__(
            *(ConvLayer(before, after, 3, rng, **norm) for before, after in pairwise(sizes)),
            Flatten(),
            linear(sizes[-1] * POOLED_SIZE**2, width, rng),
        )

    def forward(self, x: Tensor, **last: Any) -> Tensor:
        """(R, C, 7, 7) -> (R, width)."""
        return F.relu(super().forward(x, **last))


class Flatten(Module):
    """The values of every RoI as one row."""

    def forward(self, x: Tensor) -> Tensor:
        """(R, ...) -> (R, all of them)."""
        return ops.reshape(x, (x.shape[0], -1))


class C4BoxHead(Module):
    """Without a pyramid: the residual network's last stage, "res5" (Mask R-CNN, figure 4 left)."""

    def __init__(self, res5: Sequential):
        self.res5 = res5

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C4 channels, 14, 14) -> (R, C5 channels), the mean over the RoI."""
        return self.res5(pooled).mean(axis=(2, 3))


class BoxPredictor(Module):
    """Class scores, and for every class its own correction of the box."""

    def __init__(self, width: int, num_classes: int, box_rows: int, rng: np.random.Generator):
        self.cls_score = linear(width, num_classes, rng)
        self.bbox_pred = linear(width, 4 * box_rows, rng)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(R, width) -> class logits (R, K) and box deltas (R, 4 * box_rows)."""
        return self.cls_score(features), self.bbox_pred(features)


def background_class(num_classes: int, background: str) -> int:
    """The network's index of background, which is its "first" or "last" class."""
    return 0 if background == "first" else num_classes - 1


def active_classes(classes: Sequence[str], background: str) -> np.ndarray:
    """Which of the network's classes data can have: all but those named "N/A"; (K,) bool."""
    named = [name != "N/A" for name in classes]
    return np.array([True, *named] if background == "first" else [*named, True])


@dataclass(frozen=True)
class SampledRoIs:
    """The RoIs of one image that a training step learns from.

    `labels` count as the network does; `matched` is the ground-truth object of each RoI (the
    nearest one, of no meaning, where the label is background).
    """

    boxes: np.ndarray  # (R, 4)
    labels: np.ndarray  # (R,) int64
    matched: np.ndarray  # (R,) int64
    target_deltas: np.ndarray  # (R, 4) regression targets; 0 for background
    positive: np.ndarray  # (R,) bool: stands for an object
    # (positives, 4) the regression targets, with a gradient; None: they stay where they are
    moving: Tensor | None = None

    def filled(self, count: int, background_class: int) -> SampledRoIs:
        """With empty boxes of background behind them, so that they are `count` at least."""
        more = max(count - len(self.boxes), 0)
        labels = np.full(more, background_class, np.int64)
        none = np.zeros(more, np.int64)
        empty = np.zeros((more, 4), np.float32)
        return SampledRoIs(
            np.concatenate([self.boxes, empty]),
            np.concatenate([self.labels, labels]),
            np.concatenate([self.matched, none]),
            np.concatenate([self.target_deltas, empty]),
            np.concatenate([self.positive, none.astype(bool)]),
        )


@stage("box loss")
def box_loss(
    logits: Tensor,
    deltas: Tensor,
    sampled: Sequence[SampledRoIs],
    *,
    divisor: str = "sampled",
    beta: float = 1 / 9,
    active: np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """How wrong the classes and the boxes of the sampled RoIs are (Fast R-CNN, eq. 1).

    Only the ground-truth class's box of RoIs with an object counts.

    Args:
        logits: (R, K), the RoIs of all images after each other.
        deltas: (R, 4 * box rows).
        sampled: per image.
        divisor: of the box loss: "sampled" RoIs, or "positives".
        beta: smooth L1 is quadratic below this; 0 is L1.
        active: (K,) bool; RoIs taken for another class than these count for boxes only.

    Returns:
        Two scalars: cross-entropy, near ln K before training, and smooth L1.
    """
    if logits.shape[0] == 0:
        return zero_like(logits), zero_like(logits)
    like = logits.data
    labels = np.concatenate([s.labels for s in sampled])
    positives = np.flatnonzero(np.concatenate([s.positive for s in sampled]))
    target_deltas = np.concatenate([s.target_deltas for s in sampled])[positives]
    per_class = ops.reshape(deltas, (len(labels), -1, 4))
    pred_deltas = per_class[upload(positives, like), upload(labels[positives], like)]
    count = 4.0 * max(len(positives), 1) if divisor == "positives" else float(len(labels))
    target_deltas = upload(target_deltas, like, "RoI targets")
    moving = [s.moving for s in sampled if s.moving is not None]
    if moving:
        pred_deltas = pred_deltas - ops.concatenate(moving)
        target_deltas = target_deltas - target_deltas
    loss = F.smooth_l1(pred_deltas, target_deltas, beta=beta, reduction="sum")
    if active is not None:
        learned = np.flatnonzero(active[download(logits.data.argmax(axis=1), "classes")])
        logits, labels = logits[upload(learned, like)], labels[learned]
    return F.cross_entropy(logits, upload(labels, like, "labels")), loss / count


@dataclass(frozen=True)
class Candidates:
    """What an image's detections are chosen from, as `record("det/candidates", ...)` hands it out.

    A candidate is a pair of RoI and class whose probability is above the score threshold.
    """

    probabilities: np.ndarray  # (RoIs, K) of the network's classes, rows sum to 1
    roi: np.ndarray  # (E,) the RoI of each candidate
    labels: np.ndarray  # (E,) its class, counted without background
    scores: np.ndarray  # (E,) its probability
    boxes: np.ndarray  # (E, 4) its box after the class's own refinement, clipped
    valid: np.ndarray  # (E,) bool: large enough, and finite
    kept: np.ndarray  # indices of the candidates that survive NMS, best first, before the limit


@stage("box results")
def postprocess_detections(
    logits: np.ndarray,
    deltas: np.ndarray,
    proposals: Sequence[np.ndarray],
    transforms: Sequence[ImageTransform],
    *,
    score_thresh: float = 0.05,
    nms_thresh: float = 0.5,
    detections_per_img: int = 100,
    min_size: float | None = 1e-2,
    background: str = "first",
    best_class_only: bool = False,
    box_weights: Four = (10.0, 10.0, 5.0, 5.0),
    delta_clamp: str = "upper",
) -> list[Instances]:
    """From class scores and box corrections to objects that do not overlap within their class.

    Args:
        logits: (R, K), the RoIs of all images after each other.
        deltas: (R, 4 * box rows).
        proposals: per image (R of that image, 4).
        transforms: per image: where its borders are.
        score_thresh: candidates must be more probable than this.
        nms_thresh: candidates that overlap a better one of their class more than this are dropped.
        detections_per_img: how many are left at most.
        min_size: candidates with a shorter side are dropped; 0: those without area; None: none.
        background: which of the network's classes is background, "first" or "last".
        best_class_only: an RoI yields only its most probable class.
        box_weights: see `boxes.decode`.
        delta_clamp: likewise.
    """
    probabilities = softmax(logits)
    first = 1 if background == "first" else 0  # the network's index of label 0
    per_class = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)
    ends = np.cumsum([len(p) for p in proposals])
    candidates = []
    for rois, transform, end in zip(proposals, transforms, ends, strict=True):
        here = slice(end - len(rois), end)
        foreground = _foreground(probabilities[here], first, best_class_only)
        roi, label = np.nonzero(foreground > score_thresh)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is not valid
            boxes = box_ops.decode(
                per_class[here][roi, label + first], rois[roi], box_weights, delta_clamp
            )
        boxes = transform.clip(boxes)
        valid = np.isfinite(boxes).all(axis=1)
        if min_size is not None:
            valid &= box_ops.is_large(boxes, min_size)
        candidates.append((roi, label.astype(np.int64), foreground[roi, label], boxes, valid))
    kept = _suppress([(b[v], s[v], n[v]) for _, n, s, b, v in candidates], nms_thresh)
    kept = [np.flatnonzero(c[-1])[k] for c, k in zip(candidates, kept, strict=True)]
    record(
        "det/candidates",
        lambda: [
            Candidates(probabilities[end - len(rois) : end], *c, k)
            for rois, end, c, k in zip(proposals, ends, candidates, kept, strict=True)
        ],
    )
    return [
        Instances(boxes[k], label[k], scores[k], rois[roi[k]])
        for rois, (roi, label, scores, boxes, _), k in zip(
            proposals, candidates, (k[:detections_per_img] for k in kept), strict=True
        )
    ]


def _suppress(
    candidates: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], nms_thresh: float
) -> list[np.ndarray]:
    """Non-maximum suppression for all images of a batch in one go.

    Args:
        candidates: per image boxes (E, 4), scores (E,) and labels (E,), which never meet another.
        nms_thresh: boxes that overlap more than this are suppressed.

    Returns:
        Per image the indices of its survivors, best first.
    """
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*candidates, strict=True))
    counts = [len(b) for b, _, _ in candidates]
    starts = np.cumsum([0, *counts])
    image_of = np.repeat(np.arange(len(counts)), counts)
    group = labels + image_of * (labels.max(initial=0) + 1)  # those of two images never meet
    kept = batched_nms(boxes, scores, group, nms_thresh)
    return [kept[image_of[kept] == n] - starts[n] for n in range(len(counts))]


def _foreground(probabilities: np.ndarray, first: int, best_class_only: bool) -> np.ndarray:
    """The probability of every class but background: (R, K) -> (R, K - 1)."""
    labels = np.arange(first, first + probabilities.shape[1] - 1)
    foreground = probabilities[:, labels]
    if best_class_only:
        foreground *= probabilities.argmax(axis=1)[:, None] == labels
    return foreground
