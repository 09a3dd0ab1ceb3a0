"""How the blocks of a forward pass divide the work.

Letters: C channels, R regions of interest, P pooled size (PH rows, PW columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from minimask.kernels.launch import MOST_SHARED, blocks

Pair = tuple[int, int]
STAGE = 26 * 1024  # bytes of shared memory for a block's output: several blocks fit on a core
MOST_THREADS = 224  # seven warps: one for each row of 7 x 7 bins
SPARE_TAPS = 6  # as in taps.cuh


class Plan(NamedTuple):
    """The shape of a launch; see channels.cuh."""

    lanes: int  # threads that share a cell, each with `width` channels
    rows: int  # of bins, for a block
    run: int  # bins of a row that one group of lanes makes
    threads: int
    grid: tuple[int, int, int]
    shared: int  # bytes: the staged output, and the lists of taps


def make_plan(
    shape: Sequence[int], size: Pair, width: int, itemsize: int, taps: Pair | None = None
) -> Plan | None:
    """Blocks for (R, C) outputs of PH x PW bins; None if a block's work does not fit.

    Args:
        shape: (R, C).
        size: (PH, PW).
        width: channels of a thread.
        itemsize: bytes of an output.
        taps: cells of the map along each axis, if the block keeps lists of them.
    """
    lanes = 1
    while lanes < 32 and lanes * width < shape[1]:
        lanes *= 2
    while True:  # rather fewer channels than few rows of bins, but whole lines: 8 lanes
        rows = min(size[0], (STAGE // itemsize - lanes) // (lanes * width * size[1]))
        if lanes == 1 or rows >= (min(size[0], 7) if lanes > 8 else 1):
            break
        lanes //= 2
    rows = max(rows, 1)
    run = size[1]
    while run > 1 and rows * blocks(size[1], run) * lanes < 128:
        run = blocks(run, 2)
    units = rows * blocks(size[1], run)
    grid = (shape[0], blocks(shape[1], lanes * width), blocks(size[0], rows))
    shared = lanes * (width * rows * size[1] | 1) * itemsize
    if taps is not None:
        shared += taps_bytes(taps, rows, size[1])
    if shared > MOST_SHARED:
        return None
    return Plan(lanes, rows, run, min(MOST_THREADS, 32 * blocks(units * lanes, 32)), grid, shared)


def taps_bytes(lengths: Pair, rows: int, columns: int) -> int:
    """Shared memory for the lists of `rows` and `columns` bins on a map of these sides."""
    taps = lengths[0] + lengths[1] + SPARE_TAPS * (rows + columns)
    return 8 * taps + 8 * (rows + columns)


def widest_load(channels: int, widest: int) -> int:
    """Channels of a thread: `widest`, if that divides them all, so that loads are aligned."""
    return widest if channels % widest == 0 else 1
