"""Launches the CUDA C++ rungs.

Every rung has two functions.  `nms_padded_...` never waits for the GPU: it fills as many indices
as asked for and leaves their count on the device.  `nms_...` returns exactly the kept ones, for
which the CPU has to know how many there are.

Letters: R boxes in T tiles of 64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minimask.kernels.launch import (
    array_module,
    blocks,
    contiguous,
    empty,
    program,
    require_float32,
    zeros,
)

# without fused multiply-add, so that an IoU at the threshold falls on the reference's side
ORDER = program(__file__, "order.cu", fmad=False)
NAIVE = program(__file__, "rung_1_naive.cu", fmad=False)
BITMASK = program(__file__, "rung_2_bitmask.cu", fmad=False)
BALLOT = program(__file__, "rung_3_ballot.cu", fmad=False)
GROUPED = program(__file__, "rung_4_grouped.cu", fmad=False)

TILE = 64  # boxes that one word of a mask speaks of
SMALL = 512  # boxes of a group that one block does alone, as in rung_4_grouped.cu
SMALL_BYTES = SMALL * 20 + 36 * TILE * 8 + 64  # of shared memory for it: boxes, areas, mask, kept
MOST_BLOCKS = 512  # that walk through groups

Padded = tuple[Any, Any]


def nms_padded_naive(
    boxes: Any, scores: Any, groups: Any = None, *, threshold: float, limit: int
) -> Padded:
    """(R, 4), (R,), (R,) -> (limit,) int64 padded with -1, and (1,) int32, how many are kept."""
    order, boxes, names = _by_score(boxes, scores, groups)
    count = len(order)
    kept = array_module(boxes).ones(count, "uint8")
    matrix = empty((count, count), "uint8", boxes)
    grid = (blocks(count, 32), blocks(count, 8))
    NAIVE.launch("nms_pairs", grid, (32, 8), boxes, names, count, threshold, matrix)
    NAIVE.launch("nms_scan", min(count, 1), _threads(count), matrix, count, kept)
    return _packed(kept, order, limit)


def nms_padded_bitmask(
    boxes: Any, scores: Any, groups: Any = None, *, threshold: float, limit: int
) -> Padded:
    """(R, 4), (R,), (R,) -> (limit,) int64 padded with -1, and (1,) int32, how many are kept."""
    order, boxes, names = _by_score(boxes, scores, groups)
    count = len(order)
    tiles = blocks(count, TILE)
    kept = zeros(count, "uint8", boxes)
    words = empty((count, tiles), "uint64", boxes)
    BITMASK.launch("nms_pairs", (tiles, tiles), TILE, boxes, names, count, threshold, words)
    BITMASK.launch("nms_scan", min(count, 1), 256, words, count, tiles, kept, shared=8 * tiles)
    return _packed(kept, order, limit)


def nms_padded_ballot(
    boxes: Any, scores: Any, groups: Any = None, *, threshold: float, limit: int
) -> Padded:
    """(R, 4), (R,), (R,) -> (limit,) int64 padded with -1, and (1,) int32, how many are kept."""
    order, boxes, names = _by_score(boxes, scores, groups)
    count = len(order)
    tiles = blocks(count, TILE)
    kept = zeros(count, "uint8", boxes)
    words = _triangle(tiles, boxes)
    grid = (blocks(tiles, 4), tiles)
    BALLOT.launch("nms_pairs", grid, 256, boxes, names, count, threshold, words)
    arguments = (words, count, limit, kept)
    BALLOT.launch("nms_scan", min(count, 1), _scanners(count), *arguments, shared=8 * tiles)
    return _packed(kept, order, limit)


def nms_padded_grouped(
    boxes: Any, scores: Any, groups: Any = None, *, threshold: float, limit: int
) -> Padded:
    """(R, 4), (R,), (R,) -> (limit,) int64 padded with -1, and (1,) int32, how many are kept."""
    order, boxes, names = _by_score(boxes, scores, groups)
    count = len(order)
    rank = array_module(boxes).arange(count)
    if groups is not None:
        rank = _argsort(groups[order])  # in their own type: the fewer bits, the fewer passes
        boxes, names = boxes[rank], names[rank]
    kept = zeros(count, "uint8", boxes)
    starts = empty(count + 1, "int32", boxes)
    ordinals, total = empty(count, "int32", boxes), empty(1, "int32", boxes)
    ORDER.launch("nms_find_groups", 1, _threads(count), names, count, starts, ordinals, total)
    tiles = blocks(count, TILE) if count > SMALL else 0  # where all groups are small: no mask
    words = _triangle(tiles, boxes)
    grid = (min(blocks(tiles, 4), 16), tiles)
    GROUPED.launch("nms_pairs", grid, 256, boxes, ordinals, starts, count, threshold, words)
    # how many groups there are is known on the device alone; a block without one ends at once
    walkers = min(blocks(count, 4), MOST_BLOCKS if groups is not None else 1)
    shared = max(8 * tiles, SMALL_BYTES)
    arguments = (boxes, starts, total, rank, words, threshold, limit, kept)
    GROUPED.launch("nms_scan", walkers, _scanners(count), *arguments, shared=shared)
    return _packed(kept, order, limit)


def nms_naive(boxes: Any, scores: Any, groups: Any = None, *, threshold: float) -> Any:
    """(R, 4), (R,), (R,) -> (kept,) int64, by falling score, ties by index."""
    return _exact(nms_padded_naive, boxes, scores, groups, threshold)


def nms_bitmask(boxes: Any, scores: Any, groups: Any = None, *, threshold: float) -> Any:
    """(R, 4), (R,), (R,) -> (kept,) int64, by falling score, ties by index."""
    return _exact(nms_padded_bitmask, boxes, scores, groups, threshold)


def nms_ballot(boxes: Any, scores: Any, groups: Any = None, *, threshold: float) -> Any:
    """(R, 4), (R,), (R,) -> (kept,) int64, by falling score, ties by index."""
    return _exact(nms_padded_ballot, boxes, scores, groups, threshold)


def nms_grouped(boxes: Any, scores: Any, groups: Any = None, *, threshold: float) -> Any:
    """(R, 4), (R,), (R,) -> (kept,) int64, by falling score, ties by index."""
    return _exact(nms_padded_grouped, boxes, scores, groups, threshold)


def _exact(
    padded: Callable[..., Padded], boxes: Any, scores: Any, groups: Any, threshold: float
) -> Any:
    indices, count = padded(boxes, scores, groups, threshold=threshold, limit=len(boxes))
    return indices[: count_to_host(count)]


def count_to_host(count: Any) -> int:
    """The one number in `count`.

    The one place of nms where the CPU waits for the GPU: an array's length must be known to it.
    """
    return int(count[0])


def _argsort(keys: Any) -> Any:
    return array_module(keys).argsort(keys, kind="stable")  # ties by index


def _by_score(boxes: Any, scores: Any, groups: Any) -> tuple[Any, Any, Any]:
    """The order by falling score; in this order the boxes, and of each the name of its group."""
    require_float32(boxes=boxes, scores=scores)
    scores = contiguous("scores", scores)
    keys = empty(len(scores), "int32", scores)
    ORDER.launch("nms_score_keys", blocks(len(scores), 256), 256, scores, len(scores), keys)
    order = _argsort(keys)
    boxes = array_module(boxes).ascontiguousarray(boxes[order])
    if groups is None:
        return order, boxes, zeros(len(order), "int64", scores)
    return order, boxes, groups[order].astype("int64", copy=False)


def _triangle(tiles: int, like: Any) -> Any:
    """Words for every pair of a tile and one not after it."""
    return empty(tiles * (tiles + 1) // 2 * TILE, "uint64", like)


def _threads(count: int) -> int:
    """Threads of the one block that walks over `count` boxes."""
    return 1024 if count > 2048 else 256


def _scanners(count: int) -> int:
    """Threads of a block that scans a mask: two tiles need few."""
    return 512 if count > 2 * TILE else 128


def _packed(kept: Any, order: Any, limit: int) -> Padded:
    """The first `limit` of `order` whose flag is set, then -1; how many there are."""
    indices, total = empty(limit, "int64", kept), empty(1, "int32", kept)
    count = len(order)
    ORDER.launch("nms_compact", 1, _threads(count), kept, order, count, limit, indices, total)
    return indices, total
