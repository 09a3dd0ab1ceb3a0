"""The compiled loops of the weight gradient around `lanes`: tiles and blocks as in `grouped_loops`.

`x` and all scratch memory are flat arrays, addressed by offsets.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import numpy as np
from numba import prange

from minimask.kernels.conv2d.cpu.compiled_loops import compiled, parallel
from minimask.kernels.conv2d.cpu.grouped_loops import block_of, clear, inlined, load_tile, rows_of
from minimask.kernels.conv2d.cpu.lanes import (
    copy,
    copy_row,
    correlate_1x9,
    correlate_2x6,
    correlate_4x3,
)


@inlined
def correlate_tile(tile, taps, inner, grad, grad_step, vectors, filters, sums, row):
    """sums[f, s] += the products of all filters' grads and all taps' pixels in one tile."""
    k = 0
    while k < filters:
        some, at = block_of(filters - k), k * grad_step
        if some == 4:
            for s in range(0, inner, 3):
                correlate_4x3(
                    tile, 0, taps, s, grad, at, grad_step, vectors, sums, k * row + s, row
                )
        elif some == 2:
            for s in range(0, inner, 6):
                correlate_2x6(
                    tile, 0, taps, s, grad, at, grad_step, vectors, sums, k * row + s, row
                )
        else:
            for s in range(0, inner, 9):
                correlate_1x9(
                    tile, 0, taps, s, grad, at, grad_step, vectors, sums, k * row + s, row
                )
        k += some


@compiled
def weights_task(
    group, filters, x, x_shape, grad, grad_shape, taps, inner, dweight, groups, tiling, border,
    in_step, lanes, memory,
):  # fmt: skip
    """The weight gradient of filters [filters) of a group, added up tile by tile."""
    tile_rows, plane_rows, pitch, tile_size, line_size, size = tiling
    depth, share = x_shape[1] // groups, grad_shape[1] // groups
    out_h, out_w = grad_shape[2], grad_shape[3]
    row, some = taps.size, filters[1] - filters[0]
    tile, memory = memory[:tile_size], memory[tile_size:]
    line, memory = memory[:line_size], memory[line_size:]
    flat, sums = memory[: some * size], memory[some * size : some * (size + row)]
    clear(sums)
    bands = (out_h + tile_rows - 1) // tile_rows
    for n in range(grad_shape[0]):
        for band in range(bands):
            first_row, rows = rows_of(band, bands, out_h)
            load_tile(
                x, x_shape, n, (group * depth, (group + 1) * depth), first_row * in_step[0],
                bands > 1, border, in_step, plane_rows, pitch, line, tile, lanes,
            )  # fmt: skip
            for f in range(some):
                channel = n * grad_shape[1] + group * share + filters[0] + f
                at = (channel * out_h + first_row) * out_w
                for i in range(rows):
                    copy_row(grad, at + i * out_w, flat, f * size + i * pitch, out_w)
                clear(flat[f * size + rows * pitch : f * size + tile_rows * pitch])
            pixels = (rows - 1) * pitch + out_w
            vectors = (pixels + lanes - 1) // lanes
            correlate_tile(tile, taps, inner, flat, size, vectors, some, sums, row)
    for f in range(some):
        copy(sums, f * row, dweight, (group * share + filters[0] + f) * inner, inner)


@compiled
def weights_share(
    worker, x, x_shape, grad, grad_shape, taps, inner, dweight, groups, parts, tiling, border,
    in_step, lanes, scratch,
):  # fmt: skip
    """What one worker does of `correlate_weights`: its share of the tasks, in order."""
    share = grad_shape[1] // groups
    tasks, workers = groups * parts, scratch.shape[0]
    clear(scratch[worker])  # zeros: what lies between the rows, and behind them
    for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
        group, part = task // parts, task % parts
        filters = (part * share // parts, (part + 1) * share // parts)
        weights_task(
            group, filters, x, x_shape, grad, grad_shape, taps, inner, dweight, groups, tiling,
            border, in_step, lanes, scratch[worker],
        )  # fmt: skip


@parallel
def correlate_weights(
    x, x_shape, grad, grad_shape, taps, inner, dweight, groups, parts, tiling, border, in_step,
    lanes, scratch,
):  # fmt: skip
    """One task: some filters of one group; it visits all tiles in order and adds up their share.

    `tiling`: rows of a tile, rows and columns of its planes, numbers in a tile, in a row, and of
    one filter's grad.
    """
    for worker in prange(scratch.shape[0]):
        weights_share(
            np.int64(worker), x, x_shape, grad, grad_shape, taps, inner, dweight, groups, parts,
            tiling, border, in_step, lanes, scratch,
        )  # fmt: skip
