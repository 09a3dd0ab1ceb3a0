"""Greedy non-maximum suppression: of boxes that overlap much, keep the best-scored.

Letters: R boxes.
"""

from __future__ import annotations

import operator

import numpy as np

from minimask.kernels.checks import as_float, check_boxes
from minimask.kernels.dispatch import Variant, call

VARIANTS = {
    "reference": Variant("reference", "cpu", "all pairs at once, then one pass down the scores"),
    "cpu": Variant(
        "cpu.compiled",
        "cpu",
        "compares with the kept boxes alone and stops at the first that suppresses",
    ),
    "numba_1_naive": Variant(
        "numba.rung_1_naive", "gpu", "a matrix of all pairs, a barrier a box", by_name=True
    ),
    "numba_2_bitmask": Variant(
        "numba.rung_2_bitmask", "gpu", "64 pairs a word, half the matrix", by_name=True
    ),
    "cuda_1_naive": Variant(
        "cuda.launch", "gpu", "a matrix of all pairs, a barrier a box", rung="naive"
    ),
    "cuda_2_bitmask": Variant(
        "cuda.launch",
        "gpu",
        "64 pairs a word, half the matrix, a barrier every 64 boxes",
        rung="bitmask",
    ),
    "cuda_3_ballot": Variant(
        "cuda.launch",
        "gpu",
        "ballots resolve 64 boxes while the next words are read",
        rung="ballot",
    ),
    "cuda_4_grouped": Variant(
        "cuda.launch", "gpu", "a block a group, small groups in shared memory", rung="grouped"
    ),
}


def nms(
    boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, *, variant: str | None = None
) -> np.ndarray:
    """Which boxes survive when every kept box suppresses those it overlaps too much.

    Boxes are visited by falling score, equal scores by index.  A box is kept unless its IoU with
    one kept before is greater than `iou_threshold`.  Boxes with no inside (zero area, inverted, a
    NaN coordinate) have IoU 0 with everything: they suppress nothing and are always kept, so
    remove them beforehand.  A NaN score ranks below every number.

    Args:
        boxes: (R, 4), x0 y0 x1 y1 in any one unit.
        scores: (R,), larger is better.
        iou_threshold: between 0 and 1; an IoU equal to it does not suppress.
        variant: a name in VARIANTS; default: the fastest for these arrays.

    Returns:
        (kept,) int64, positions in `boxes` by falling score, ties by index.

    Raises:
        ValueError: shapes that do not fit, a threshold outside [0, 1], an unknown variant.
        TypeError: boxes or scores that are neither integers nor floating point.
    """
    return batched_nms(boxes, scores, None, iou_threshold, variant=variant)


def batched_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray | None,
    iou_threshold: float,
    *,
    variant: str | None = None,
) -> np.ndarray:
    """As `nms`, but only boxes of the same group suppress each other.

    A group is a class, a pyramid level, an image, or a number made of them.  The boxes are
    compared as they are: moving each group far away so that one pass serves all is common, but
    the sums round, which flips IoUs at the threshold.

    Args:
        boxes: (R, 4), x0 y0 x1 y1 in any one unit.
        scores: (R,), larger is better.
        groups: (R,) integers; None: all boxes are one group.
        iou_threshold: between 0 and 1; an IoU equal to it does not suppress.
        variant: a name in VARIANTS; default: the fastest for these arrays.

    Returns:
        (kept,) int64, positions in `boxes` by falling score over all groups, ties by index.

    Raises:
        ValueError: shapes that do not fit, a threshold outside [0, 1], an unknown variant.
        TypeError: boxes or scores that are no real numbers, groups that are no integers.
    """
    arrays, threshold = _check(boxes, scores, groups, iou_threshold)
    return call(__name__, VARIANTS, "nms", *arrays, threshold=threshold, variant=variant)


def batched_nms_padded(
    boxes: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray | None,
    iou_threshold: float,
    *,
    limit: int,
    variant: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The first `limit` boxes that `batched_nms` keeps, in arrays whose length is known before.

    How many boxes are kept only the GPU knows, and an array of just those makes the CPU wait for
    it.  This function does not wait, so that it can stand between others in a model.

    Args:
        boxes: (R, 4), x0 y0 x1 y1 in any one unit.
        scores: (R,), larger is better.
        groups: (R,) integers; None: all boxes are one group.
        iou_threshold: between 0 and 1; an IoU equal to it does not suppress.
        limit: how many boxes to keep at most, over all groups.
        variant: a name in VARIANTS; default: the fastest for these arrays.

    Returns:
        (limit,) int64, positions in `boxes` by falling score over all groups, ties by index; -1
        where no more are kept.  (1,) int32, how many are not -1.

    Raises:
        ValueError: shapes that do not fit, a threshold outside [0, 1], a negative limit, an
            unknown variant.
        TypeError: boxes or scores that are no real numbers, groups or a limit that are no integers.
    """
    limit = operator.index(limit)
    if limit < 0:
        raise ValueError(f"limit: expected a number of boxes, got {limit}")
    arrays, threshold = _check(boxes, scores, groups, iou_threshold)
    options = {"threshold": threshold, "limit": limit}
    return call(__name__, VARIANTS, "nms_padded", *arrays, **options, variant=variant)


def _check(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray | None, iou_threshold: float
) -> tuple[tuple[np.ndarray, ...], float]:
    """The arrays as the variants want them, and the threshold."""
    boxes = check_boxes("boxes", boxes)
    count = len(boxes)
    scores = as_float("scores", scores)
    if scores.shape != (count,):
        raise ValueError(f"scores: expected shape ({count},), one a box, got {scores.shape}")
    if not 0 <= iou_threshold <= 1:  # also refuses NaN
        raise ValueError(f"iou_threshold: expected a number from 0 to 1, got {iou_threshold}")
    if groups is not None:
        if groups.shape != (count,):
            raise ValueError(f"groups: expected shape ({count},), one a box, got {groups.shape}")
        if groups.dtype.kind not in "iu":
            raise TypeError(f"groups: expected integers, got {groups.dtype}")
    arrays = (boxes, scores) if groups is None else (boxes, scores, groups)
    return arrays, float(iou_threshold)
