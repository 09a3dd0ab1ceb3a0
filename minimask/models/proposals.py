"""From what the RPN says of every anchor to the few boxes the second stage looks at.

Everything up to the boxes that survive runs where the network runs, with arrays of fixed shapes:
a box to be dropped gets the lowest score, as nobody knows there how many are left.  The
survivors are then read back, all images at once.

Letters: N images, B anchors that passed the first cut, of all levels, R proposals of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minimask import boxes as box_ops
from minimask.autograd.arrays import Array, array_module, sigmoid
from minimask.autograd.hooks import record
from minimask.kernels.nms import batched_nms_padded
from minimask.models.transform import ImageTransform
from minimask.system.device import download

Four = tuple[float, float, float, float]


@dataclass(frozen=True)
class ProposalFilter:
    """Every cut on the way to the proposals, as `record("rpn/filter", ...)` hands it out."""

    topk: list[Array]  # per level (N, its part of B) indices of the anchors, best first
    scores: Array  # (N, B) probability of an object
    decoded: Array  # (N, B, 4) the anchors moved by their deltas
    clipped: Array  # (N, B, 4) cut off at the image's border
    valid: Array  # (N, B) bool: large and probable enough, and finite
    kept: Array  # (N * B,) indices into all boxes of those that survive NMS, best first, then -1


def filter_proposals(
    logits: Sequence[Array],
    deltas: Sequence[Array],
    anchors: Sequence[Array],
    transforms: Sequence[ImageTransform],
    *,
    pre_nms_top_n: int,
    post_nms_top_n: int,
    nms_thresh: float = 0.7,
    score_thresh: float = 0.0,
    min_size: float | None = 1e-3,
    box_weights: Four = (1.0, 1.0, 1.0, 1.0),
    delta_clamp: str = "upper",
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The best-scored anchors of each level, moved, clipped, and thinned out where they overlap.

    Args:
        logits: per level (N, anchors of that level), NumPy or CuPy arrays like the next two.
        deltas: per level (N, anchors of that level, 4).
        anchors: per level (anchors of that level, 4).
        transforms: of the N images: where their borders are.
        pre_nms_top_n: how many of a level survive the first cut.
        post_nms_top_n: how many of an image survive in the end.
        nms_thresh: boxes that overlap a better one of their level more than this are dropped.
        score_thresh: boxes less probable than this are dropped.
        min_size: boxes with a shorter side are dropped; 0: those without area; None: none.
        box_weights: see `boxes.decode`.
        delta_clamp: likewise.

    Returns:
        For each image boxes (R, 4) and scores (R,), best first, on the CPU.
    """
    xp = array_module(*anchors)
    best = [topk(level, pre_nms_top_n) for level in logits]  # (N, B) indices
    scores = sigmoid(_gather(logits, best))
    origins = xp.concatenate([a[b] for a, b in zip(anchors, best, strict=True)], axis=1)
    best_deltas = _gather(deltas, [b[:, :, None] for b in best])
    with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinity are dropped below
        decoded = box_ops.decode(
            best_deltas.reshape(-1, 4), origins.reshape(-1, 4), box_weights, delta_clamp
        ).reshape(best_deltas.shape)
        clipped = xp.stack([t.clip_proposals(b) for t, b in zip(transforms, decoded, strict=True)])
        valid = _is_valid(clipped, scores, min_size)
        if score_thresh > 0:
            valid &= scores >= score_thresh
    masked = xp.where(valid, scores, scores.dtype.type(-np.inf))  # suppress nothing but each other
    kept = _suppress(clipped, masked, [b.shape[1] for b in best], nms_thresh)
    record("rpn/filter", lambda: ProposalFilter(best, scores, decoded, clipped, valid, kept))
    survivors = download(_pack(clipped, masked, kept), "proposals")
    return _by_image(survivors, scores.shape, post_nms_top_n)


def topk(logits: Array, count: int) -> Array:
    """Indices of the `count` largest of each row, largest first; NaN counts as smallest."""
    xp = array_module(logits)
    order = -xp.nan_to_num(logits, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    if order.shape[1] <= count or xp is not np:
        return xp.argsort(order, axis=1, kind="stable")[:, :count]
    part = np.sort(np.argpartition(order, count - 1, axis=1)[:, :count], axis=1)
    inner = np.argsort(np.take_along_axis(order, part, 1), axis=1, kind="stable")
    return np.take_along_axis(part, inner, 1)


def _gather(levels: Sequence[Array], indices: Sequence[Array]) -> Array:
    """Some entries of every level, side by side: per level (N, anchors, ...) -> (N, B, ...)."""
    xp = array_module(*levels)
    gathered = [xp.take_along_axis(x, i, axis=1) for x, i in zip(levels, indices, strict=True)]
    return xp.concatenate(gathered, axis=1)


def _is_valid(boxes: Array, scores: Array, min_size: float | None) -> Array:
    """Which boxes are large enough and finite: (N, B) bool."""
    xp = array_module(boxes)
    finite = xp.isfinite(boxes).all(axis=2) & xp.isfinite(scores)
    if min_size is None:
        return finite
    return finite & box_ops.is_large(boxes.reshape(-1, 4), min_size).reshape(scores.shape)


def _suppress(boxes: Array, scores: Array, per_level: Sequence[int], threshold: float) -> Array:
    """Indices into all boxes of those that survive, best first, then -1: (N * B,).

    Boxes of different images or levels never suppress each other.
    """
    xp = array_module(boxes)
    images, count = scores.shape
    level = xp.repeat(xp.arange(len(per_level)), list(per_level))
    group = xp.arange(images)[:, None] * len(per_level) + level
    kept, _ = batched_nms_padded(
        boxes.reshape(-1, 4), scores.ravel(), group.ravel(), threshold, limit=images * count
    )
    return kept


def _pack(boxes: Array, scores: Array, kept: Array) -> Array:
    """All that is to be read back, in one array: box, score, index; (N * B, 6)."""
    xp = array_module(boxes)
    index = kept.astype(np.float32)[:, None]  # exact: N * B is far below 2^24
    return xp.concatenate(
        [boxes.reshape(-1, 4)[kept], scores.ravel()[kept][:, None], index], axis=1
    )


def _by_image(
    survivors: np.ndarray, shape: tuple[int, int], post_nms_top_n: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows of each image, without the dropped ones, the first `post_nms_top_n` of them."""
    images, count = shape
    survivors = survivors[(survivors[:, 5] >= 0) & np.isfinite(survivors[:, 4])]
    image_of = (survivors[:, 5] // count).astype(np.int64)
    per_image = [survivors[image_of == n][:post_nms_top_n] for n in range(images)]
    return [(np.ascontiguousarray(rows[:, :4]), rows[:, 4].copy()) for rows in per_image]
