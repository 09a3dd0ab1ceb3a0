"""The region proposal network (Ren et al. 2015): where might there be an object?

Letters: N images, A anchors per cell, B anchors of all levels of an image, R proposals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask.autograd import Tensor, ops, zero_like
from minimask.autograd.arrays import Array, array_module
from minimask.autograd.hooks import stage
from minimask.conventions import Convention
from minimask.models.anchors import AnchorGrid
from minimask.models.initialization import conv, small_normal
from minimask.models.matching import match_boxes
from minimask.models.proposals import filter_proposals
from minimask.models.sampling import sample
from minimask.models.transform import Frame
from minimask.nn import Module, Sequential
from minimask.system.device import upload


class RPNHead(Module):
    """One small network that slides over every level of the pyramid."""

    def __init__(self, channels: int, anchors_per_cell: int, rng: np.random.Generator):
        a = anchors_per_cell
        self.conv = Sequential(Sequential(conv(channels, channels, 3, rng, draw=small_normal)))
        self.cls_logits = conv(channels, a, 1, rng, draw=small_normal)
        self.bbox_pred = conv(channels, 4 * a, 1, rng, draw=small_normal)

    def forward(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each level: objectness logits (N, A, H, W) and box deltas (N, 4 A, H, W)."""
        hidden = [self.conv(level, relu=True) for level in pyramid]
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


class RPN(Module):
    """The first stage: judge every anchor, keep the best that do not overlap."""

    def __init__(self, head: RPNHead, anchors: AnchorGrid, convention: Convention):
        self.head = head
        self.anchors = anchors
        self.convention = convention

    def forward(
        self, pyramid: Sequence[Tensor], frames: Sequence[Frame], image_shape: tuple[int, int]
    ) -> list[np.ndarray]:
        """For each image, proposals (R, 4) in pixels of the network's input, best first."""
        objectness, deltas = self.head(pyramid)
        shapes = [level.shape[2:] for level in pyramid]
        anchors = self.anchors(shapes, image_shape, like=pyramid[0].data)
        return [boxes for boxes, _ in self.propose(objectness, deltas, anchors, frames)]

    @stage("proposals")
    def propose(
        self,
        objectness: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Sequence[Array],
        frames: Sequence[Frame],
        training: bool = False,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each image the proposals (R, 4) and their scores (R,), best first, on the CPU.

        The levels and their anchors are where the network is.  No gradient flows through the
        coordinates (Faster R-CNN: approximate joint training).
        """
        c = self.convention
        limits = (
            (c.rpn_pre_nms_top_n_train, c.rpn_post_nms_top_n_train)
            if training
            else (c.rpn_pre_nms_top_n_test, c.rpn_post_nms_top_n_test)
        )
        logits = [flatten_level(level.data, 1)[:, :, 0] for level in objectness]
        moves = [flatten_level(level.data, 4) for level in deltas]
        boxes = list(anchors)
        if not c.proposals_per_level:
            xp = array_module(*boxes)
            logits, moves = [xp.concatenate(logits, 1)], [xp.concatenate(moves, 1)]
            boxes = [xp.concatenate(boxes)]
        return filter_proposals(logits, moves, boxes, frames, c, *limits)


def flatten_level(level: Array, values: int) -> Array:
    """(N, A * values, H, W) -> (N, H * W * A, values): the order of the anchors."""
    n, channels, h, w = level.shape
    level = level.reshape(n, channels // values, values, h, w)
    return level.transpose(0, 3, 4, 1, 2).reshape(n, -1, values)


@stage("RPN loss")
def flatten_levels(levels: Sequence[Tensor], values: int) -> Tensor:
    """All levels in one, with gradients: several (N, A * values, H, W) -> (N, B, values)."""
    flat = []
    for level in levels:
        n, channels, h, w = level.shape
        split = ops.reshape(level, (n, channels // values, values, h, w))
        flat.append(ops.reshape(ops.transpose(split, (0, 3, 4, 1, 2)), (n, -1, values)))
    return ops.concatenate(flat, axis=1)


def assign_anchors(anchors: Array, true_boxes: np.ndarray, convention: Convention) -> Array:
    """The object each anchor is to find: (B,) int64, -1 for background, -2 to be ignored.

    Computed where the anchors are.
    """
    objects = upload(np.ascontiguousarray(true_boxes, np.float32), anchors, "true boxes")
    return match_boxes(
        objects,
        anchors,
        convention.rpn_fg_iou_thresh,
        convention.rpn_bg_iou_thresh,
        best_iou_min=convention.rpn_best_iou_min,
    )


@stage("anchors, matching")
def sample_anchors(
    matches: Sequence[np.ndarray], convention: Convention, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each image the positive and negative anchors to learn from."""
    size, share = convention.rpn_batch_size_per_image, convention.rpn_positive_fraction
    return [sample(m, size, share, rng) for m in matches]


@stage("RPN loss")
def rpn_loss(
    objectness: Tensor,
    deltas: Tensor,
    samples: Sequence[tuple[np.ndarray, np.ndarray]],
    targets: Sequence[np.ndarray],
    convention: Convention,
) -> tuple[Tensor, Tensor]:
    """How wrong the objectness and the moves of the sampled anchors are (Faster R-CNN, eq. 1).

    Args:
        objectness: (N, B) logits.
        deltas: (N, B, 4).
        samples: per image the sampled positive and negative anchors.
        targets: per image the deltas its positive anchors should have, (positives, 4).
        convention: `rpn_loss_beta`, `rpn_loss_divisor`, `rpn_batch_size_per_image`.

    Returns:
        Two scalars: binary cross-entropy, near ln 2 before training, and smooth L1.
    """
    positive, negative = (_with_image(which) for which in zip(*samples, strict=True))
    chosen = np.concatenate([positive, negative], axis=1)  # (2, sampled): image, anchor
    count, positives = chosen.shape[1], positive.shape[1]
    if count == 0:
        return zero_like(objectness), zero_like(objectness)
    divisor = sampled = float(count)
    if convention.rpn_loss_divisor == "batch_size":
        divisor = sampled = float(convention.rpn_batch_size_per_image * len(samples))
    elif convention.rpn_loss_divisor == "positives":
        divisor = 4.0 * max(positives, 1)
    xp = array_module(objectness.data)
    image, anchor = upload(chosen, objectness.data, "sampled anchors")
    wanted = upload(np.concatenate(targets), objectness.data, "anchor targets")
    labels = (xp.arange(count) < positives).astype(objectness.dtype)
    judged = objectness[image, anchor]
    moved = deltas[image[:positives], anchor[:positives]]
    return (
        F.binary_cross_entropy_with_logits(judged, labels, reduction="sum") / sampled,
        F.smooth_l1(moved, wanted, beta=convention.rpn_loss_beta) / divisor,
    )


@stage("anchors, matching")
def anchor_targets(
    anchors: np.ndarray,
    positive: np.ndarray,
    matches: np.ndarray,
    true_boxes: np.ndarray,
    convention: Convention,
) -> np.ndarray:
    """The deltas that move the positive anchors of an image onto their objects: (positives, 4)."""
    wanted = true_boxes[matches[positive]].astype(np.float32)
    return box_ops.encode(wanted, anchors[positive], convention.rpn_box_weights)


def _with_image(per_image: Sequence[np.ndarray]) -> np.ndarray:
    """Indices of several images as pairs (image, index): (2, all of them)."""
    image_of = np.repeat(np.arange(len(per_image)), [len(index) for index in per_image])
    return np.stack([image_of, np.concatenate(per_image).astype(np.int64)])
