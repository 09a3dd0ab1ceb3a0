"""Which object each anchor is to find, and which anchors are asked at all.

Letters: B anchors of all levels of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask.autograd.arrays import Array, array_module
from minimask.models.matcher import IGNORED, Matcher
from minimask.models.transform import ImageTransform
from minimask.system.device import download, on_gpu, upload


def match_anchors(
    matcher: Matcher,
    anchors: Array,
    gt_boxes: Sequence[np.ndarray],
    asked: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """The object of each anchor (B,) in each image, on the CPU.

    Computed where the anchors (B, 4) are; `asked`: of each image the indices of those that may be
    matched, the others are IGNORED; None: all may.
    """
    some = [anchors] * len(gt_boxes)
    if asked is not None:
        some = [anchors[upload(index, anchors, "anchors inside")] for index in asked]
    matches = [
        matcher(upload(np.ascontiguousarray(b, anchors.dtype), anchors, "gt boxes"), mine)
        for b, mine in zip(gt_boxes, some, strict=True)
    ]
    if on_gpu(anchors):  # half as much to read, and at once
        joined = array_module(anchors).concatenate(matches).astype(np.int32)
        ends = np.cumsum([len(m) for m in matches])[:-1]
        matches = np.split(download(joined, "matched anchors").astype(np.int64), ends)
    if asked is None:
        return matches
    return [_among_all(m, a, len(anchors)) for m, a in zip(matches, asked, strict=True)]


def _among_all(matches: np.ndarray, asked: np.ndarray, count: int) -> np.ndarray:
    """Matches of some anchors as those of all `count`."""
    every = np.full(count, IGNORED, np.int64)
    every[asked] = matches
    return every


def anchors_inside(anchors: np.ndarray, transform: ImageTransform, border: float) -> np.ndarray:
    """Indices of the anchors (B, 4) that reach less than `border` pixels out of the image.

    Up and left a reach of exactly `border` is still inside, as in mmdetection.
    """
    (y, x), (height, width) = transform.offset, transform.resized
    low = (anchors[:, :2] >= np.array([x, y]) - border).all(axis=1)
    high = (anchors[:, 2:] < np.array([x + width, y + height]) + border).all(axis=1)
    return np.flatnonzero(low & high)
