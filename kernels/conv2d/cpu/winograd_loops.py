"""The compiled loops of Winograd's convolution: one worker's share of the tiles.

Letters as in `geometry`; `transforms` has the mathematics.  A *tile* is 4x4 outputs and the 6x6
pixels under their windows.  Everything between reading x and writing y has channels last, a vector
register of them at a time, so C and K must be multiples of `lanes`; forward K may be any number,
and its last panel is filled up with zeros.  Workers take *blocks* of tiles: some rows of tiles of
one image, or some small images whole.

    field      (images, rows, columns, C)   padded pixels of a block
    spectrum   (36, tiles, C)               B d B' of its tiles
    filters    (panels, 36, C, width)       G w G', laid out as `registers.multiply` takes it
    products   (36, tiles, width)           for one panel of filters
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import numpy as np
from numba import prange

from minimask.kernels.conv2d.cpu.compiled_loops import (
    compiled,
    pack_panel,
    parallel,
    store_tile,
    transpose,
)
from minimask.kernels.conv2d.cpu.registers import multiply_1, multiply_2
from minimask.kernels.conv2d.cpu.transforms import (
    ELEMENTS,
    OUT,
    TILE,
    filter_in,
    filter_out,
    grad_in,
    pixels_in,
    sums_out,
)
from minimask.kernels.vectors import ROWS, transpose_to


@compiled
def clear(field, at, count):
    """Zeros."""
    target = field[at : at + count]
    for i in range(count):
        target[i] = 0


@compiled
def spread(x, at, area, pixels, channels, field, places, lanes):
    """Pixels of one image, which lie side by side in every channel, to places in the field."""
    for c in range(0, channels, lanes):
        if pixels < lanes:
            for i in range(lanes):
                for p in range(pixels):
                    field[places[p] + c + i] = x[at + (c + i) * area + p]
            continue
        for p in range(0, pixels, lanes):
            first = min(p, pixels - lanes)  # the last square overlaps the one before
            transpose_to(x, at + c * area + first, area, field, c, places, first)


@compiled
def load_field(x, x_shape, images, first_row, rows, border, pitch, field, places, lanes):
    """Padded rows of some images with channels last; a negative border cuts pixels off.

    What is cut off goes to the one place beyond the field.
    """
    channels, height, width = x_shape[1:]
    first = max(0, first_row - border[0])
    end = max(first, min(height, first_row - border[0] + rows))
    line = pitch * channels
    waste = (images[1] - images[0]) * rows * line
    left, right = max(border[1], 0), min(width + border[1], pitch)
    for n in range(images[0], images[1]):
        top = (n - images[0]) * rows * line
        above = first + border[0] - first_row if end > first else rows
        clear(field, top, above * line)
        clear(field, top + (above + end - first) * line, (rows - above - end + first) * line)
        for row in range(first, end):
            start = top + (row + border[0] - first_row) * line
            clear(field, start, left * channels)
            clear(field, start + right * channels, (pitch - right) * channels)
            for j in range(width):
                inside = j + border[1] >= 0 and j + border[1] < pitch
                place = start + (j + border[1]) * channels
                places[(row - first) * width + j] = place if inside else waste
        at = (n * channels * height + first) * width
        spread(x, at, height * width, (end - first) * width, channels, field, places, lanes)


@compiled
def spectrum_of(
    field, images, tile_rows, tile_columns, rows, pitch, channels, spectrum, step, lanes
):
    """B d B' of every tile: spectrum[element, tile, channel], elements `step` apart."""
    t = 0
    for n in range(images):
        for i in range(tile_rows):
            for j in range(tile_columns):
                at = ((n * rows + i * OUT) * pitch + j * OUT) * channels
                for c in range(0, channels, lanes):
                    pixels_in(
                        field, at + c, pitch * channels, channels,
                        spectrum, t * channels + c, TILE * step, step,
                    )  # fmt: skip
                t += 1


@compiled
def panel_width(count, p, lanes):
    """Columns of panel p of `count` filters: two registers, or one where that is enough."""
    return 2 * lanes if count - p * 2 * lanes > lanes else lanes


