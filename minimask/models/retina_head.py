"""RetinaNet's two small networks, which slide over every level: what is at each anchor, and where?

Letters: N images, A anchors per cell, B anchors of all levels of an image, K classes, of which the
network's class 0 is never learned (its files count background, which is no class here), R objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask.autograd import Tensor, ops, zero_like
from minimask.autograd.arrays import Array, array_module, constant
from minimask.autograd.hooks import stage
from minimask.boxes import MAX_DW_DH
from minimask.conventions import check_choice
from minimask.models.initialization import conv, small_normal
from minimask.nn import GroupNorm, Module, Sequential
from minimask.system.device import upload

HEAD_NORMS = ("group",)  # or none
BOX_LOSSES = ("l1", "smooth_l1", "giou")
Four = tuple[float, float, float, float]


def tower(channels: int, depth: int, norm: str | None, rng: np.random.Generator) -> Sequential:
    """`depth` 3x3 convolutions, each with a norm (or none) and ReLU (RetinaNet, section 4)."""
    if norm is not None:
        check_choice("head_norm", norm, HEAD_NORMS)
    layers = []
    for _ in range(depth):
        layer: list[Module] = [
            conv(channels, channels, 3, rng, bias=norm is None, draw=small_normal)
        ]
        if norm == "group":
            layer.append(GroupNorm(groups_of(channels), channels))
        layers.append(Sequential(*layer))
    return Sequential(*layers)


def groups_of(channels: int) -> int:
    """How many groups: of 8 channels, 32 at most, as of the usual 256 channels.

    The coarsest levels have few pixels; a group of two channels would leave little but their signs.
    """
    return math.gcd(32, max(1, channels // 8))


def run_tower(layers: Sequential, level: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H, W)."""
    for layer in layers:
        level = layer(level, relu=True)
    return level


