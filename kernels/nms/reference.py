"""Suppression as it is told: all IoUs first, then one walk down the scores.

Memory grows with the square of the number of boxes.  Letters: R boxes.
"""

from __future__ import annotations

import numpy as np

from minimask.kernels.box_iou.reference import box_iou


def nms(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray | None = None, *, threshold: float
) -> np.ndarray:
    """(R, 4), (R,), (R,) -> (kept,) int64, by falling score, ties by index."""
    order = np.argsort(-scores, kind="stable")  # stable: ties by index; NaN sorts last
    boxes = boxes[order]
    # the comparison is made in the boxes' own type, so that every variant rounds alike
    suppresses = box_iou(boxes, boxes) > boxes.dtype.type(threshold)
    if groups is not None:
        suppresses &= groups[order][:, None] == groups[order][None, :]
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            alive[i + 1 :] &= ~suppresses[i, i + 1 :]
    return order[alive].astype(np.int64, copy=False)


def nms_padded(
    boxes: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    threshold: float,
    limit: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(R, 4), (R,), (R,) -> (limit,) int64 padded with -1, and (1,) int32, how many are kept."""
    return pad(nms(boxes, scores, groups, threshold=threshold), limit)


def pad(kept: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `limit` of `kept`, then -1; how many are not -1."""
    indices = np.full(limit, -1, np.int64)
    kept = kept[:limit]
    indices[: len(kept)] = kept
    return indices, np.array([len(kept)], np.int32)
