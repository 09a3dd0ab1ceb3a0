"""The second stage: what is in each proposed region, and where exactly (Fast R-CNN).

Letters: N images, R regions, G true objects, K classes the network tells apart, with background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask.autograd import Tensor, ops, zero_like
from minimask.autograd.hooks import stage
from minimask.conventions import Convention
from minimask.models.initialization import linear
from minimask.models.matching import match_boxes
from minimask.models.sampling import sample
from minimask.models.suppression import suppress
from minimask.models.transform import Frame
from minimask.nn import Module
from minimask.system.device import upload

POOLED_SIZE = 7  # Fast R-CNN, section 2.1


class BoxHead(Module):
    """Two fully connected layers (FPN, section 4.2)."""

    def __init__(self, in_features: int, width: int, rng: np.random.Generator):
        self.fc6 = linear(in_features, width, rng)
        self.fc7 = linear(width, width, rng)

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C, 7, 7) -> (R, width)."""
        flat = ops.reshape(pooled, (pooled.shape[0], -1))
        return F.relu(self.fc7(F.relu(self.fc6(flat))))


class BoxPredictor(Module):
    """Class scores, and for every class its own correction of the box."""

    def __init__(self, width: int, num_classes: int, box_rows: int, rng: np.random.Generator):
        self.cls_score = linear(width, num_classes, rng)
        self.bbox_pred = linear(width, 4 * box_rows, rng)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(R, width) -> class logits (R, K) and box deltas (R, 4 * box_rows)."""
        return self.cls_score(features), self.bbox_pred(features)


class BoxBranch(Module):
    """What is applied to every region, and the size it takes regions in."""

    def __init__(self, head: Module, predictor: BoxPredictor, pooled_size: int = POOLED_SIZE):
        self.box_head = head
        self.box_predictor = predictor
        self.pooled_size = pooled_size


@dataclass(frozen=True)
class Regions:
    """The regions of one image that a training step learns from.

    `labels` count as the network does; `matched` is the true object each region stands for (the
    nearest one, of no meaning, where the label is background).
    """

    boxes: np.ndarray  # (R, 4)
    labels: np.ndarray  # (R,) int64
    matched: np.ndarray  # (R,) int64
    targets: np.ndarray  # (R, 4) box deltas
    positive: np.ndarray  # (R,) bool: stands for an object


def background_class(num_classes: int, convention: Convention) -> int:
    """The network's index of background."""
    return 0 if convention.background == "first" else num_classes - 1


def network_labels(labels: np.ndarray, convention: Convention) -> np.ndarray:
    """Labels 0 .. outside, as the network counts them."""
    return np.asarray(labels, np.int64) + (convention.background == "first")


def with_true_boxes(
    proposals: np.ndarray, true_boxes: np.ndarray, convention: Convention
) -> np.ndarray:
    """The candidates for learning: proposals, and in most systems the true boxes after them."""
    if not convention.append_gt_boxes:
        return proposals
    return np.concatenate([proposals, true_boxes.astype(proposals.dtype)])


def assign_regions(
    candidates: np.ndarray, true_boxes: np.ndarray, convention: Convention
) -> np.ndarray:
    """The object each candidate stands for: (R,) int64, -1 background, -2 ignored."""
    return match_boxes(
        np.ascontiguousarray(true_boxes, np.float32),
        np.ascontiguousarray(candidates),
        convention.box_fg_iou_thresh,
        convention.box_bg_iou_thresh,
    )