@compiled
def filters_of(weight, steps, order, count, packed, flip, channels, filters, p, lanes):
    """G w G' of panel p; `flip`: the taps of `order` run from the window's last to its first."""
    pack_panel(weight, steps, order, count, packed, p, lanes)
    width = panel_width(count, p, lanes)
    size = channels * width
    down, across, first = 3 * width, width, 0
    if flip:
        down, across, first = -down, -across, 8 * width
    for c in range(channels):
        at = p * channels * 9 * 2 * lanes + c * 9 * width + first
        to = p * ELEMENTS * channels * 2 * lanes + c * width
        for lane in range(0, width, lanes):
            filter_in(
                packed, at + lane, down, across, filters, to + lane, TILE * size, size
            )  # fmt: skip


@parallel
def all_filters(weight, steps, order, count, packed, flip, channels, filters, lanes):
    """The panels' filters; `weight`, `steps` and `order` as in `compiled_loops.pack_filters`."""
    for p in prange((count + 2 * lanes - 1) // (2 * lanes)):
        filters_of(weight, steps, order, count, packed, flip, channels, filters, np.int64(p), lanes)


@compiled
def multiply_panel(
    spectrum, rows, tiles, padded_tiles, steps, channels, filters, at, zeros, products, width, lanes
):
    """For each of the 36 elements: tiles x channels times channels x filters."""
    for e in range(ELEMENTS):
        b = at + e * channels * width
        for t in range(0, tiles, ROWS):
            row = e * padded_tiles + t
            if width == lanes:
                multiply_1(
                    spectrum, rows, row, steps, 0, channels, filters, b, zeros, 0,
                    products, row * width, width, False,
                )  # fmt: skip
            else:
                multiply_2(
                    spectrum, rows, row, steps, 0, channels, filters, b, zeros, 0,
                    products, row * width, width, False,
                )  # fmt: skip


@compiled
def outputs_of(products, step, images, grid, out_size, bias, bias_at, width, lanes, sums):
    """A m A' of every tile, plus the bias: sums[image, row, column, filter], without overhang.

    A tile that hangs over the right border spills into the next row's first columns, and one over
    the lower border into the next image.  So tiles are written from right to left and from top to
    bottom: what was spilled is overwritten by the tile that it belongs to.
    """
    rows, columns = out_size
    t = 0
    for n in range(images):
        for i in range(grid[0]):
            for j in range(grid[1] - 1, -1, -1):
                to = ((n * rows + i * OUT) * columns + j * OUT) * width
                for lane in range(0, width, lanes):
                    sums_out(
                        products, (t + j) * width + lane, TILE * step, step,
                        sums, to + lane, columns * width, width,
                    )  # fmt: skip
            t += grid[1]
    panel_bias = bias[bias_at : bias_at + width]
    for t in range(images * rows * columns):
        target = sums[t * width : (t + 1) * width]
        for k in range(width):
            target[k] += panel_bias[k]


@compiled
def band_of(band, bands, all_rows, height):
    """First row and rows of output of a band of tiles; bands are of nearly equal height."""
    first = band * all_rows // bands * OUT
    end = min((band + 1) * all_rows // bands * OUT, height)
    return first, end - first


@compiled
def convolve_share(
    worker, x, x_shape, filters, rows, steps, starts, y, y_shape, tiling, border, residual, after,
    lanes, scratch, offsets,
):  # fmt: skip
    """What one worker does of `convolve`: its share of the tasks, in order."""
    tile_images, tile_rows, parts, tile_columns = tiling
    channels, count, out_h, out_w = x_shape[1], y_shape[1], y_shape[2], y_shape[3]
    panels = (count + 2 * lanes - 1) // (2 * lanes)
    all_rows = (out_h + OUT - 1) // OUT
    bands = (all_rows + tile_rows - 1) // tile_rows
    block_before = -1
    tasks = (x_shape[0] + tile_images - 1) // tile_images * bands * parts
    pitch = tile_columns * OUT + TILE - OUT
    padded_tiles = rows.size // ELEMENTS
    zeros = starts[starts.size - 2 * lanes :]
    memory, places, workers = scratch[worker], offsets[worker], scratch.shape[0]
    pixels = tile_images * (tile_rows * OUT + TILE - OUT) * pitch
    field_size = (pixels + 1) * channels
    field, memory = memory[:field_size], memory[field_size:]
    spectrum_size = ELEMENTS * padded_tiles * channels
    spectrum, memory = memory[:spectrum_size], memory[spectrum_size:]
    products_size = ELEMENTS * padded_tiles * 2 * lanes
    products, sums = memory[:products_size], memory[products_size:]
    for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
        part, block = task % parts, task // parts
        first_row, out_rows = band_of(block % bands, bands, all_rows, out_h)
        n = block // bands * tile_images
        images = (n, min(n + tile_images, x_shape[0]))
        grid = ((out_rows + OUT - 1) // OUT, tile_columns)
        field_rows = grid[0] * OUT + TILE - OUT
        some = images[1] - images[0]
        if block != block_before:
            load_field(
                x, x_shape, images, first_row, field_rows, border, pitch, field, places, lanes
            )
            spectrum_of(
                field, some, grid[0], tile_columns, field_rows, pitch, channels, spectrum,
                padded_tiles * channels, lanes,
            )  # fmt: skip
        block_before = block
        tiles = some * grid[0] * tile_columns
        for p in range(part * panels // parts, (part + 1) * panels // parts):
            width = panel_width(count, p, lanes)
            at = p * ELEMENTS * channels * 2 * lanes
            multiply_panel(
                spectrum, rows, tiles, padded_tiles, steps, channels, filters, at, zeros,
                products, width, lanes,
            )  # fmt: skip
            outputs_of(
                products, padded_tiles * width, some, grid, (out_rows, out_w), starts,
                p * 2 * lanes, width, lanes, sums,
            )  # fmt: skip
            store_tile(
                sums, width, y, y_shape, images, p * 2 * lanes, min(width, count - p * 2 * lanes),
                (first_row, out_rows, out_w), tiling, (1, 1), residual, after, lanes, sums,
            )  # fmt: skip


@parallel
def convolve(
    x, x_shape, filters, rows, steps, starts, y, y_shape, tiling, border, residual, after, lanes,
    scratch, offsets,
):  # fmt: skip
    """One task: one block of tiles, a part of the panels.

    `rows` and `steps` are where tiles and channels lie in a spectrum, `tiling` the images and tile
    rows per block, the parts of the panels, the tiles per row.
    """
    for worker in prange(scratch.shape[0]):
        convolve_share(
            np.int64(worker), x, x_shape, filters, rows, steps, starts, y, y_shape, tiling, border,
            residual, after, lanes, scratch, offsets,
        )  # fmt: skip


@compiled
def grads_of(field, images, grid, pitch, filters, spectrum, padded_tiles, lanes):
    """A' dy A of every tile, laid out in panels: spectrum[panel, element, tile, filter]."""
    for p in range((filters + 2 * lanes - 1) // (2 * lanes)):
        width = min(2 * lanes, filters - p * 2 * lanes)
        begin = p * ELEMENTS * padded_tiles * 2 * lanes
        step = padded_tiles * width
        t = 0
        for n in range(images):
            for i in range(grid[0]):
                for j in range(grid[1]):
                    at = ((n * grid[0] + i) * OUT * pitch + j * OUT) * filters + p * 2 * lanes
                    for lane in range(0, width, lanes):
                        grad_in(
                            field, at + lane, pitch * filters, filters,
                            spectrum, begin + t * width + lane, TILE * step, step,
                        )  # fmt: skip
                    t += 1


@compiled
def add_products(
    spectrum, rows, steps, tiles, padded_tiles, grads, zeros, filters, padded_channels, sums, lanes
):
    """sums[element, channel, filter] += sum over tiles of pixels' spectrum times grad's."""
    for p in range((filters + 2 * lanes - 1) // (2 * lanes)):
        width = min(2 * lanes, filters - p * 2 * lanes)
        for e in range(ELEMENTS):
            b = p * ELEMENTS * padded_tiles * 2 * lanes + e * padded_tiles * width
            for c in range(0, padded_channels, ROWS):
                row = e * padded_channels + c
                to = row * filters + p * 2 * lanes
                if width == lanes:
                    multiply_1(
                        spectrum, rows, row, steps, 0, tiles, grads, b, zeros, 0, sums, to,
                        filters, True,
                    )  # fmt: skip
                else:
                    multiply_2(
                        spectrum, rows, row, steps, 0, tiles, grads, b, zeros, 0, sums, to,
                        filters, True,
                    )  # fmt: skip


@compiled
def weights_share(
    worker, x, x_shape, grad, grad_shape, rows, steps, zeros, tiling, border, lanes, all_sums,
    scratch, offsets,
):  # fmt: skip
    """What one worker does of `correlate_weights`: the sum over its blocks, in order."""
    tile_images, tile_rows, _, tile_columns = tiling
    channels, filters, out_h = x_shape[1], grad_shape[1], grad_shape[2]
    all_rows = (out_h + OUT - 1) // OUT
    bands = (all_rows + tile_rows - 1) // tile_rows
    tasks = (x_shape[0] + tile_images - 1) // tile_images * bands
    pitch = tile_columns * OUT + TILE - OUT
    padded_tiles, padded_channels = steps.size, rows.size // ELEMENTS
    sums, memory, workers = all_sums[worker], scratch[worker], scratch.shape[0]
    places = offsets[worker]
    pixels = tile_images * (tile_rows * OUT + TILE - OUT) * pitch
    field_size = (pixels + 1) * max(channels, filters)
    field, memory = memory[:field_size], memory[field_size:]
    spectrum_size = ELEMENTS * padded_tiles * channels
    spectrum, grads = memory[:spectrum_size], memory[spectrum_size:]
    for i in range(sums.size):
        sums[i] = 0
    for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
        first_row, out_rows = band_of(task % bands, bands, all_rows, out_h)
        n = task // bands * tile_images
        images = (n, min(n + tile_images, x_shape[0]))
        some = images[1] - images[0]
        grid = ((out_rows + OUT - 1) // OUT, tile_columns)
        field_rows = grid[0] * OUT + TILE - OUT
        load_field(x, x_shape, images, first_row, field_rows, border, pitch, field, places, lanes)
        spectrum_of(
            field, some, grid[0], tile_columns, field_rows, pitch, channels, spectrum,
            padded_tiles * channels, lanes,
        )  # fmt: skip
        load_field(
            grad, grad_shape, images, first_row, grid[0] * OUT, (border[0] * 0, border[1] * 0),
            tile_columns * OUT, field, places, lanes,
        )  # fmt: skip
        grads_of(field, some, grid, tile_columns * OUT, filters, grads, padded_tiles, lanes)
        tiles = some * grid[0] * tile_columns
        add_products(
            spectrum, rows, steps, tiles, padded_tiles, grads, zeros, filters, padded_channels,
            sums, lanes,
        )  # fmt: skip


@parallel
def correlate_weights(
    x, x_shape, grad, grad_shape, rows, steps, zeros, tiling, border, lanes, all_sums, scratch,
    offsets,
):  # fmt: skip
    """Every worker sums up its own blocks of tiles: all_sums[worker, element, channel, filter]."""
    for worker in prange(scratch.shape[0]):
        weights_share(
            np.int64(worker), x, x_shape, grad, grad_shape, rows, steps, zeros, tiling, border,
            lanes, all_sums, scratch, offsets,
        )  # fmt: skip


@compiled
def finish_part(all_sums, channels, filters, padded_channels, dweight, task, lanes):
    """The workers' sums added in order, G' . G of them, and the result turned over, for a part."""
    panels = (filters + 2 * lanes - 1) // (2 * lanes)
    p, first = task % panels, task // panels * lanes
    width = min(2 * lanes, filters - p * 2 * lanes)
    total, step = all_sums[0], padded_channels * filters
    window = np.empty(lanes * 9 * 2 * lanes, all_sums.dtype)
    for c in range(lanes):
        at = (first + c) * filters + p * 2 * lanes
        for worker in range(1, all_sums.shape[0]):
            for e in range(ELEMENTS):
                start = at + e * step
                target = total[start : start + width]
                source = all_sums[worker, start : start + width]
                for k in range(width):
                    target[k] += source[k]
        for lane in range(0, width, lanes):
            filter_out(
                total, at + lane, TILE * step, step,
                window, c * 9 * width + lane, 3 * width, width,
            )  # fmt: skip
    to = p * 2 * lanes * channels * 9 + first * 9
    transpose(window, 0 * to, width, dweight, to, channels * 9, lanes * 9, width, lanes)


@parallel
def finish_weights(all_sums, channels, filters, padded_channels, dweight, lanes):
    """One task: a panel of filters, as many channels as a register has lanes."""
    panels = (filters + 2 * lanes - 1) // (2 * lanes)
    for task in prange(panels * channels // lanes):
        finish_part(all_sums, channels, filters, padded_channels, dweight, np.int64(task), lanes)
