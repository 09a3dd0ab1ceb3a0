"""RoIPool, backward, in Numba-CUDA, twin of backward_2_gather.cu: a block owns a tile of a plane.

Bins that share a winner add in rounds, the earliest first.  Simpler than its twin: a thread has
one bin at a time, and there is no other way for what many rounds leave.

Letters: C channels, R regions of interest (RoIs), a plane is one channel of one image.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32, int32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, jit, launch
from minimask.kernels.roi_pool.numba.forward_1_naive import image_of

THREADS = 64
TILE = 512  # cells


@jit
def roi_pool_backward_kernel(grad, rois, argmax, dx):
    """grad, argmax (R, C, bins), dx (N, C, cells); block (tile, channel, image)."""
    total = cuda.shared.array(TILE, float32)
    bids = cuda.shared.array(THREADS, int32)  # the best bid for each cell modulo THREADS
    k, channel, image = cuda.threadIdx.x, cuda.blockIdx.y, cuda.blockIdx.z
    start = cuda.blockIdx.x * TILE
    size = min(TILE, dx.shape[2] - start)
    for i in range(k, size, THREADS):
        total[i] = float32(0)
    bins = grad.shape[2]
    for chunk in range(0, grad.shape[0] * bins, THREADS):
        r, b = (chunk + k) // bins, (chunk + k) % bins
        cell, value = -1, float32(0)
        if r < grad.shape[0] and image_of(rois, r, dx.shape[0]) == image:
            own = argmax[r, channel, b] - start
            if own >= 0 and own < size:
                cell, value = own, grad[r, channel, b]
        bids[k] = -1
        bid = THREADS - 1 - k  # earlier bins bid more, and every round more than the one before
        while cuda.syncthreads_count(int32(cell >= 0)) > 0:
            if cell >= 0:
                cuda.atomic.max(bids, cell % THREADS, bid)
            cuda.syncthreads()
            if cell >= 0 and bids[cell % THREADS] == bid:
                total[cell] += value
                cell = -1
            bid += THREADS
    cuda.syncthreads()
    for i in range(k, size, THREADS):
        dx[image, channel, start + i] = total[i]


def backward(grad: Any, rois: Any, argmax: Any, *, shape: tuple[int, int, int, int]) -> Any:
    """(R, C, PH, PW), (R, 5), (R, C, PH, PW) -> (N, C, H, W), the same bits in every run."""
    require_float32(grad=grad, rois=rois)
    dx = empty(shape, grad.dtype, grad)
    flat = (*grad.shape[:2], grad.shape[2] * grad.shape[3])
    values = contiguous("grad", grad).reshape(flat)
    winners = contiguous("argmax", argmax.astype("int32", copy=False)).reshape(flat)
    target = dx.reshape(*shape[:2], shape[2] * shape[3])
    grid = (blocks(target.shape[2], TILE), shape[1], shape[0])
    launch(
        roi_pool_backward_kernel, grid, THREADS, values, contiguous("rois", rois), winners, target
    )
    return dx
