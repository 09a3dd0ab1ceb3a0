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
from numba import prange

from minimask.kernels.conv2d.cpu.compiled_loops import compiled, keep_positive, pad, parallel
from minimask.kernels.conv2d.cpu.lanes import (
    convolve_1x1,
    convolve_1x8,
    convolve_2x6,
    convolve_4x3,
    correlate_1x9,
    correlate_2x6,
    correlate_4x3,
)


@compiled
def clear(out):
    """Zeros."""
    for i in range(out.size):
        out[i] = 0


@compiled
def block_of(filters):
    """Filters of the next block, of so many that are left."""
    return 4 if filters >= 4 else 2 if filters >= 2 else 1


@compiled
def load_tile(x, x_shape, n, channels, first_row, border, step, plane_rows, pitch, line, out):
    """Channels [channels) of image n, sorted: (channels, row % step, column % step, rows, pitch).

    `first_row`: of the padded image, a multiple of the step; `plane_rows` and `pitch`: rows and
    columns of each remainder; `line`: room for one row.
    """
    plane, at = plane_rows * pitch, 0
    for c in range(channels[0], channels[1]):
        plane_at = (n * x_shape[1] + c) * x_shape[2] * x_shape[3]
        for r in range(plane_rows * step[0]):
            to = at + r % step[0] * step[1] * plane + r // step[0] * pitch
            if step[1] == 1:
                pad(x, x_shape, plane_at, first_row + r, 1, border, pitch, out, to)
                continue
            pad(x, x_shape, plane_at, first_row + r, 1, border, pitch * step[1], line, 0)
            if step[1] == 2:
                even, odd = out[to : to + pitch], out[to + plane : to + plane + pitch]
                for j in range(pitch):
                    even[j] = line[2 * j]
                    odd[j] = line[2 * j + 1]
                continue
            for b in range(step[1]):
                target = out[to + b * plane : to + b * plane + pitch]
                for j in range(pitch):
                    target[j] = line[j * step[1] + b]
        at += step[0] * step[1] * plane


@compiled
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


@compiled
def store_rows(sums, at, pitch, rows, columns, y, to, residual, after):
    """Write a tile's rows of one filter to y, where they lie side by side.

    `after`: whether the residual is added, and whether a ReLU follows.
    """
    add, positive = after
    for i in range(rows):
        source = sums[at + i * pitch : at + i * pitch + columns]
        target = y[to + i * columns : to + (i + 1) * columns]
        if add:
            other = residual[to + i * columns : to + (i + 1) * columns]
            for j in range(columns):
                target[j] = source[j] + other[j]
        else:
            for j in range(columns):
                target[j] = source[j]
        if positive:
            keep_positive(target)


