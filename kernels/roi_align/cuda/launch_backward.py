"""Launches the backward rungs in CUDA C++.

Letters: N images, C channels, H W height and width, L levels, R regions of interest, P pooled size
(PH rows, PW columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask.kernels.checks import Shape
from minimask.kernels.launch import (
    MOST_SHARED,
    blocks,
    contiguous,
    empty,
    program,
    require_float32,
    zeros,
)
from minimask.kernels.roi_align.cuda.launch import CHANNELS_LAST
from minimask.kernels.roi_align.cuda.launch_levels import level_arguments
from minimask.kernels.roi_align.cuda.plan import STAGE, taps_bytes

ATOMIC = program(__file__, "backward_1_atomic.cu")
MERGED = program(__file__, "backward_2_merged.cu")
GATHER = program(__file__, "backward_3_gather.cu")

TILE, CHANNELS, PITCH, WEIGHTS = 16, 32, 36, 20  # as in backward_3_gather.cu


def backward_atomic(
    grad: Any, rois: Any, *, shape: Shape, scale: float, ratio: int, aligned: bool
) -> Any:
    """(R, C, PH, PW), (R, 5) -> (N, C, H, W); the order of summation changes from run to run."""
    require_float32(grad=grad, rois=rois)
    grad, rois = contiguous("grad", grad), contiguous("rois", rois)
    out = zeros(shape, np.float32, grad)
    options = (*shape, *grad.shape[2:], scale, ratio, aligned)
    ATOMIC.launch(
        "roi_align_backward", blocks(grad.size, 256), 256, grad, rois, grad.size, *options, out
    )
    return out


def channels_first(features: Any) -> Any:
    """(N, H, W, C) -> (N, C, H, W), copied in this order."""
    images, height, width, channels = features.shape
    out = empty((images, channels, height, width), features.dtype, features)
    grid = (blocks(channels, 32), blocks(height * width, 32), images)
    CHANNELS_LAST.launch(
        "roi_align_transpose", grid, (32, 8), features, height * width, channels, out
    )
    return out


def backward_merged(
    grad: Any, rois: Any, *, shape: Shape, scale: float, ratio: int, aligned: bool
) -> Any:
    """(R, C, PH, PW), (R, 5) -> (N, C, H, W); the order of summation changes from run to run."""
    require_float32(grad=grad, rois=rois)
    images, channels, height, width = shape
    bins_y, bins_x = grad.shape[2:]
    rows = min(bins_y, max(1, STAGE // (33 * 4 * bins_x)))
    shared = 33 * 4 * rows * bins_x + taps_bytes((height, width), rows, bins_x)
    if shared > MOST_SHARED:
        return backward_atomic(grad, rois, shape=shape, scale=scale, ratio=ratio, aligned=aligned)
    grad, rois = contiguous("grad", grad), contiguous("rois", rois)
    out = zeros((images, height, width, channels), np.float32, grad)
    grid = (len(rois), blocks(channels, 32), blocks(bins_y, rows))
    numbers = (*shape, bins_y, bins_x, scale, ratio, aligned, rows)
    MERGED.launch("roi_align_backward", grid, 256, grad, rois, *numbers, out, shared=shared)
    return channels_first(out)


def backward_gather(
    grad: Any, rois: Any, *, shape: Shape, scale: float, ratio: int, aligned: bool
) -> Any:
    """(R, C, PH, PW), (R, 5) -> (N, C, H, W), the same bits in every run."""
    if _batches(*grad.shape[2:]) is None:
        return backward_atomic(grad, rois, shape=shape, scale=scale, ratio=ratio, aligned=aligned)
    levels = zeros(len(rois), np.int64, rois)
    options: dict[str, Any] = {
        "shapes": (shape,),
        "scales": (scale,),
        "ratio": ratio,
        "aligned": aligned,
    }
    return backward_pyramid_gather(grad, rois, levels, **options)[0]


def backward_pyramid_gather(
    grad: Any,
    rois: Any,
    levels: Any,
    *,
    shapes: Sequence[Shape],
    scales: Sequence[float],
    ratio: int,
    aligned: bool,
) -> tuple[Any, ...]:
    """(R, C, PH, PW), (R, 5), (R,) -> L times (N, C, H, W), the same bits in every run."""
    require_float32(grad=grad, rois=rois)
    grad, rois = contiguous("grad", grad), contiguous("rois", rois)
    bins_y, bins_x = grad.shape[2:]
    batches = _batches(bins_y, bins_x)
    if batches is None:
        raise ValueError(
            f"grad: rows of {bins_x} bins do not fit in a block's shared memory; use "
            "roi_align_backward level by level"
        )
    rows, batch, shared = batches
    out = tuple(empty(shape, np.float32, grad) for shape in shapes)
    images, channels = shapes[0][:2]
    tiles = sum(blocks(h, TILE) * blocks(w, TILE) for *_, h, w in shapes) * images
    pyramid = level_arguments(out, [shape[2:] for shape in shapes], scales)
    numbers = (len(rois), images, channels, bins_y, bins_x, ratio, aligned, rows, batch)
    arrays = (grad, rois, contiguous("levels", levels))
    grid = (tiles, blocks(channels, CHANNELS))
    GATHER.launch(
        "roi_align_backward", grid, TILE * CHANNELS // 4, *pyramid, *arrays, *numbers, shared=shared
    )
    return out


def _batches(bins_y: int, bins_x: int) -> tuple[int, int, int] | None:
    """Rows of bins of an entry, entries in shared memory and their bytes, as in rung 3's file."""
    most = MOST_SHARED - 4 * 1024  # the list of RoIs is beside it
    row, column = 4 * (bins_x * PITCH + WEIGHTS), 4 * bins_x * WEIGHTS
    rows = min(bins_y, (most - column) // row)
    if rows < 1:
        return None
    entry = rows * row + column
    batch = max(1, min(8, 32 * 1024 // entry))
    return rows, batch, batch * entry
