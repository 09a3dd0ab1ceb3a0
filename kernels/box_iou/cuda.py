"""Launches the CUDA C++ rungs.  Letters: A boxes in the first list, B in the second."""

from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, empty, program, require_float32

NAIVE = program(__file__, "cuda_1_naive.cu", fmad=False)  # the same rounding as the reference


def box_iou_naive(boxes_a: Any, boxes_b: Any) -> Any:
    """(A, 4), (B, 4) -> (A, B)."""
    require_float32(boxes_a=boxes_a, boxes_b=boxes_b)
    a, b = contiguous("boxes_a", boxes_a), contiguous("boxes_b", boxes_b)
    out = empty((len(a), len(b)), a.dtype, a)
    grid = (blocks(len(b), 32), blocks(len(a), 8))
    NAIVE.launch("box_iou", grid, (32, 8), a, b, len(a), len(b), out)
    return out
