"""Non-maximum suppression for all images of a batch in one go.

Letters: N images, R boxes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask.kernels.nms import batched_nms


def suppress(
    boxes: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    groups: Sequence[np.ndarray],
    iou_threshold: float,
    limit: int,
) -> list[np.ndarray]:
    """Which boxes of each image survive, when each suppresses lesser ones of its group.

    Args:
        boxes: per image (R, 4).
        scores: per image (R,).
        groups: per image (R,) integers from 0: a class or a level of the pyramid.
        iou_threshold: boxes that overlap more than this are suppressed.
        limit: at most this many survive in an image.

    Returns:
        Per image the indices of its survivors, best first.
    """
    counts = [len(b) for b in boxes]
    starts = np.cumsum([0, *counts])
    image_of = np.repeat(np.arange(len(counts)), counts)
    group = np.concatenate(groups).astype(np.int64)
    group += image_of * (group.max(initial=0) + 1)  # groups of different images never meet
    kept = batched_nms(np.concatenate(boxes), np.concatenate(scores), group, iou_threshold)
    return [(kept[image_of[kept] == n] - starts[n])[:limit] for n in range(len(counts))]
