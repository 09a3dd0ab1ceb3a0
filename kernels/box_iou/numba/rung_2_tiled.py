"""IoU of all pairs in Numba-CUDA: a thread keeps a box of B, a block shares a tile of A.

As rung_2_tiled.cu, but for the writes of four values at once, which Numba does not have: a thread
owns one column, so that the threads of a warp write side by side.

Letters: A boxes in the first list, B in the second.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, jit, launch

THREADS = 64  # of a block, and rows of A in its tile


@jit
def box_iou_kernel(boxes_a, boxes_b, out):
    """A block owns 64 rows and 64 columns; one thread a column."""
    tile = cuda.shared.array((THREADS, 5), float32)  # x0 y0 x1 y1 and the area
    me = cuda.threadIdx.x
    first = cuda.blockIdx.y * THREADS
    if first + me < out.shape[0]:
        for k in range(4):
            tile[me, k] = boxes_a[first + me, k]
        tile[me, 4] = (tile[me, 2] - tile[me, 0]) * (tile[me, 3] - tile[me, 1])
    cuda.syncthreads()
    j = cuda.grid(1)
    if j >= out.shape[1]:
        return
    zero = float32(0)  # a plain 0 or 0.0 would make float64 of what it meets
    x0, y0, x1, y1 = boxes_b[j, 0], boxes_b[j, 1], boxes_b[j, 2], boxes_b[j, 3]
    area = (x1 - x0) * (y1 - y0)
    for i in range(min(THREADS, out.shape[0] - first)):
        width = min(tile[i, 2], x1) - max(tile[i, 0], x0)
        height = min(tile[i, 3], y1) - max(tile[i, 1], y0)
        overlap = (width if width > zero else zero) * (height if height > zero else zero)
        union = tile[i, 4] + area - overlap
        # an overlap implies two boxes with an inside, so that the union is not 0
        out[first + i, j] = overlap / union if overlap > zero and union > zero else zero


def box_iou(boxes_a: Any, boxes_b: Any) -> Any:
    """(A, 4), (B, 4) -> (A, B)."""
    require_float32(boxes_a=boxes_a, boxes_b=boxes_b)
    a, b = contiguous("boxes_a", boxes_a), contiguous("boxes_b", boxes_b)
    out = empty((len(a), len(b)), a.dtype, a)
    launch(box_iou_kernel, (blocks(len(b), THREADS), blocks(len(a), THREADS)), THREADS, a, b, out)
    return out
