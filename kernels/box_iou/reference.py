"""IoU of all pairs as the definition reads; four (A, B) temporaries.

Letters: A boxes in the first list, B in the second.
"""

from __future__ import annotations

import numpy as np


def box_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """(A, 4), (B, 4) -> (A, B): intersection / (area + area - intersection)."""
    top_left = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    bottom_right = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    with np.errstate(all="ignore"):  # inf - inf is answered below
        overlap = np.clip(bottom_right - top_left, 0, None)
        intersection = overlap[..., 0] * overlap[..., 1]
        union = area(boxes_a)[:, None] + area(boxes_b)[None, :] - intersection
        ratio = intersection / union
        return np.where(ratio > 0, ratio, ratio.dtype.type(0))  # a NaN is not > 0


def best_overlaps(
    boxes_a: np.ndarray, boxes_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, 4), (B, 4) -> nearest (B,) int64, overlap (B,), closest (B,)."""
    iou = box_iou(boxes_a, boxes_b)
    if 0 in iou.shape:
        nothing = np.zeros(len(boxes_b), iou.dtype)
        return np.full(len(boxes_b), -1, np.int64), nothing, nothing.copy()
    best = iou.max(axis=1, keepdims=True)
    return iou.argmax(axis=0), iou.max(axis=0), np.where(iou == best, best, 0).max(axis=0)


def area(boxes: np.ndarray) -> np.ndarray:
    """(R, 4) -> (R,): width times height, whatever their signs: what has no inside overlaps 0."""
    x0, y0, x1, y1 = boxes.T
    return (x1 - x0) * (y1 - y0)
