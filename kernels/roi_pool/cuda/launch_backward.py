"""Launches the backward rungs in CUDA C++.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, empty, program, require_float32, zeros

ATOMIC = program(__file__, "backward_1_atomic.cu")
GATHER = program(__file__, "backward_2_gather.cu")
TILE = 6144  # cells that a block of rung 2 holds, as its file says


def backward_atomic(grad: Any, rois: Any, argmax: Any, *, shape: tuple[int, int, int, int]) -> Any:
    """(R, C, PH, PW), (R, 5), (R, C, PH, PW) -> (N, C, H, W); atomics: the order of sums varies."""
    values, boxes, winners = _gradients(grad, rois, argmax)
    dx = zeros(shape, grad.dtype, grad)
    sizes = (*shape[:2], shape[2] * shape[3], grad.size, grad.shape[2] * grad.shape[3])
    grid = blocks(grad.size, 256)
    ATOMIC.launch("roi_pool_backward", grid, 256, values, boxes, winners, *sizes, dx)
    return dx


def backward_gather(grad: Any, rois: Any, argmax: Any, *, shape: tuple[int, int, int, int]) -> Any:
    """As `backward_atomic`, but the same bit for bit in every run."""
    values, boxes, winners = _gradients(grad, rois, argmax)
    dx = empty(shape, grad.dtype, grad)
    pixels = shape[2] * shape[3]
    tiles = blocks(pixels, TILE)
    sizes = (*shape[:2], pixels, grad.shape[2] * grad.shape[3], blocks(pixels, tiles), tiles)
    grid = shape[0] * shape[1] * tiles
    GATHER.launch("roi_pool_backward", grid, 256, values, boxes, winners, len(rois), *sizes, dx)
    return dx


def _gradients(grad: Any, rois: Any, argmax: Any) -> tuple[Any, Any, Any]:
    require_float32(grad=grad, rois=rois)
    winners = contiguous("argmax", argmax.astype("int32", copy=False))
    return contiguous("grad", grad), contiguous("rois", rois), winners
