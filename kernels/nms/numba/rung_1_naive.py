"""nms in Numba-CUDA: all pairs into a matrix, then one block walks down the scores.

As rung_1_naive.cu, which says more, but a thread owns a column of the matrix, as the simulator
needs a Python thread for each.  Letters: R boxes.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import boolean, float32

from minimask.kernels.launch import array_module, blocks, empty, require_float32, zeros
from minimask.kernels.numba_cuda import cuda, device, jit, launch


@device
def suppresses(a, b, threshold):
    """Whether the IoU of boxes a and b is greater than the threshold."""
    zero = float32(0)  # a plain 0 or 0.0 would make float64 of what it meets
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = (width if width > zero else zero) * (height if height > zero else zero)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    # an overlap implies two boxes with an inside, so that the union is not 0
    return overlap > zero and union > zero and overlap / union > threshold


@jit
def nms_pairs_kernel(boxes, groups, threshold, matrix):
    """One thread a column: whether a box is suppressed by each that comes before it."""
    j = cuda.grid(1)
    if j < matrix.shape[1]:
        for i in range(j):
            matrix[i, j] = groups[i] == groups[j] and suppresses(boxes[i], boxes[j], threshold)


@jit
def nms_scan_kernel(matrix, kept):
    """One block; all threads cross out what a kept box suppresses, then wait for each other."""
    count = kept.shape[0]
    for i in range(count):
        if kept[i]:
            for j in range(i + 1 + cuda.threadIdx.x, count, cuda.blockDim.x):
                if matrix[i, j]:
                    kept[j] = boolean(False)
        cuda.syncthreads()


def by_score(boxes: Any, scores: Any, groups: Any) -> tuple[Any, Any, Any]:
    """The order by falling score; in this order the boxes, and of each the name of its group."""
    require_float32(boxes=boxes, scores=scores)
    xp = array_module(scores)
    nan = xp.isnan(scores)
    keys = xp.stack([xp.where(nan, float32(0), -scores), nan.astype("float32")])
    order = xp.lexsort(keys)  # by the last row first; ties by index
    names = zeros(len(order), "int64", scores) if groups is None else groups[order].astype("int64")
    return order, boxes[order], names


def nms(boxes: Any, scores: Any, groups: Any = None, *, threshold: float) -> Any:
    """(R, 4), (R,), (R,) -> (kept,) int64, by falling score, ties by index."""
    order, boxes, names = by_score(boxes, scores, groups)
    count = len(order)
    matrix = empty((count, count), "bool", boxes)
    kept = ~zeros(count, "bool", boxes)
    launch(nms_pairs_kernel, blocks(count, 64), 64, boxes, names, float32(threshold), matrix)
    launch(nms_scan_kernel, min(count, 1), 64, matrix, kept)
    return order[kept]