def sample_regions(
    matches: np.ndarray, convention: Convention, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative candidates to learn from, for one image."""
    return sample(
        matches,
        convention.box_batch_size_per_image,
        convention.box_positive_fraction,
        rng,
        convention.box_negatives_per_positive,
    )


def make_regions(
    candidates: np.ndarray,
    matches: np.ndarray,
    chosen: tuple[np.ndarray, np.ndarray],
    true_boxes: np.ndarray,
    true_labels: np.ndarray,
    num_classes: int,
    convention: Convention,
) -> Regions:
    """The chosen candidates of one image with everything the losses compare them to.

    Args:
        candidates: (R, 4) boxes.
        matches: (R,) the object of each.
        chosen: sampled positives and negatives.
        true_boxes: (G, 4).
        true_labels: (G,) 0-based.
        num_classes: K.
        convention: `background`, `box_weights`.
    """
    index = np.sort(np.concatenate(chosen))
    boxes, matched = candidates[index], matches[index]
    positive = matched >= 0
    labels = np.full(len(index), background_class(num_classes, convention), np.int64)
    labels[positive] = network_labels(true_labels[matched[positive]], convention)
    targets = np.zeros((len(index), 4), np.float32)
    targets[positive] = box_ops.encode(
        true_boxes[matched[positive]].astype(np.float32),
        boxes[positive].astype(np.float32),
        convention.box_weights,
    )
    return Regions(boxes, labels, np.maximum(matched, 0), targets, positive)


@stage("box loss")
def box_loss(
    logits: Tensor,
    deltas: Tensor,
    regions: Sequence[Regions],
    convention: Convention,
) -> tuple[Tensor, Tensor]:
    """How wrong the classes and the boxes of the sampled regions are (Fast R-CNN, eq. 1).

    Only the true class's box of regions with an object counts.

    Args:
        logits: (R, K), the regions of all images after each other.
        deltas: (R, 4 * box rows).
        regions: per image.
        convention: `box_loss_beta`, `box_loss_divisor`.

    Returns:
        Two scalars: cross-entropy, near ln K before training, and smooth L1.
    """
    if logits.shape[0] == 0:
        return zero_like(logits), zero_like(logits)
    labels = np.concatenate([r.labels for r in regions])
    positives = np.flatnonzero(np.concatenate([r.positive for r in regions]))
    targets = np.concatenate([r.targets for r in regions])[positives]
    per_class = ops.reshape(deltas, (len(labels), -1, 4))
    there = logits.data
    moved = per_class[upload(positives, there), upload(labels[positives], there)]
    divisor = float(len(labels))
    if convention.box_loss_divisor == "positives":
        divisor = 4.0 * max(len(positives), 1)
    targets = upload(targets, there, "region targets")
    loss = F.smooth_l1(moved, targets, beta=convention.box_loss_beta, reduction="sum")
    return F.cross_entropy(logits, upload(labels, there, "labels")), loss / divisor


@dataclass(frozen=True)
class Found:
    """The objects of one image, in the network's frame, best first."""

    boxes: np.ndarray  # (R, 4) float32
    labels: np.ndarray  # (R,) int64, 0-based
    scores: np.ndarray  # (R,) float32
    proposals: np.ndarray  # (R, 4) float32, what each box was refined from
    masks: np.ndarray | None = None  # (R, M, M) probabilities over the box, from the mask head


def nothing_found() -> Found:
    """No objects at all."""
    no_boxes = np.zeros((0, 4), np.float32)
    return Found(no_boxes, np.zeros(0, np.int64), np.zeros(0, np.float32), no_boxes)


def mask_boxes(found: Found, convention: Convention) -> np.ndarray:
    """Where the masks of these objects are predicted: (R, 4), see `Convention.mask_on`."""
    return found.boxes if convention.mask_on == "detections" else found.proposals


@stage("box results")
def find_objects(
    logits: np.ndarray,
    deltas: np.ndarray,
    proposals: Sequence[np.ndarray],
    frames: Sequence[Frame],
    convention: Convention,
) -> list[Found]:
    """From class scores and box corrections to objects that do not overlap within their class.

    Args:
        logits: (R, K), the regions of all images after each other.
        deltas: (R, 4 * box rows).
        proposals: per image (R of that image, 4).
        frames: per image.
        convention: thresholds.
    """
    first = 1 if convention.background == "first" else 0  # the network's index of label 0
    foreground = _foreground(logits, first, convention)
    moves = deltas.reshape(len(deltas), -1, 4)
    ends = np.cumsum([len(p) for p in proposals])
    boxes, labels, scores, sources = [], [], [], []
    for regions, frame, end in zip(proposals, frames, ends, strict=True):
        start = end - len(regions)
        region, label = np.nonzero(foreground[start:end] > convention.box_score_thresh)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dropped below
            moved = box_ops.decode(
                moves[start:end][region, label + first],
                regions[region],
                convention.box_weights,
                convention.delta_clamp,
            )
        moved = frame.clip(moved)
        keep = box_ops.remove_small(moved, convention.box_min_size)
        keep = keep[np.isfinite(moved[keep]).all(axis=1)]
        boxes.append(moved[keep])
        labels.append(label[keep].astype(np.int64))
        scores.append(foreground[start:end][region[keep], label[keep]])
        sources.append(regions[region[keep]])
    limit = convention.box_detections_per_img
    kept = suppress(boxes, scores, labels, convention.box_nms_thresh, limit)
    found = zip(boxes, labels, scores, sources, kept, strict=True)
    return [Found(b[k], n[k], s[k], p[k]) for b, n, s, p, k in found]


def _foreground(logits: np.ndarray, first: int, convention: Convention) -> np.ndarray:
    """The probability of every class but background: (R, K) -> (R, K - 1)."""
    probabilities = _softmax(logits)
    labels = np.arange(first, first + logits.shape[1] - 1)
    foreground = probabilities[:, labels]
    if convention.best_class_only:
        foreground *= probabilities.argmax(axis=1)[:, None] == labels
    return foreground


def _softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which is above no threshold
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
