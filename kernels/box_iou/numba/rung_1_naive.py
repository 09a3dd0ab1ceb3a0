"""IoU of all pairs in Numba-CUDA: one thread a pair, twin of rung_1_naive.cu.

Letters: A boxes in the first list, B in the second.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, jit, launch


@jit
def box_iou_kernel(boxes_a, boxes_b, out):
    """One thread a pair; threads of a warp take neighbors in B, so that they write side by side."""
    j, i = cuda.grid(2)
    if i >= out.shape[0] or j >= out.shape[1]:
        return
    zero = float32(0)  # a plain 0 or 0.0 would make float64 of what it meets
    width = min(boxes_a[i, 2], boxes_b[j, 2]) - max(boxes_a[i, 0], boxes_b[j, 0])
    height = min(boxes_a[i, 3], boxes_b[j, 3]) - max(boxes_a[i, 1], boxes_b[j, 1])
    overlap = (width if width > zero else zero) * (height if height > zero else zero)
    area_a = (boxes_a[i, 2] - boxes_a[i, 0]) * (boxes_a[i, 3] - boxes_a[i, 1])
    area_b = (boxes_b[j, 2] - boxes_b[j, 0]) * (boxes_b[j, 3] - boxes_b[j, 1])
    union = area_a + area_b - overlap
    # an overlap implies two boxes with an inside, so that the union is not 0
    out[i, j] = overlap / union if overlap > zero and union > zero else zero


def box_iou(boxes_a: Any, boxes_b: Any) -> Any:
    """(A, 4), (B, 4) -> (A, B)."""
    require_float32(boxes_a=boxes_a, boxes_b=boxes_b)
    a, b = contiguous("boxes_a", boxes_a), contiguous("boxes_b", boxes_b)
    out = empty((len(a), len(b)), a.dtype, a)
    launch(box_iou_kernel, (blocks(len(b), 16), blocks(len(a), 4)), (16, 4), a, b, out)
    return out
