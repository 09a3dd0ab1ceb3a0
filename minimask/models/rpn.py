"""The region proposal network (Ren et al. 2015): where might there be an object?

Letters: N images, A anchors per cell, B anchors of all levels of an image, R proposals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask import ops
from minimask.autograd import Tensor
from minimask.conventions import Convention
from minimask.kernels.box_iou import box_iou
from minimask.models.anchors import AnchorGrid
from minimask.models.initialization import conv, small_normal
from minimask.models.matching import match
from minimask.models.sampling import sample
from minimask.models.suppression import suppress
from minimask.models.transform import Frame
from minimask.nn import Module, Sequential


class RPNHead(Module):
    """One small network that slides over every level of the pyramid."""

    def __init__(self, channels: int, anchors_per_cell: int, rng: np.random.Generator):
        a = anchors_per_cell
        self.conv = Sequential(Sequential(conv(channels, channels, 3, rng, draw=small_normal)))
        self.cls_logits = conv(channels, a, 1, rng, draw=small_normal)
        self.bbox_pred = conv(channels, 4 * a, 1, rng, draw=small_normal)

    def forward(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each level: objectness logits (N, A, H, W) and box deltas (N, 4 A, H, W)."""
        hidden = [F.relu(self.conv(level)) for level in pyramid]
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
        anchors = self.anchors([level.shape[2:] for level in pyramid], image_shape)
        return [boxes for boxes, _ in self.propose(objectness, deltas, anchors, frames)]

    def propose(
        self,
        objectness: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Sequence[np.ndarray],
        frames: Sequence[Frame],
        training: bool = False,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each image the proposals (R, 4) and their scores (R,), best first.

        No gradient flows through the coordinates (Faster R-CNN: approximate joint training).
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
            logits, moves = [np.concatenate(logits, 1)], [np.concatenate(moves, 1)]
            boxes = [np.concatenate(boxes)]
        return filter_proposals(logits, moves, boxes, frames, c, *limits)


def flatten_level(level: np.ndarray, values: int) -> np.ndarray:
    """(N, A * values, H, W) -> (N, H * W * A, values): the order of the anchors."""
    n, channels, h, w = level.shape
    level = level.reshape(n, channels // values, values, h, w)
    return level.transpose(0, 3, 4, 1, 2).reshape(n, -1, values)


def flatten_levels(levels: Sequence[Tensor], values: int) -> Tensor:
    """All levels in one, with gradients: several (N, A * values, H, W) -> (N, B, values)."""
    flat = []
    for level in levels:
        n, channels, h, w = level.shape
        split = ops.reshape(level, (n, channels // values, values, h, w))
        flat.append(ops.reshape(ops.transpose(split, (0, 3, 4, 1, 2)), (n, -1, values)))
    return ops.concatenate(flat, axis=1)


def filter_proposals(
    logits: Sequence[np.ndarray],
    deltas: Sequence[np.ndarray],
    anchors: Sequence[np.ndarray],
    frames: Sequence[Frame],
    convention: Convention,
    before: int,
    after: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The best-scored anchors of each level, moved, clipped, and thinned out where they overlap.

    Args:
        logits: per level (N, B of that level).
        deltas: per level (N, B of that level, 4).
        anchors: per level (B of that level, 4).
        frames: of the N images.
        convention: thresholds.
        before: how many of a level survive the first cut.
        after: how many of an image survive in the end.
    """
    best = [_top(level, before) for level in logits]  # (N, at most `before`) indices
    level_of = np.repeat(np.arange(len(best)), [b.shape[1] for b in best])
    scores = sigmoid(_pick(logits, best))
    moves = _pick(deltas, [b[:, :, None] for b in best])
    origins = np.concatenate([a[b] for a, b in zip(anchors, best, strict=True)], axis=1)
    boxes, chosen, levels = [], [], []
    for frame, move, origin, score in zip(frames, moves, origins, scores, strict=True):
        moved = _move(move, origin, frame, convention)
        keep = box_ops.remove_small(moved, convention.rpn_min_size)
        keep = keep[np.isfinite(moved[keep]).all(axis=1) & np.isfinite(score[keep])]
        boxes.append(moved[keep])
        chosen.append(score[keep])
        levels.append(level_of[keep])
    kept = suppress(boxes, chosen, levels, convention.rpn_nms_thresh, after)
    return [(b[k], s[k]) for b, s, k in zip(boxes, chosen, kept, strict=True)]


def _move(
    deltas: np.ndarray, anchors: np.ndarray, frame: Frame, convention: Convention
) -> np.ndarray:
    weights, clamp = convention.rpn_box_weights, convention.delta_clamp
    with np.errstate(over="ignore", invalid="ignore"):  # the caller drops NaN and infinity
        return frame.clip(box_ops.decode(deltas, anchors, weights, clamp))


def _pick(levels: Sequence[np.ndarray], indices: Sequence[np.ndarray]) -> np.ndarray:
    """Some entries of every level, side by side: per level (N, B, ...) -> (N, chosen, ...)."""
    picked = [np.take_along_axis(x, i, axis=1) for x, i in zip(levels, indices, strict=True)]
    return np.concatenate(picked, axis=1)


def _top(logits: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest of each row, largest first; NaN counts as smallest."""
    order = -np.nan_to_num(logits, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    if order.shape[1] <= count:
        return np.argsort(order, axis=1, kind="stable")
    part = np.sort(np.argpartition(order, count - 1, axis=1)[:, :count], axis=1)
    inner = np.argsort(np.take_along_axis(order, part, 1), axis=1, kind="stable")
    return np.take_along_axis(part, inner, 1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Probabilities of logits, any shape."""
    with np.errstate(over="ignore"):  # exp(89) is infinite in float32, and 1 / infinity is right
        return 1 / (1 + np.exp(-x))


def assign_anchors(
    anchors: np.ndarray, true_boxes: np.ndarray, convention: Convention
) -> np.ndarray:
    """The object each anchor is to find: (B,) int64, -1 for background, -2 to be ignored."""
    return match(
        box_iou(np.ascontiguousarray(true_boxes, np.float32), anchors),
        convention.rpn_fg_iou_thresh,
        convention.rpn_bg_iou_thresh,
        best_iou_min=convention.rpn_best_iou_min,
    )


def sample_anchors(
    matches: Sequence[np.ndarray], convention: Convention, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each image the positive and negative anchors to learn from."""
    size, share = convention.rpn_batch_size_per_image, convention.rpn_positive_fraction
    return [sample(m, size, share, rng) for m in matches]


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
    if chosen.shape[1] == 0:
        return Tensor(np.float32(0)), Tensor(np.float32(0))
    labels = (np.arange(chosen.shape[1]) < positive.shape[1]).astype(objectness.dtype)
    divisor = sampled = float(chosen.shape[1])
    if convention.rpn_loss_divisor == "batch_size":
        divisor = sampled = float(convention.rpn_batch_size_per_image * len(samples))
    elif convention.rpn_loss_divisor == "positives":
        divisor = 4.0 * max(positive.shape[1], 1)
    judged = objectness[chosen[0], chosen[1]]
    moved = deltas[positive[0], positive[1]]
    return (
        F.binary_cross_entropy_with_logits(judged, labels, reduction="sum") / sampled,
        F.smooth_l1(moved, np.concatenate(targets), beta=convention.rpn_loss_beta) / divisor,
    )


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
