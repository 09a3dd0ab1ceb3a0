"""Where RoIAlign samples, for the Numba-CUDA rungs: what sampling.cuh is to the CUDA C++ ones.

Positions here are float32; sampling.cuh, which computes them in pairs of float32, says why that is
not quite enough on a large map.

Letters: P bins along an axis (p is one), n samples a bin (i is one).
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

from numba import float32, int64

from minimask.kernels.numba_cuda import SIMULATED, cuda, device

if SIMULATED:

    def multiply(a, b):
        """A * b, rounded by itself."""
        return a * b

else:  # a plain * before a - may become one instruction that rounds once, and moves the count
    multiply = cuda.libdevice.fmul_rn


@device
def image_of(rois, r, images):
    """The image of a RoI, or -1; nobody may have checked it, so it may be anything, also NaN."""
    image = rois[r, 0]
    return int64(image) if image >= float32(0) and image < float32(images) else int64(-1)


@device
def start_of(low, scale, aligned):
    """Where the first bin begins, in cells."""
    return multiply(low, scale) - (float32(0.5) if aligned else float32(0))


@device
def side_of(low, high, scale, aligned):
    """The length of all bins; NaN if an end of the RoI is not finite."""
    start = start_of(low, scale, aligned)
    side = start_of(high, scale, aligned) - start
    finite = start - start == float32(0) and side - side == float32(0)
    if finite and not aligned and side < float32(1):
        side = float32(1)
    return side if finite else float32(math.nan)


@device
def samples_of(side, bins, ratio):
    """How many samples a bin has; 0 for a side that is NaN, or none."""
    known = side if side == side else float32(0)
    count = int64(math.ceil(min(max(known / float32(bins), float32(0)), float32(1073741824))))
    if ratio > 0:
        count = int64(ratio)
    return count if side == side else int64(0)


@device
def sample_at(start, size, p, i, n):
    """The position of sample i of bin p."""
    return start + (float32(p) + (float32(i) + float32(0.5)) / float32(n)) * size


@device
def first_sample(start, size, p, n, low, high):
    """The first sample of bin p that may lie in [low, high]; a huge box must not cost its size."""
    if n <= 8 or size == float32(0):
        return int64(0)
    a = ((low - start) / size - float32(p)) * float32(n)
    b = ((high - start) / size - float32(p)) * float32(n)
    slack = float32(2) + float32(n) * float32(1e-5)
    return int64(min(max(min(a, b) - slack, float32(0)), float32(n)))


@device
def end_sample(start, size, p, n, low, high):
    """One past the last such sample."""
    if n <= 8 or size == float32(0):
        return n
    a = ((low - start) / size - float32(p)) * float32(n)
    b = ((high - start) / size - float32(p)) * float32(n)
    slack = float32(2) + float32(n) * float32(1e-5)
    return int64(min(max(max(a, b) + slack, float32(0)), float32(n)))


@device
def is_inside(position, length):
    """A sample counts up to one cell beyond the outermost centers; a NaN does not."""
    return position >= float32(-1) and position <= float32(length)


@device
def near_cell(position, length):
    """The cell at or before a position, which is first moved between the outermost centers."""
    return int64(min(max(position, float32(0)), float32(length - 1)))


@device
def part_of(position, length):
    """How far a position is from its near cell to the next, 0 to 1."""
    moved = min(max(position, float32(0)), float32(length - 1))
    return moved - float32(int64(moved))


@device
def cell_weight(start, size, p, n, length, cell):
    """What a cell weighs in bin p along one axis; -1 if no sample reads it."""
    weight = float32(-1)
    first = first_sample(start, size, p, n, float32(cell - 1), float32(cell + 1))
    end = end_sample(start, size, p, n, float32(cell - 1), float32(cell + 1))
    for i in range(first, end):
        position = sample_at(start, size, p, i, n)
        if is_inside(position, length):
            near, part = near_cell(position, length), part_of(position, length)
            if near == cell:
                weight = max(weight, float32(0)) + (float32(1) - part) / float32(n)
            if near + 1 == cell:
                weight = max(weight, float32(0)) + part / float32(n)
    return weight