@compiled
def store_apart(sums, phases, size, pitch, first_row, rows, y, plane_at, width, out_step):
    """Write the rows of all phases of one filter to y, where a phase's pixels lie a step apart.

    `sums` holds one phase after another, of `size` numbers each.
    """
    for f in range(0, phases.shape[0], out_step[1]):
        some_rows = min(rows, phases[f, 2] - first_row)
        for i in range(some_rows):
            row = plane_at + (phases[f, 4] + (first_row + i) * out_step[0]) * width
            target = y[row : row + width]
            if out_step[1] == 2:  # both columns at once, which the compiler makes vectors of
                even = sums[f * size + i * pitch : f * size + i * pitch + phases[f, 3]]
                odd = sums[(f + 1) * size + i * pitch : (f + 2) * size]
                for j in range(width // 2):
                    target[2 * j] = even[j]
                    target[2 * j + 1] = odd[j]
                if width % 2:
                    target[width - 1] = even[width // 2]
                continue
            for b in range(out_step[1]):
                source = sums[(f + b) * size + i * pitch : (f + b + 1) * size]
                for j in range(phases[f + b, 3]):
                    target[j * out_step[1] + b] = source[j]


@compiled
def pack_group(weight, steps, order, group, filters, packed):
    """One group's filters in blocks: for every tap the weights of the block's filters."""
    k = 0
    while k < filters:
        some = block_of(filters - k)
        at = (group * filters + k) * order.size
        source = group * steps[0] + k * steps[1]
        for t in range(order.size):
            for f in range(some):
                packed[at + t * some + f] = weight[source + f * steps[1] + order[t]]
        k += some


@parallel
def pack_filters(weight, steps, order, groups, filters, packed):
    """All groups' blocks, from weight[group, filter, order[tap]].

    `steps` are the distances in `weight` of two groups and of two filters.
    """
    for group in prange(groups):
        pack_group(weight, steps, order, np.int64(group), filters, packed)


@compiled
def convolve_tile(
    tile, taps, phases, packed, starts, group, filters, n, first_row, rows, pitch, y, y_shape,
    out_step, residual, after, lanes, size, sums,
):  # fmt: skip
    """All filters of one group at one tile: block by block, phase by phase, then written to y."""
    area, k = y_shape[2] * y_shape[3], 0
    while k < filters:
        some, channel = block_of(filters - k), group * filters + k
        for f in range(phases.shape[0]):
            some_rows = min(rows, phases[f, 2] - first_row)
            pixels = (some_rows - 1) * pitch + phases[f, 3] if some_rows > 0 else 0
            convolve_pixels(
                tile, pixels, taps, phases[f, 0], phases[f, 1], packed, channel * taps.size,
                starts, channel, some, sums, f * size, phases.shape[0] * size, lanes,
            )  # fmt: skip
        for f in range(some):
            at, plane_at = f * phases.shape[0] * size, (n * y_shape[1] + channel + f) * area
            if phases.shape[0] == 1:
                to = plane_at + first_row * y_shape[3]
                store_rows(sums, at, pitch, rows, y_shape[3], y, to, residual, after)
            else:
                store_apart(
                    sums[at:], phases, size, pitch, first_row, rows, y, plane_at, y_shape[3],
                    out_step,
                )  # fmt: skip
        k += some


@compiled
def convolve_share(
    worker, x, x_shape, packed, taps, phases, starts, y, y_shape, groups, tiling, border, in_step,
    out_step, residual, after, lanes, scratch,
):  # fmt: skip
    """What one worker does of `convolve`: its share of the tasks, in order."""
    tile_rows, grid_rows, plane_rows, pitch, tile_size, size = tiling
    filters, depth = y_shape[1] // groups, x_shape[1] // groups
    bands = (grid_rows + tile_rows - 1) // tile_rows
    tasks, workers = x_shape[0] * groups * bands, scratch.shape[0]
    tile, memory = scratch[worker, :tile_size], scratch[worker, tile_size:]
    for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
        band, group = task % bands, task // bands % groups
        first_row = band * grid_rows // bands  # bands of nearly equal height, so equal work
        rows = (band + 1) * grid_rows // bands - first_row
        n = task // (bands * groups)
        load_tile(
            x, x_shape, n, (group * depth, (group + 1) * depth), first_row * in_step[0], border,
            in_step, plane_rows, pitch, memory, tile,
        )  # fmt: skip
        convolve_tile(
            tile, taps, phases, packed, starts, group, filters, n, first_row, rows, pitch, y,
            y_shape, out_step, residual, after, lanes, size, memory,
        )  # fmt: skip


@parallel
def convolve(
    x, x_shape, packed, taps, phases, starts, y, y_shape, groups, tiling, border, in_step, out_step,
    residual, after, lanes, scratch,
):  # fmt: skip
    """One task: one band of rows of one group in one image.

    `phases` as in `plan`; `tiling`: rows of a tile, most rows of any phase, rows and columns of a
    tile's planes, numbers in a tile, numbers that one filter has in `scratch` for one phase.
    """
    for worker in prange(scratch.shape[0]):
        convolve_share(
            np.int64(worker), x, x_shape, packed, taps, phases, starts, y, y_shape, groups, tiling,
            border, in_step, out_step, residual, after, lanes, scratch,
        )  # fmt: skip


@compiled
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
    tile_rows, plane_rows, pitch, tile_size, size = tiling
    depth, share = x_shape[1] // groups, grad_shape[1] // groups
    out_h, out_w = grad_shape[2], grad_shape[3]
    row, some = taps.size, filters[1] - filters[0]
    tile, sums = memory[:tile_size], memory[tile_size : tile_size + some * row]
    flat = memory[tile_size + some * row :]
    clear(sums)
    bands = (out_h + tile_rows - 1) // tile_rows
    for n in range(grad_shape[0]):
        for band in range(bands):
            first_row = band * out_h // bands
            rows = (band + 1) * out_h // bands - first_row
            load_tile(
                x, x_shape, n, (group * depth, (group + 1) * depth), first_row * in_step[0],
                border, in_step, plane_rows, pitch, flat, tile,
            )  # fmt: skip
            clear(tile[depth * in_step[0] * in_step[1] * plane_rows * pitch :])
            for f in range(some):
                channel = group * share + filters[0] + f
                plane_at = (n * grad_shape[1] + channel) * out_h * out_w
                pad(grad, grad_shape, plane_at, first_row, rows, (0, 0), pitch, flat, f * size)
                clear(flat[f * size + rows * pitch : (f + 1) * size])
            pixels = (rows - 1) * pitch + out_w
            vectors = (pixels + lanes - 1) // lanes
            correlate_tile(tile, taps, inner, flat, size, vectors, some, sums, row)
    for f in range(some):
        to = (group * share + filters[0] + f) * inner
        dweight[to : to + inner] = sums[f * row : f * row + inner]


@compiled
def weights_share(
    worker, x, x_shape, grad, grad_shape, taps, inner, dweight, groups, parts, tiling, border,
    in_step, lanes, scratch,
):  # fmt: skip
    """What one worker does of `correlate_weights`: its share of the tasks, in order."""
    share = grad_shape[1] // groups
    tasks, workers = groups * parts, scratch.shape[0]
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

    `tiling`: rows of a tile, rows and columns of its planes, numbers in a tile, numbers that one
    filter's grad has in `scratch`.
    """
    for worker in prange(scratch.shape[0]):
        weights_share(
            np.int64(worker), x, x_shape, grad, grad_shape, taps, inner, dweight, groups, parts,
            tiling, border, in_step, lanes, scratch,
        )  # fmt: skip
