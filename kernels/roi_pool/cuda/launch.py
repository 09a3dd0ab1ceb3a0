"""Launches the forward rungs in CUDA C++.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH rows,
PW columns).
"""

from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, empty, program, require_float32

NAIVE = program(__file__, "forward_1_naive.cu")
COLUMNS = program(__file__, "forward_2_columns.cu")
SLICE = 32  # channels of a block of rung 2: so many share the work on a RoI's borders
COLUMNS_AT_ONCE = 2048  # of a RoI, kept in shared memory with their places: 16 KB
MOST_BINS = 512  # PH + PW of rung 2


def forward_naive(
    features: Any, rois: Any, *, size: tuple[int, int], scale: float
) -> tuple[Any, Any]:
    """(N, C, H, W), (R, 5) -> output and argmax, (R, C, PH, PW) each."""
    cells, boxes, out, argmax = _prepare(features, rois, size)
    sizes = (*features.shape, features.shape[2] * features.shape[3], out.size)
    grid = blocks(out.size, 256)
    NAIVE.launch("roi_pool_forward", grid, 256, cells, boxes, *sizes, *size, scale, out, argmax)
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
    COLUMNS.launch("roi_pool_forward", grid, 256, *arguments, shared=shared)
    return out, argmax


def _prepare(features: Any, rois: Any, size: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
    """Features and RoIs as the kernels take them, and arrays for the output and the argmax."""
    require_float32(features=features, rois=rois)
    shape = (len(rois), features.shape[1], *size)
    out, argmax = empty(shape, features.dtype, features), empty(shape, "int32", features)
    return contiguous("features", features), contiguous("rois", rois), out, argmax
