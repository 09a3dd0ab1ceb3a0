"""Launches the CUDA C++ rungs.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, empty, program, require_float32, zeros

NAIVE = program(__file__, "forward_1_naive.cu")
COLUMNS = program(__file__, "forward_2_columns.cu")
OWNER = program(__file__, "backward_2_gather.cu")
SLICE = 32  # channels of a block of rung 2: so many share the work on a RoI's borders
COLUMNS_AT_ONCE = 2048  # of a RoI, kept in shared memory with their places: 16 KB
MOST_BINS = 512  # PH + PW of rung 2
TILE = 6144  # cells that a block of rung 3 holds, as its file says


def forward_naive(
    features: Any, rois: Any, *, size: tuple[int, int], scale: float
) -> tuple[Any, Any]:
    """(N, C, H, W), (R, 5) -> output and argmax, (R, C, PH, PW) each."""
    cells, boxes, out, argmax = _prepare(features, rois, size)
    sizes = (*features.shape, features.shape[2] * features.shape[3], out.size)
    grid = blocks(out.size, 256)
    NAIVE.launch("roi_pool", grid, 256, cells, boxes, *sizes, *size, scale, out, argmax)
    return out, argmax


def forward_columns(
    features: Any, rois: Any, *, size: tuple[int, int], scale: float
) -> tuple[Any, Any]:
    """As `forward_naive`, which runs where there are more bins than fit shared memory."""
    if sum(size) > MOST_BINS:
        return forward_naive(features, rois, size=size, scale=scale)
    cells, boxes, out, argmax = _prepare(features, rois, size)
    channels = features.shape[1]
    slices = blocks(channels, SLICE)
    sizes = (*features.shape, features.shape[2] * features.shape[3], *size)
    options = (scale, SLICE, slices, COLUMNS_AT_ONCE)
    shared = 8 * (sum(size) + COLUMNS_AT_ONCE)
    grid = len(rois) * slices
    arguments = (cells, boxes, *sizes, *options, out, argmax)
    COLUMNS.launch("roi_pool", grid, 256, *arguments, shared=shared)
    return out, argmax


def backward_naive(grad: Any, rois: Any, argmax: Any, *, shape: tuple[int, int, int, int]) -> Any:
    """(R, C, PH, PW), (R, 5), (R, C, PH, PW) -> (N, C, H, W); atomics: the order of sums varies."""
    values, boxes, winners = _gradients(grad, rois, argmax)
    dx = zeros(shape, grad.dtype, grad)
    sizes = (*shape[:2], shape[2] * shape[3], grad.size, grad.shape[2] * grad.shape[3])
    grid = blocks(grad.size, 256)
    NAIVE.launch("roi_pool_backward", grid, 256, values, boxes, winners, *sizes, dx)
    return dx


def backward_owner(grad: Any, rois: Any, argmax: Any, *, shape: tuple[int, int, int, int]) -> Any:
    """As `backward_naive`, but the same bit for bit in every run."""
    values, boxes, winners = _gradients(grad, rois, argmax)
    dx = empty(shape, grad.dtype, grad)
    pixels = shape[2] * shape[3]
    tiles = blocks(pixels, TILE)
    sizes = (*shape[:2], pixels, grad.shape[2] * grad.shape[3], blocks(pixels, tiles), tiles)
    grid = shape[0] * shape[1] * tiles
    OWNER.launch("roi_pool_backward", grid, 256, values, boxes, winners, len(rois), *sizes, dx)
    return dx


def _prepare(features: Any, rois: Any, size: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
    """Features and RoIs as the kernels take them, and arrays for the output and the argmax."""
    require_float32(features=features, rois=rois)
    shape = (len(rois), features.shape[1], *size)
    out, argmax = empty(shape, features.dtype, features), empty(shape, "int32", features)
    return contiguous("features", features), contiguous("rois", rois), out, argmax


def _gradients(grad: Any, rois: Any, argmax: Any) -> tuple[Any, Any, Any]:
    require_float32(grad=grad, rois=rois)
    winners = contiguous("argmax", argmax.astype("int32", copy=False))
    return contiguous("grad", grad), contiguous("rois", rois), winners