class ClassificationHead(Module):
    """For every anchor and class: is it one?  Classes do not compete."""

    def __init__(
        self,
        channels: int,
        anchors_per_cell: int,
        num_classes: int,
        rng: np.random.Generator,
        *,
        depth: int = 4,
        norm: str | None = None,
        prior_probability: float = 0.01,  # section 4.1: of an object, before training
    ):
        if not 0 < prior_probability < 1:
            raise ValueError(
                f"prior_probability: expected more than 0 and less than 1, got {prior_probability}"
            )
        self.conv = tower(channels, depth, norm, rng)
        outputs = anchors_per_cell * num_classes
        self.cls_logits = conv(channels, outputs, 3, rng, draw=small_normal)
        assert self.cls_logits.bias is not None
        self.cls_logits.bias.data[...] = -math.log((1 - prior_probability) / prior_probability)

    def forward(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """For each level (N, A K, H, W)."""
        return [self.cls_logits(run_tower(self.conv, level)) for level in pyramid]


class RegressionHead(Module):
    """For every anchor: where is its object's box, whatever its class?"""

    def __init__(
        self,
        channels: int,
        anchors_per_cell: int,
        rng: np.random.Generator,
        *,
        depth: int = 4,
        norm: str | None = None,
    ):
        self.conv = tower(channels, depth, norm, rng)
        self.bbox_reg = conv(channels, 4 * anchors_per_cell, 3, rng, draw=small_normal)

    def forward(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """For each level (N, 4 A, H, W)."""
        return [self.bbox_reg(run_tower(self.conv, level)) for level in pyramid]


class RetinaHead(Module):
    """Both; they share no weights (section 4)."""

    def __init__(self, classification: ClassificationHead, regression: RegressionHead):
        self.classification_head = classification
        self.regression_head = regression

    def forward(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each level class logits (N, A K, H, W) and box deltas (N, 4 A, H, W)."""
        return self.classification_head(pyramid), self.regression_head(pyramid)


@stage("class loss")
def focal_loss(
    logits: Tensor,
    matches: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """How wrong the class scores of all anchors are (RetinaNet, section 3).

    Every anchor counts but those between the thresholds; of each image the sum is divided by the
    number of anchors that stand for an object.

    Args:
        logits: (N, B, K).
        matches: per image (B,) the object of each anchor, from a `Matcher`.
        labels: per image those of its objects, counted as the network does.
        alpha: see `functional.sigmoid_focal_loss`.
        gamma: likewise.
    """
    like = logits.data
    xp = array_module(like)
    index = [_pairs(m, label) for m, label in zip(matches, labels, strict=True)]
    image = np.repeat(np.arange(len(index)), [len(anchor) for anchor, _ in index])
    anchor, label = (np.concatenate(part) for part in zip(*index, strict=True))
    targets = xp.zeros(like.shape, bool)
    targets[tuple(upload(i, like, "anchor labels") for i in (image, anchor, label))] = True
    weights = np.stack([_weights(m, len(matches)) for m in matches])[:, :, None]
    losses = F.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="none")
    return (losses * upload(weights.astype(like.dtype), like, "anchor weights")).sum()


def _pairs(matches: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The anchors that stand for an object, and its label."""
    positive = np.flatnonzero(matches >= 0)
    return positive, np.asarray(labels, np.int64)[matches[positive]]


def _weights(matches: np.ndarray, images: int) -> np.ndarray:
    """What each anchor of an image counts in the mean over the images: (B,)."""
    return (matches >= -1) / (max(1, int((matches >= 0).sum())) * images)


@stage("box loss")
def box_loss(
    deltas: Tensor,
    anchors: np.ndarray,
    matches: Sequence[np.ndarray],
    gt_boxes: Sequence[np.ndarray],
    *,
    kind: str = "l1",
    beta: float = 1.0,
    box_weights: Four = (1.0, 1.0, 1.0, 1.0),
) -> Tensor:
    """How far the boxes of the anchors that stand for an object are from it.

    Args:
        deltas: (N, B, 4).
        anchors: (B, 4), on the CPU.
        matches: per image (B,) the object of each anchor.
        gt_boxes: per image (objects, 4).
        kind: "l1" or "smooth_l1" of the deltas, or "giou" of the boxes they mean.
        beta: smooth L1 is quadratic below this.
        box_weights: see `boxes.encode`.
    """
    positive = [np.flatnonzero(m >= 0) for m in matches]
    counts = [len(index) for index in positive]
    if not sum(counts):
        return zero_like(deltas)
    like = deltas.data
    image, anchor = np.repeat(np.arange(len(counts)), counts), np.concatenate(positive)
    matched = np.concatenate(
        [b[m[i]].astype(np.float32) for b, m, i in zip(gt_boxes, matches, positive, strict=True)]
    )
    here = anchors[anchor]
    pred = deltas[upload(image, like, "image"), upload(anchor, like, "positive anchors")]
    if kind == "giou":
        boxes = decoded(pred, upload(here, like, "anchors"), box_weights)
        each = F.generalized_iou_loss(boxes, upload(matched, like, "gt boxes"), reduction="none")
    else:
        targets = upload(box_ops.encode(matched, here, box_weights), like, "anchor targets")
        beta = 0.0 if kind == "l1" else beta
        each = F.smooth_l1(pred, targets, beta=beta, reduction="none").sum(axis=1)
    share = np.repeat([1 / (max(1, n) * len(counts)) for n in counts], counts)
    return (each * upload(share.astype(like.dtype), like, "image weights")).sum()


def decoded(deltas: Tensor, anchors: Array, box_weights: Four) -> Tensor:
    """`boxes.decode` with gradients: (R, 4) deltas at anchors (R, 4) -> (R, 4) boxes."""
    sizes = anchors[:, 2:] - anchors[:, :2]
    centers = anchors[:, :2] + 0.5 * sizes
    deltas = deltas / constant(box_weights, anchors)
    pred_centers = deltas[:, :2] * sizes + centers
    growth = ops.clip(deltas[:, 2:], high=MAX_DW_DH)
    half = ops.exp(growth) * (0.5 * sizes)
    return ops.concatenate([pred_centers - half, pred_centers + half], axis=1)
