"""The compiled loops around `lanes`: tiles of a group's pixels against blocks of its filters.

Letters as in `geometry`.  A *tile* is some rows of one image in all channels of one group, with
the border of zeros.  It is sorted by the remainders of row and column modulo the stride: then the
pixels that a tap meets, for neighboring outputs, are neighbors in memory too.  Its rows lie one
after another without a gap, so that a vector of pixels runs on from one row into the next; what
comes out under the border's columns is not used.  A *block* is 4, 2 or 1 filters.

`x` and all scratch memory are flat arrays, addressed by offsets.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import numpy as np
from numba import njit, prange

from minimask.kernels.conv2d.cpu.compiled_loops import (
    SERIAL,
    add_rows,
    compiled,
    keep_positive,
    parallel,
)
from minimask.kernels.conv2d.cpu.lanes import (
    convolve_1x1,
    convolve_1x8,
    convolve_2x6,
    convolve_4x3,
    copy,
    copy_row,
    merge,
    split,
)

# a call hands on every array's shape and steps, which takes longer than a small plane does
inlined = njit(error_model="numpy", forceinline=True, **SERIAL)


@inlined
def clear(out):
    """Zeros."""
    for i in range(out.size):
        out[i] = 0


@inlined
def block_of(filters):
    """Filters of the next block, of so many that are left."""
    return 4 if filters >= 4 else 2 if filters >= 2 else 1


@inlined
def rows_of(band, bands, rows):
    """First row and number of rows of a band; all have nearly the same height, so equal work."""
    if bands == 1:
        return 0, rows
    first = band * rows // bands
    return first, (band + 1) * rows // bands - first


@inlined
def split_row(line, step, pitch, out, to, plane, lanes):
    """Number j of `line` to column j // step of plane j % step; the line has room behind it."""
    j = 0
    if step == 2:
        for j in range(0, pitch - lanes + 1, lanes):
            split(line, 2 * j, out, to + j, to + plane + j)
        if pitch >= lanes:  # the last vector overlaps the one before
            j = pitch - lanes
            split(line, 2 * j, out, to + j, to + plane + j)
            return
    for b in range(step):
        for j in range(pitch):
            out[to + b * plane + j] = line[j * step + b]


@inlined
def load_tile(
    x, x_shape, n, channels, first_row, again, border, step, plane_rows, pitch, line, out, lanes
):  # fmt: skip
    """Channels [channels) of image n, sorted: (channels, row % step, column % step, rows, pitch).

    `first_row`: of the padded image, a multiple of the step; `plane_rows` and `pitch`: rows and
    columns of each remainder; `again`: whether the image's edge may lie elsewhere than in the tile
    before.  `line` and `out` were cleared, and the border is left so; a negative one cuts off.
    """
    height, width, plane, at = x_shape[2], x_shape[3], plane_rows * pitch, 0
    left = max(border[1], 0)
    skip = left - border[1]
    inside = min(width - skip, pitch * step[1] - left)
    for c in range(channels[0], channels[1]):
        plane_at = (n * x_shape[1] + c) * height * width + skip
        for r in range(plane_rows * step[0]):
            to = at + r % step[0] * step[1] * plane + r // step[0] * pitch
            row = first_row + r - border[0]
            if row < 0 or row >= height:
                for b in range(step[1] if again else 0):
                    clear(out[to + b * plane : to + b * plane + pitch])
            elif step == (1, 1):  # zeros behind a row are overwritten by the next, or behind all
                copy_row(x, plane_at + row * width, out, to + left, inside)
            elif step[1] == 1:
                copy(x, plane_at + row * width, out, to + left, inside)
            else:
                copy_row(x, plane_at + row * width, line, left, inside)
                split_row(line, step[1], pitch, out, to, plane, lanes)
        at += step[0] * step[1] * plane


@inlined
def convolve_pixels(
    x, pixels, taps, first, end, weights, at, starts, starts_at, some, sums, to, out_step, lanes
):  # fmt: skip
    """sums[f, t] of a block of `some` filters at all pixels of a tile, under taps [first, end)."""
    count, t = end - first, 0
    if some == 4:
        while t < pixels:
            convolve_4x3(
                x, t, taps, first, count, weights, at + first * 4, starts, starts_at, sums, to + t,
                out_step,
            )  # fmt: skip
            t += 3 * lanes
    elif some == 2:
        while t < pixels:
            convolve_2x6(
                x, t, taps, first, count, weights, at + first * 2, starts, starts_at, sums, to + t,
                out_step,
            )  # fmt: skip
            t += 6 * lanes
    else:
        while t + 4 * lanes < pixels:
            convolve_1x8(
                x, t, taps, first, count, weights, at + first, starts, starts_at, sums, to + t,
                out_step,
            )  # fmt: skip
            t += 8 * lanes
        while t < pixels:
            convolve_1x1(
                x, t, taps, first, count, weights, at + first, starts, starts_at, sums, to + t,
                out_step,
            )  # fmt: skip
            t += lanes


@inlined
def store_rows(sums, at, pitch, rows, columns, y, to, residual, after, lanes):
    """Write a tile's rows of one filter to y, where they lie side by side.

    `after`: whether the residual is added, and whether a ReLU follows.
    """
    add, positive = after
    if positive and not add:
        keep_positive(sums[at : at + rows * pitch])
    whole = max(0, rows * columns - lanes) // columns
    for i in range(rows):
        if i < whole:  # what it writes too much belongs to the next row
            copy_row(sums, at + i * pitch, y, to + i * columns, columns)
        else:
            copy(sums, at + i * pitch, y, to + i * columns, columns)
    if add:
        add_rows(y, residual, to, 0, rows * columns, 1, positive)


