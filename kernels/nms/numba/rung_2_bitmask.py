"""nms in Numba-CUDA: the matrix as bits, half of it, and 64 boxes between two barriers.

The twin of rung_2_bitmask.cu, which says more.  Letters: R boxes in T tiles of 64.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import boolean, float32, int64, uint64

from minimask.kernels.launch import blocks, empty, zeros
from minimask.kernels.nms.numba.rung_1_naive import by_score, suppresses
from minimask.kernels.numba_cuda import cuda, jit, launch

TILE = 64  # boxes that one word of the mask speaks of
THREADS = 64


@jit
def nms_pairs_kernel(boxes, groups, threshold, words):
    """A block owns 64 x 64 pairs, a thread a row: 64 answers, the bits of one word."""
    tile = cuda.shared.array((TILE, 4), float32)
    names = cuda.shared.array(TILE, int64)
    column, row, me = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    if column < row:  # a box matters only to those after it
        return
    count = boxes.shape[0]
    j, i = column * TILE + me, row * TILE + me
    if j < count:
        for k in range(4):
            tile[me, k] = boxes[j, k]
        names[me] = groups[j]
    cuda.syncthreads()
    if i >= count:
        return
    bits = uint64(0)  # with a signed number, Numba would make a float64 of it
    for k in range(me + 1 if column == row else 0, min(TILE, count - column * TILE)):
        if names[k] == groups[i] and suppresses(boxes[i], tile[k], threshold):
            bits |= uint64(1) << uint64(k)
    words[i, column] = bits


@jit
def nms_scan_kernel(words, gone, kept):
    """One block; thread w owns words w, w + 64, ... of `gone`, and follows the present tile's."""
    count, tiles = words.shape
    for tile in range(tiles):
        cuda.syncthreads()  # the words that earlier tiles have changed are written
        lost = gone[tile]
        for k in range(min(TILE, count - tile * TILE)):
            i = tile * TILE + k
            keep = (lost >> uint64(k)) & uint64(1) == uint64(0)
            if cuda.threadIdx.x == 0:
                kept[i] = boolean(keep)
            if keep:  # the same for all threads
                lost |= words[i, tile]
                for w in range(tile + 1 + cuda.threadIdx.x, tiles, cuda.blockDim.x):
                    gone[w] |= words[i, w]


def nms(boxes: Any, scores: Any, groups: Any = None, *, threshold: float) -> Any:
    """(R, 4), (R,), (R,) -> (kept,) int64, by falling score, ties by index."""
    order, boxes, names = by_score(boxes, scores, groups)
    count, tiles = len(order), blocks(len(order), TILE)
    words, gone = empty((count, tiles), "uint64", boxes), zeros(tiles, "uint64", boxes)
    kept = empty(count, "bool", boxes)
    launch(nms_pairs_kernel, (tiles, tiles), THREADS, boxes, names, float32(threshold), words)
    launch(nms_scan_kernel, min(count, 1), THREADS, words, gone, kept)
    return order[kept]
