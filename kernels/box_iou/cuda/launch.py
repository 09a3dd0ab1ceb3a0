"""Launches the CUDA C++ rungs.  Letters: A boxes in the first list, B in the second."""

from __future__ import annotations

import math
from typing import Any

from minimask.kernels.launch import blocks, contiguous, empty, program, require_float32

# the same rounding as the reference, as what is made of IoUs are decisions
NAIVE = program(__file__, "rung_1_naive.cu", fmad=False)
TILED = program(__file__, "rung_2_tiled.cu", fmad=False)

THREADS = 256  # of a block of TILED
ROWS = 512  # of A that fit into its shared memory, as in the file
ENOUGH = 2048  # blocks that fill the largest GPUs; more work goes into larger blocks


def box_iou_naive(boxes_a: Any, boxes_b: Any) -> Any:
    """(A, 4), (B, 4) -> (A, B)."""
    require_float32(boxes_a=boxes_a, boxes_b=boxes_b)
    a, b = contiguous("boxes_a", boxes_a), contiguous("boxes_b", boxes_b)
    out = empty((len(a), len(b)), a.dtype, a)
    grid = (blocks(len(b), 32), blocks(len(a), 8))
    NAIVE.launch("box_iou", grid, (32, 8), a, b, len(a), len(b), out)
    return out


def box_iou_tiled(boxes_a: Any, boxes_b: Any) -> Any:
    """(A, 4), (B, 4) -> (A, B)."""
    require_float32(boxes_a=boxes_a, boxes_b=boxes_b)
    a, b = contiguous("boxes_a", boxes_a), contiguous("boxes_b", boxes_b)
    out = empty((len(a), len(b)), a.dtype, a)
    if out.size:
        rows, step, quads = tile_of(len(a), len(b))
        threads = min(THREADS, 32 * blocks(quads, 32))
        grid = (blocks(len(a), rows), blocks(quads, threads))
        TILED.launch("box_iou", grid, threads, a, b, len(a), len(b), rows, step, quads, out)
    return out


def tile_of(count_a: int, count_b: int) -> tuple[int, int, int]:
    """How the tiled rung shares out an (A, B) result.

    Returns:
        The rows of a block; the rows its threads write at a time, whole periods; the quads in
        those.
    """
    common = math.gcd(count_b, 4)
    period, quads = 4 // common, count_b // common  # rows of a period, and quads in it
    together = max(1, min(THREADS // quads, ROWS // period))
    step = together * period
    work = blocks(count_a, step) * blocks(together * quads, THREADS)
    times = max(4, min(32, work // ENOUGH))
    return min(times, ROWS // step) * step, step, together * quads