@inlined
def store_apart(
    sums, phases, size, pitch, first_row, rows, y, plane_at, width, out_step, line, lanes
):  # fmt: skip
    """Write the rows of all phases of one filter to y, where a phase's pixels lie a step apart.

    `sums` holds one phase after another, of `size` numbers each; `line` has room for a row.
    """
    step = out_step[1]
    for f in range(0, phases.shape[0], step):
        some_rows = min(rows, phases[f, 2] - first_row)
        for i in range(some_rows):
            at = f * size + i * pitch
            if step == 2:
                for j in range(0, (width + 1) // 2, lanes):
                    merge(sums, at + j, at + size + j, line, 2 * j)
            else:
                for b in range(step):
                    for j in range(phases[f + b, 3]):
                        line[j * step + b] = sums[at + b * size + j]
            row = phases[f, 4] + (first_row + i) * out_step[0]
            copy(line, 0, y, plane_at + row * width, width)


@inlined
def pack_group(weight, steps, order, group, filters, packed):
    """One group's filters in blocks: for every tap the weights of the block's filters.

    `steps` are the distances in `weight` of two groups and of two filters.
    """
    k = 0
    while k < filters:
        some, at = block_of(filters - k), k * order.size
        source = weight[group * steps[0] + k * steps[1] :]
        for t in range(order.size):
            for f in range(some):
                packed[at + t * some + f] = source[f * steps[1] + order[t]]
        k += some


@inlined
def convolve_tile(
    tile, taps, phases, packed, starts, first_filter, filters, n, first_row, rows, pitch, y,
    y_shape, out_step, residual, after, lanes, size, line, sums,
):  # fmt: skip
    """All filters of one group at one tile: block by block, phase by phase, then written to y."""
    area, k = y_shape[2] * y_shape[3], 0
    while k < filters:
        some = block_of(filters - k)
        for f in range(phases.shape[0]):
            some_rows = min(rows, phases[f, 2] - first_row)
            pixels = (some_rows - 1) * pitch + phases[f, 3] if some_rows > 0 else 0
            convolve_pixels(
                tile, pixels, taps, phases[f, 0], phases[f, 1], packed, k * taps.size, starts,
                first_filter + k, some, sums, f * size, phases.shape[0] * size, lanes,
            )  # fmt: skip
        for f in range(some):
            at = f * phases.shape[0] * size
            plane_at = (n * y_shape[1] + first_filter + k + f) * area
            if phases.shape[0] == 1:
                to = plane_at + first_row * y_shape[3]
                store_rows(sums, at, pitch, rows, y_shape[3], y, to, residual, after, lanes)
            else:
                store_apart(
                    sums[at:], phases, size, pitch, first_row, rows, y, plane_at, y_shape[3],
                    out_step, line, lanes,
                )  # fmt: skip
        k += some


@compiled
def convolve_share(
    worker, x, x_shape, weight, steps, order, taps, phases, starts, y, y_shape, groups, tiling,
    border, in_step, out_step, residual, after, lanes, scratch,
):  # fmt: skip
    """What one worker does of `convolve`: its share of the tasks, in order."""
    tile_rows, grid_rows, plane_rows, pitch, tile_size, line_size, size = tiling
    filters, depth = y_shape[1] // groups, x_shape[1] // groups
    bands = (grid_rows + tile_rows - 1) // tile_rows
    images, workers = x_shape[0], scratch.shape[0]
    tasks = groups * images * bands
    first, end = worker * tasks // workers, (worker + 1) * tasks // workers
    tile, memory = scratch[worker, :tile_size], scratch[worker, tile_size:]
    line, memory = memory[:line_size], memory[line_size:]
    packed, sums = memory[: filters * order.size], memory[filters * order.size :]
    clear(scratch[worker, : tile_size + line_size])
    # counted on, since divisions would take as long as a small plane
    band, n, group = first % bands, first // bands % images, first // (bands * images)
    for task in range(first, end):
        if task == first or band + n == 0:
            pack_group(weight, steps, order, group, filters, packed)
        first_row, rows = rows_of(band, bands, grid_rows)
        load_tile(
            x, x_shape, n, (group * depth, (group + 1) * depth), first_row * in_step[0],
            bands > 1, border, in_step, plane_rows, pitch, line, tile, lanes,
        )  # fmt: skip
        convolve_tile(
            tile, taps, phases, packed, starts, group * filters, filters, n, first_row, rows,
            pitch, y, y_shape, out_step, residual, after, lanes, size, line, sums,
        )  # fmt: skip
        band += 1
        if band == bands:
            band, n = 0, n + 1
        if n == images:
            n, group = 0, group + 1


@parallel
def convolve(
    x, x_shape, weight, steps, order, taps, phases, starts, y, y_shape, groups, tiling, border,
    in_step, out_step, residual, after, lanes, scratch,
):  # fmt: skip
    """One task: one band of rows of one group in one image.

    `steps` as in `pack_group`, `order` and `phases` as in `plan`.  `tiling`: rows of a tile, most
    rows of any phase, rows and columns of a tile's planes, numbers in a tile, in a row, and of
    one filter's sums of one phase.
    """
    for worker in prange(scratch.shape[0]):
        convolve_share(
            np.int64(worker), x, x_shape, weight, steps, order, taps, phases, starts, y, y_shape,
            groups, tiling, border, in_step, out_step, residual, after, lanes, scratch,
        )  # fmt: skip
