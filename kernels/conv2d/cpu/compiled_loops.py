"""The compiled loops around `registers.multiply`: tiles of pixels against panels of filters.

Letters as in `geometry`.  A *tile* is some rows of one image's output, or some small images whole;
a *panel* is as many filters as two vector registers hold numbers.  `lanes` is half of that.  A
*tap* is one (channel, row, column) of the window, as an offset into the padded pixels of a tile.

`x` and all scratch memory are flat arrays, addressed by offsets.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from minimask.kernels.conv2d.cpu.registers import multiply_1, multiply_2
from minimask.kernels.vectors import ROWS, transpose_block

# Taps of a panel that are used on all pixels of a tile before the next ones are touched: they stay
# in the second-level cache meanwhile.
TAPS_AT_ONCE = 512
SUMS = {"reassoc", "contract", "nsz"}

# What one worker does is compiled apart from the parallel loop around it, which compiles slowly.
# (The loop's own counter is unsigned: `np.int64` of it saves a second compilation.)
PARALLEL: dict[str, Any] = {"cache": True, "no_cfunc_wrapper": True, "parallel": True}
SERIAL: dict[str, Any] = {"cache": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": True}
compiled = njit(error_model="numpy", **SERIAL)
parallel = njit(**PARALLEL)


@compiled
def transpose(x, x_at, x_step, out, out_at, out_step, rows, columns, lanes):
    """out[j, i] = x[i, j] for a block of `rows` x `columns` numbers."""
    whole_rows, whole_columns = rows - rows % lanes, columns - columns % lanes
    for i in range(0, whole_rows, lanes):
        for j in range(0, whole_columns, lanes):
            transpose_block(
                x, x_at + i * x_step + j, x_step, out, out_at + j * out_step + i, out_step
            )
    for i in range(rows):
        for j in range(whole_columns if i < whole_rows else 0, columns):
            out[out_at + j * out_step + i] = x[x_at + i * x_step + j]


@compiled
def pad(x, x_shape, plane_at, first_row, rows, border, pitch, out, at):
    """Copy `rows` rows of one channel with a border of zeros; a negative border cuts pixels off.

    Row `first_row + i` and column j of the padded image are written to `at + i pitch + j`.
    """
    height, width = x_shape[2], x_shape[3]
    left = min(max(border[1], 0), pitch)
    right = max(left, min(width + border[1], pitch))
    for i in range(rows):
        row = first_row + i - border[0]
        target = out[at + i * pitch : at + (i + 1) * pitch]
        if row < 0 or row >= height:
            for j in range(pitch):
                target[j] = 0
            continue
        start = plane_at + row * width + left - border[1]
        inside, source = target[left:right], x[start : start + right - left]
        for j in range(left):
            target[j] = 0
        for j in range(inside.size):
            inside[j] = source[j]
        for j in range(right, pitch):
            target[j] = 0


@compiled
def load_tile(x, x_shape, images, channels, rows, border, plane_rows, pitch, out):
    """Pad channels [channels) of images [images): (images, channels, plane_rows, pitch).

    `rows`: the first padded row, and how many of them; there may be fewer than `plane_rows`.
    """
    area, plane = x_shape[2] * x_shape[3], plane_rows * pitch
    depth = channels[1] - channels[0]
    for n in range(images[0], images[1]):
        for c in range(channels[0], channels[1]):
            plane_at = (n * x_shape[1] + c) * area
            at = ((n - images[0]) * depth + c - channels[0]) * plane
            pad(x, x_shape, plane_at, rows[0], rows[1], border, pitch, out, at)


@compiled
def pixel_offsets(offsets, images, image_step, rows, columns, row_step, column_step, base):
    """Where the window of every pixel of a tile begins; the last one repeated to fill a block."""
    t = 0
    for n in range(images):
        for i in range(rows):
            start = base + n * image_step + i * row_step
            for j in range(columns):
                offsets[t] = start + j * column_step
                t += 1
    while t % ROWS:
        offsets[t] = offsets[t - 1]
        t += 1


@compiled
def pack_panel(weight, steps, order, filters, packed, p, lanes):
    """Panel p as the registers take it: for every tap the numbers of its filters, then zeros."""
    width = 2 * lanes
    panels = (filters + width - 1) // width
    k, taps = p % panels * width, order.size
    some = min(width, filters - k)
    at, to = p // panels * steps[0] + k * steps[1], p * taps * width
    if some <= lanes:
        width = lanes
    if steps[2] == 1:
        transpose(weight, at, steps[1], packed, to, width, some, taps, lanes)
    else:
        for t in range(taps):
            target = packed[to + t * width : to + t * width + some]
            source = weight[at + order[t] :]
            for f in range(some):
                target[f] = source[np.uintp(f * steps[1])]
    clear_rest(packed, to, taps, width, some)


@compiled
def clear_rest(packed, to, rows, width, used):
    """Zeros in the lanes that no filter uses."""
    for t in range(rows):
        rest = packed[to + t * width + used : to + (t + 1) * width]
        for i in range(rest.size):
            rest[i] = 0


@compiled
def multiply_tile(
    x, pixels, count, taps, first, end, panel, at, starts, bias_at, width, lanes, sums
):
    """sums[t, k] = bias[k] + taps [first, end) of pixel t's window times those of filter k.

    `starts` holds the bias of every panel and, at its end, a panel of zeros.
    """
    zeros_at = starts.size - 2 * lanes
    for begin in range(first, max(end, first + 1), TAPS_AT_ONCE):
        some = min(TAPS_AT_ONCE, end - begin)
        here, later = at + begin * width, begin > first
        start_at = zeros_at if later else bias_at
        for t in range(0, count, ROWS):
            to = t * width
            if width == lanes:
                multiply_1(
                    x, pixels, t, taps, begin, some, panel, here, starts, start_at, sums, to,
                    width, later,
                )  # fmt: skip
            else:
                multiply_2(
                    x, pixels, t, taps, begin, some, panel, here, starts, start_at, sums, to,
                    width, later,
                )  # fmt: skip


@compiled
def keep_positive(values):
    """ReLU in place; NaN is not less than 0 and stays."""
    for i in range(values.size):
        values[i] = 0 if values[i] < 0 else values[i]


@compiled
def add_rows(y, residual, at, area, pixels, filters, positive):
    """Add the residual to `pixels` numbers of each of some channels, which were just written."""
    for f in range(filters):
        target = y[at + f * area : at + f * area + pixels]
        source = residual[at + f * area : at + f * area + pixels]
        for i in range(pixels):
            target[i] += source[i]
        if positive:
            keep_positive(target)


@compiled
def store_tile(
    sums, width, y, y_shape, images, k, filters, grid, phase, out_step, residual, after, lanes,
    spare,
):  # fmt: skip
    """Write sums[t, k] to y, where pixels of one channel lie side by side, or `out_step` apart.

    `after`: whether the residual is added, which is only for pixels side by side, and whether a
    ReLU follows.
    """
    area = y_shape[2] * y_shape[3]
    first_row, rows, columns = grid
    add, positive = after
    if positive and not add:
        keep_positive(sums[: (images[1] - images[0]) * rows * columns * width])
    for n in range(images[0], images[1]):
        here = (n - images[0]) * rows * columns * width
        at = (n * y_shape[1] + k) * area
        if out_step == (1, 1):
            at += first_row * columns
            transpose(sums, here, width, y, at, area, rows * columns, filters, lanes)
            if add:
                add_rows(y, residual, at, area, rows * columns, filters, positive)
            continue
        begin = 0 * area
        transpose(sums, here, width, spare, begin, rows * columns, rows * columns, filters, lanes)
        for f in range(filters):
            for i in range(rows):
                row = phase[0] + (first_row + i) * out_step[0]
                start = at + f * area + row * y_shape[3] + phase[1]
                source = spare[(f * rows + i) * columns : (f * rows + i + 1) * columns]
                target = y[start : start + (columns - 1) * out_step[1] + 1]
                for j in range(columns):
                    target[np.uintp(j * out_step[1])] = source[j]


@parallel
def pack_filters(weight, steps, order, groups, filters, packed, lanes):
    """All panels: packed[group, panel, tap, filter] from weight[group, filter, order[tap]].

    `steps` are the distances in `weight` of two groups, two filters, and two taps if that is 1.
    """
    for p in prange(groups * ((filters + 2 * lanes - 1) // (2 * lanes))):
        pack_panel(weight, steps, order, filters, packed, np.int64(p), lanes)


@compiled
def correlate_tile(
    x, image_step, pitch, base, images, group, part, parts, first_row, rows, packed, taps, phases,
    starts, y, y_shape, filters, in_step, out_step, residual, after, lanes, memory, pixels,
):  # fmt: skip
    """All phases of one tile: a grid of outputs each, and the taps that reach it."""
    width = 2 * lanes
    panels = (filters + width - 1) // width
    for f in range(phases.shape[0]):
        first_tap, end_tap, grid_rows, columns = phases[f, :4]
        some_rows = min(rows, grid_rows - first_row)
        if some_rows <= 0 or columns <= 0:
            continue
        pixel_offsets(
            pixels, images[1] - images[0], image_step, some_rows, columns, in_step[0] * pitch,
            in_step[1], base,
        )  # fmt: skip
        count = (images[1] - images[0]) * some_rows * columns
        blocks = (count + ROWS - 1) // ROWS * ROWS
        for panel in range(part * panels // parts, (part + 1) * panels // parts):
            k = group * filters + panel * width
            some = min(width, filters - panel * width)
            fitting = width if some > lanes else lanes
            sums = memory[: blocks * fitting]
            number = group * panels + panel
            multiply_tile(
                x, pixels, count, taps, first_tap, end_tap, packed, number * taps.size * width,
                starts, number * width, fitting, lanes, sums,
            )  # fmt: skip
            store_tile(
                sums, fitting, y, y_shape, images, k, some, (first_row, some_rows, columns),
                phases[f, 4:], out_step, residual, after, lanes, memory[blocks * fitting :],
            )  # fmt: skip


@compiled
def correlate_share(
    worker, x, x_shape, packed, taps, phases, starts, y, y_shape, groups, tiling, border, in_step,
    out_step, residual, after, lanes, scratch, offsets,
):  # fmt: skip
    """What one worker does of `correlate`: its share of the tasks, in order."""
    tile_images, tile_rows, parts, grid_rows, reach, plane_rows, pitch = tiling
    filters, depth = y_shape[1] // groups, x_shape[1] // groups
    bands = (grid_rows + tile_rows - 1) // tile_rows
    tile_before = -1
    batches = (x_shape[0] + tile_images - 1) // tile_images
    tasks, workers = batches * bands * groups * parts, scratch.shape[0]
    image_step = x_shape[1] * x_shape[2] * x_shape[3]
    padded_size = tile_images * depth * plane_rows * pitch
    padded, memory = scratch[worker, :padded_size], scratch[worker, padded_size:]
    for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
        part, group, tile = task % parts, task // parts % groups, task // parts
        band = task // (parts * groups) % bands
        first_row = band * grid_rows // bands  # bands of nearly equal height, so equal work
        n = task // (parts * groups * bands) * tile_images
        images = (n, min(n + tile_images, x_shape[0]))
        rows = (band + 1) * grid_rows // bands - first_row
        source, step = x, image_step
        base = n * image_step + group * depth * x_shape[2] * x_shape[3]
        base += first_row * in_step[0] * pitch
        if plane_rows:
            if tile != tile_before:
                load_tile(
                    x, x_shape, images, (group * depth, (group + 1) * depth),
                    (first_row * in_step[0], (rows - 1) * in_step[0] + reach), border, plane_rows,
                    pitch, padded,
                )  # fmt: skip
            tile_before = tile
            source, step, base = padded, depth * plane_rows * pitch, 0
        correlate_tile(
            source, step, pitch, base, images, group, part, parts, first_row, rows, packed,
            taps, phases, starts, y, y_shape, filters, in_step, out_step, residual, after, lanes,
            memory, offsets[worker],
        )  # fmt: skip


@parallel
def correlate(
    x, x_shape, packed, taps, phases, starts, y, y_shape, groups, tiling, border, in_step, out_step,
    residual, after, lanes, scratch, offsets,
):  # fmt: skip
    """One task: one tile of pixels, one group of channels, a part of its panels.

    `phases`, one row each: first and end tap, rows and columns of its grid of outputs, row and
    column of y where that grid starts.  `tiling`: images and rows per tile, parts of the panels,
    most rows of any grid, padded rows that a window spans, padded rows of a tile (0: x needs no
    padding and is read in place), columns of a padded row.
    """
    for worker in prange(scratch.shape[0]):
        correlate_share(
            np.int64(worker), x, x_shape, packed, taps, phases, starts, y, y_shape, groups, tiling,
            border, in_step, out_step, residual, after, lanes, scratch, offsets,
        )  # fmt: skip


@compiled
def pack_grad_panel(grad, shape, groups, packed, task, lanes):
    """One panel of one image of `pack_grad`."""
    images, filters, pixels = shape[0], shape[1] // groups, shape[2] * shape[3]
    width = 2 * lanes
    panels = (filters + width - 1) // width
    p, n = task // images, task % images
    k = p % panels * width
    some = min(width, filters - k)
    if some <= lanes:
        width = lanes
    at = (n * shape[1] + p // panels * filters + k) * pixels
    to = p * images * pixels * 2 * lanes + n * pixels * width
    transpose(grad, at, pixels, packed, to, width, some, pixels, lanes)
    clear_rest(packed, to, pixels, width, some)


@parallel
def pack_grad(grad, shape, groups, panels, packed, lanes):
    """packed[group, panel, pixel, filter] from grad (N, K, pixels), pixels of all images."""
    for task in prange(shape[0] * groups * panels):
        pack_grad_panel(grad, shape, groups, packed, np.int64(task), lanes)


@compiled
def add_products(
    x, rows, count, steps, pixels, packed, before, filters, zeros, sums, row_width, lanes
):
    """sums[tap, k] += pixel at the tap times grad of filter k, over the pixels of a tile.

    `packed` holds the panels of one group, each of `before[1]` pixels, from number `before[0]` on.
    """
    width = 2 * lanes
    for k in range(0, filters, width):
        at = k * before[1]
        for r in range(0, count, ROWS):
            to = r * row_width + k
            if filters - k > lanes:
                here = at + before[0] * width
                multiply_2(
                    x, rows, r, steps, 0, pixels, packed, here, zeros, 0, sums, to, row_width,
                    True,
                )  # fmt: skip
            else:
                here = at + before[0] * lanes
                multiply_1(
                    x, rows, r, steps, 0, pixels, packed, here, zeros, 0, sums, to, row_width,
                    True,
                )  # fmt: skip


@compiled
def weights_share(
    task, x, x_shape, packed, grad_shape, taps, tap_channel, zeros, dweight, groups, tiling,
    border, in_step, lanes, scratch, offsets,
):  # fmt: skip
    """What one worker does of `correlate_weights`: the sums of its taps over all tiles."""
    tile_images, tile_rows, parts, _, reach, plane_rows, pitch = tiling
    images, filters = grad_shape[0], grad_shape[1] // groups
    out_h, out_w = grad_shape[2], grad_shape[3]
    depth, inner = x_shape[1] // groups, taps.size
    row_width = (filters + lanes - 1) // lanes * lanes
    blocks = (inner + ROWS - 1) // ROWS
    group, part = task // parts, task % parts
    first = min(inner, part * blocks // parts * ROWS)
    end = min(inner, (part + 1) * blocks // parts * ROWS)
    if first == end:
        return
    count = (end - first + ROWS - 1) // ROWS * ROWS
    channels = (group * depth + tap_channel[first], group * depth + tap_channel[end - 1] + 1)
    sums, padded = scratch[task, : count * row_width], scratch[task, count * row_width :]
    for i in range(sums.size):
        sums[i] = 0
    rows_of, steps_of = offsets[task, :count], offsets[task, count:]
    plane = plane_rows * pitch if plane_rows else x_shape[2] * x_shape[3]
    for r in range(count):
        rows_of[r] = taps[min(first + r, inner - 1)] - tap_channel[first] * plane
    positions = images * out_h * out_w
    panels = (filters + 2 * lanes - 1) // (2 * lanes)
    group_grad = packed[group * panels * positions * 2 * lanes :]
    image_step = x_shape[1] * x_shape[2] * x_shape[3]
    for n in range(0, images, tile_images):
        some = (n, min(n + tile_images, images))
        for first_row in range(0, out_h, tile_rows):
            rows = min(tile_rows, out_h - first_row)
            source, step = x, image_step
            base = n * image_step + channels[0] * plane + first_row * in_step[0] * pitch
            if plane_rows:
                load_tile(
                    x, x_shape, some, channels,
                    (first_row * in_step[0], (rows - 1) * in_step[0] + reach), border,
                    plane_rows, pitch, padded,
                )  # fmt: skip
                source, step, base = padded, (channels[1] - channels[0]) * plane, 0
            pixel_offsets(
                steps_of, some[1] - some[0], step, rows, out_w, in_step[0] * pitch, in_step[1],
                base,
            )  # fmt: skip
            before = ((n * out_h + first_row) * out_w, positions)
            pixels = (some[1] - some[0]) * rows * out_w
            add_products(
                source, rows_of, count, steps_of, pixels, group_grad, before, filters, zeros, sums,
                row_width, lanes,
            )  # fmt: skip
    to = group * filters * inner + first
    transpose(sums, row_width * 0, row_width, dweight, to, inner, end - first, filters, lanes)


@parallel
def correlate_weights(
    x, x_shape, packed, grad_shape, taps, tap_channel, zeros, dweight, groups, tiling, border,
    in_step, lanes, scratch, offsets,
):  # fmt: skip
    """One task: some taps of one group; it visits all tiles in order and adds up their share.

    `tiling` as in `correlate`; the taps are offsets from the pixels of their group's first channel.
    """
    for task in prange(scratch.shape[0]):
        weights_share(
            np.int64(task), x, x_shape, packed, grad_shape, taps, tap_channel, zeros, dweight,
            groups, tiling, border, in_step, lanes, scratch, offsets,
        )  # fmt: skip


@njit(parallel=True, cache=True, fastmath=SUMS)
def channel_sums(y, total):
    """One worker per channel; in float64, because a float32 sum of a million loses digits."""
    for k in prange(y.shape[1]):
        acc = 0.0
        for n in range(y.shape[0]):
            for i in range(y.shape[2]):
                acc += y[n, k, i]
        total[k] = acc
