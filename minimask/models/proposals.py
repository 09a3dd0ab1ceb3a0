"""From what the RPN says of every anchor to the few boxes the second stage looks at.

Everything up to the boxes that survive runs where the network runs, with arrays of fixed shapes:
a box to be dropped gets the lowest score, as nobody knows there how many are left.  The
survivors are then read back, all images at once.

Letters: N images, B anchors of a level that passed the first cut, R proposals of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask import boxes as box_ops
from minimask.autograd.arrays import Array, array_module
from minimask.conventions import Convention
from minimask.kernels.nms import batched_nms_padded
from minimask.models.transform import Frame
from minimask.system.device import download


def filter_proposals(
    logits: Sequence[Array],
    deltas: Sequence[Array],
    anchors: Sequence[Array],
    frames: Sequence[Frame],
    convention: Convention,
    before: int,
    after: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The best-scored anchors of each level, moved, clipped, and thinned out where they overlap.

    Args:
        logits: per level (N, anchors of that level), NumPy or CuPy arrays like the next two.
        deltas: per level (N, anchors of that level, 4).
        anchors: per level (anchors of that level, 4).
        frames: of the N images.
        convention: thresholds.
        before: how many of a level survive the first cut.
        after: how many of an image survive in the end.

    Returns:
        For each image boxes (R, 4) and scores (R,), best first, on the CPU.
    """
    best = [top(level, before) for level in logits]  # (N, B) indices
    scores = sigmoid(_pick(logits, best))
    origins = array_module(*anchors).concatenate(
        [a[b] for a, b in zip(anchors, best, strict=True)], axis=1
    )
    boxes = _move(_pick(deltas, [b[:, :, None] for b in best]), origins, frames, convention)
    scores = _dropped_last(boxes, scores, convention)
    kept = _suppress(boxes, scores, [b.shape[1] for b in best], convention.rpn_nms_thresh)
    found = download(_rows(boxes, scores, kept), "proposals")
    return _by_image(found, scores.shape, after)


def top(logits: Array, count: int) -> Array:
    """Indices of the `count` largest of each row, largest first; NaN counts as smallest."""
    xp = array_module(logits)
    order = -xp.nan_to_num(logits, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    if order.shape[1] <= count or xp is not np:
        return xp.argsort(order, axis=1, kind="stable")[:, :count]
    part = np.sort(np.argpartition(order, count - 1, axis=1)[:, :count], axis=1)
    inner = np.argsort(np.take_along_axis(order, part, 1), axis=1, kind="stable")
    return np.take_along_axis(part, inner, 1)


def sigmoid(x: Array) -> Array:
    """Probabilities of logits, any shape."""
    with np.errstate(over="ignore"):  # exp(89) is infinite in float32, and 1 / infinity is right
        return 1 / (1 + np.exp(-x))


def _pick(levels: Sequence[Array], indices: Sequence[Array]) -> Array:
    """Some entries of every level, side by side: per level (N, B, ...) -> (N, chosen, ...)."""
    xp = array_module(*levels)
    picked = [xp.take_along_axis(x, i, axis=1) for x, i in zip(levels, indices, strict=True)]
    return xp.concatenate(picked, axis=1)


def _move(deltas: Array, anchors: Array, frames: Sequence[Frame], convention: Convention) -> Array:
    """The anchors moved as the network says and cut off at their image's border: (N, B, 4)."""
    weights, clamp = convention.rpn_box_weights, convention.delta_clamp
    with np.errstate(over="ignore", invalid="ignore"):  # the caller drops NaN and infinity
        moved = box_ops.decode(deltas.reshape(-1, 4), anchors.reshape(-1, 4), weights, clamp)
        moved = moved.reshape(deltas.shape)
        return array_module(moved).stack(
            [frame.clip(boxes) for frame, boxes in zip(frames, moved, strict=True)]
        )


def _dropped_last(boxes: Array, scores: Array, convention: Convention) -> Array:
    """The scores, but minus infinity for boxes that are too small or not finite: (N, B).

    So they come last and suppress nothing but each other.
    """
    xp = array_module(boxes)
    with np.errstate(invalid="ignore"):
        valid = box_ops.is_large(boxes.reshape(-1, 4), convention.rpn_min_size)
        valid = valid.reshape(scores.shape) & xp.isfinite(boxes).all(axis=2) & xp.isfinite(scores)
    return xp.where(valid, scores, scores.dtype.type(-np.inf))


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


def _rows(boxes: Array, scores: Array, kept: Array) -> Array:
    """All that is to be read back, in one array: box, score, index; (N * B, 6)."""
    xp = array_module(boxes)
    index = kept.astype(np.float32)[:, None]  # exact: N * B is far below 2^24
    return xp.concatenate(
        [boxes.reshape(-1, 4)[kept], scores.ravel()[kept][:, None], index], axis=1
    )


def _by_image(
    found: np.ndarray, shape: tuple[int, int], after: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows of each image, without the dropped ones, the first `after` of them."""
    images, count = shape
    found = found[(found[:, 5] >= 0) & np.isfinite(found[:, 4])]
    image_of = (found[:, 5] // count).astype(np.int64)
    per_image = [found[image_of == n][:after] for n in range(images)]
    return [(np.ascontiguousarray(rows[:, :4]), rows[:, 4].copy()) for rows in per_image]
