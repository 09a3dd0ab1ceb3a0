"""Overlap of every box of one list with every box of another.

Letters: A boxes in the first list, B boxes in the second.
"""

from __future__ import annotations

import numpy as np

from minimask.kernels.checks import check_boxes
from minimask.kernels.dispatch import Variant, call

VARIANTS = {
    "reference": Variant("reference", "cpu", "the definition, broadcast over all pairs"),
    "cpu": Variant(
        "cpu.compiled", "cpu", "compiled loops over both cores: no temporaries, one write a pair"
    ),
    "numba_1_naive": Variant("numba.rung_1_naive", "gpu", "one thread a pair", by_name=True),
    "numba_2_tiled": Variant(
        "numba.rung_2_tiled",
        "gpu",
        "a thread keeps a box of B, a block a tile of A",
        by_name=True,
    ),
    "cuda_1_naive": Variant(
        "cuda.launch", "gpu", "the same in CUDA C++: one thread a pair", rung="naive"
    ),
    "cuda_2_tiled": Variant(
        "cuda.launch",
        "gpu",
        "a thread keeps four boxes of B and writes four values at once",
        rung="tiled",
    ),
}


def box_iou(boxes_a: np.ndarray, boxes_b: np.ndarray, *, variant: str | None = None) -> np.ndarray:
    """How much each box of `boxes_a` overlaps each of `boxes_b`: intersection over union.

    A box with no inside shares nothing with any box, itself included: IoU is 0 where either box
    has zero area, is inverted (x1 <= x0 or y1 <= y0) or has a NaN coordinate, and where an
    infinite coordinate makes the ratio meaningless.  The result is never NaN.

    Args:
        boxes_a: (A, 4), x0 y0 x1 y1 in any one unit.  Integers are computed in floating point.
        boxes_b: (B, 4), likewise.
        variant: a name in VARIANTS; default: the fastest for these arrays.

    Returns:
        (A, B) in the boxes' common floating-point type, between 0 and 1.

    Raises:
        ValueError: a shape other than (R, 4), or an unknown variant.
        TypeError: boxes that are neither integers nor floating point.
    """
    a, b = check_boxes("boxes_a", boxes_a), check_boxes("boxes_b", boxes_b)
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    return call(__name__, VARIANTS, "box_iou", a, b, variant=variant)


def best_overlaps(
    boxes_a: np.ndarray, boxes_b: np.ndarray, *, variant: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What of `box_iou(boxes_a, boxes_b)` decides which box stands for which, without its pairs.

    This is what a detector asks when it gives every anchor its object (Faster R-CNN,
    arXiv:1506.01497, section 3.1.2).  The IoUs are those of `box_iou` bit for bit.

    Args:
        boxes_a: (A, 4), x0 y0 x1 y1 in any one unit: few, e.g. the objects of an image.
        boxes_b: (B, 4), likewise: many, e.g. its anchors.
        variant: a name in VARIANTS that has this function, on NumPy arrays only.

    Returns:
        nearest (B,) int64: the box of A that each box of B overlaps most, the first of equals; 0 if
            it overlaps none, -1 if A is empty.
        overlap (B,): the IoU of the two, in the boxes' common floating-point type.
        closest (B,): if the box of B is the closest there is to a box of A, or one of several
            equally close, their IoU (if it is to several boxes of A, the largest), else 0.

    Raises:
        ValueError: a shape other than (R, 4), or an unknown variant.
        TypeError: boxes that are neither integers nor floating point, or not NumPy arrays.
    """
    a, b = check_boxes("boxes_a", boxes_a), check_boxes("boxes_b", boxes_b)
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    return call(__name__, VARIANTS, "best_overlaps", a, b, variant=variant)
