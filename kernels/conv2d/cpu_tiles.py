"""The compiled loops of the tiled convolution: what one worker does with one tile.

Letters as in `geometry`.  A tile is a run of output rows, counted through all images: row
`n OH + i` is row i of image n.  `columns` is a worker's scratch memory: one row per product
(c, u, v) of the sum, one column per output pixel of the tile.  `steps` is (stride, padding,
dilation), each vertical and horizontal; a negative padding cuts off the border.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

from numba import njit, prange

from minimask.kernels.blas import gemm


@njit(cache=True)
def valid_range(shift, step, length, count):
    """The outputs o in [0, count) whose input `o step + shift` lies in [0, length): first, end."""
    first = min(count, max(0, -(shift // step)))
    return first, max(first, min(count, (length - 1 - shift) // step + 1))


@njit(cache=True)
def gather(x, columns, at, rows, tile, out_size, window, steps):
    """Write the rows [rows) of the columns of a tile, starting at `at`."""
    height, width = x.shape[2], x.shape[3]
    out_h, out_w = out_size
    kh, kw = window
    sh, sw, ph, pw, dh, dw = steps
    for r in range(rows[0], rows[1]):
        c, u, v = r // (kh * kw), r // kw % kh, r % kw
        shift = v * dw - pw
        left, right = valid_range(shift, sw, width, out_w)
        for t in range(tile[0], tile[1]):
            n, i = t // out_h, t % out_h
            h = i * sh - ph + u * dh
            if h < 0 or h >= height:
                columns[at : at + out_w] = 0
            else:
                source = x[n, c, h]
                columns[at : at + left] = 0
                if sw == 1:
                    for j in range(left, right):
                        columns[at + j] = source[j + shift]
                else:
                    for j in range(left, right):
                        columns[at + j] = source[j * sw + shift]
                columns[at + right : at + out_w] = 0
            at += out_w


@njit(cache=True)
def scatter_add(columns, at, x, rows, tile, out_size, window, steps):
    """Add the rows [rows) of the columns of a tile to the pixels that `gather` takes them from."""
    height, width = x.shape[2], x.shape[3]
    out_h, out_w = out_size
    kh, kw = window
    sh, sw, ph, pw, dh, dw = steps
    for r in range(rows[0], rows[1]):
        c, u, v = r // (kh * kw), r // kw % kh, r % kw
        shift = v * dw - pw
        left, right = valid_range(shift, sw, width, out_w)
        for t in range(tile[0], tile[1]):
            n, i = t // out_h, t % out_h
            h = i * sh - ph + u * dh
            if h >= 0 and h < height:
                target = x[n, c, h]
                for j in range(left, right):
                    target[j * sw + shift] += columns[at + j]
            at += out_w


@njit(cache=True)
def pack(y, columns, at, channels, tile):
    """Copy channels [channels) of the rows of a tile, which may cross images, side by side."""
    out_h, out_w = y.shape[2], y.shape[3]
    for k in range(channels[0], channels[1]):
        for t in range(tile[0], tile[1]):
            columns[at : at + out_w] = y[t // out_h, k, t % out_h]
            at += out_w


@njit(cache=True)
def write(columns, at, bias, y, channels, tile):
    """Copy products to the rows of a tile, which may cross images, and add the bias."""
    out_h, out_w = y.shape[2], y.shape[3]
    for k in range(channels[0], channels[1]):
        for t in range(tile[0], tile[1]):
            target = y[t // out_h, k, t % out_h]
            for j in range(out_w):
                target[j] = columns[at + j] + bias[k]
            at += out_w


@njit(parallel=True, cache=True)
def forward(address, x, weight, bias, y, window, steps, groups, tile_rows, blocks, scratch):
    """One task: one tile, one group, one block of the group's output channels."""
    images, filters, out_h, out_w = y.shape
    k_group, area, pixels = filters // groups, x.shape[2] * x.shape[3], out_h * out_w
    inner = x.shape[1] // groups * window[0] * window[1]
    pointwise = area == pixels and steps == (1, 1, 0, 0, 1, 1) and inner == x.shape[1] // groups
    x_flat, y_flat = x.reshape(x.size), y.reshape(y.size)
    zero = x.dtype.type(0)
    tiles = (images * out_h + tile_rows - 1) // tile_rows
    tasks, workers = tiles * groups * blocks, scratch.shape[0]
    for worker in prange(workers):
        columns = scratch[worker]
        for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
            group, block = task // blocks % groups, task % blocks
            first = task // (blocks * groups) * tile_rows
            tile = (first, min(first + tile_rows, images * out_h))
            n = first // out_h
            size = (tile[1] - first) * out_w
            k0 = group * k_group + block * k_group // blocks
            k1 = group * k_group + (block + 1) * k_group // blocks
            within = tile[1] <= (n + 1) * out_h
            at = (first - n * out_h) * out_w
            if not (within and pointwise):
                rows = (group * inner, (group + 1) * inner)
                gather(x, columns, 0, rows, tile, (out_h, out_w), window, steps)
            if not within:
                gemm(
                    address, 0, 0, k1 - k0, size, inner, weight, k0 * inner, inner,
                    columns, 0, size, zero, columns, inner * size, size,
                )  # fmt: skip
                write(columns, inner * size, bias, y, (k0, k1), tile)
                continue
            out_at = (n * filters + k0) * pixels + at
            if pointwise:
                gemm(
                    address, 0, 0, k1 - k0, size, inner, weight, k0 * inner, inner,
                    x_flat, (n * x.shape[1] + group * inner) * area + at, area,
                    zero, y_flat, out_at, pixels,
                )  # fmt: skip
            else:
                gemm(
                    address, 0, 0, k1 - k0, size, inner, weight, k0 * inner, inner,
                    columns, 0, size, zero, y_flat, out_at, pixels,
                )  # fmt: skip
            for k in range(k0, k1):
                start = out_at + (k - k0) * pixels
                for j in range(start, start + size):
                    y_flat[j] += bias[k]


@njit(parallel=True, cache=True)
def backward_weight(address, grad, x, dweight, window, steps, groups, tile_rows, blocks, scratch):
    """One task: one group, one block of the columns' rows; it adds up the tiles in order."""
    images, filters, out_h, out_w = grad.shape
    k_group, pixels = filters // groups, out_h * out_w
    inner = x.shape[1] // groups * window[0] * window[1]
    grad_flat = grad.reshape(grad.size)
    tiles = (images * out_h + tile_rows - 1) // tile_rows
    tasks, workers = groups * blocks, scratch.shape[0]
    for worker in prange(workers):
        columns = scratch[worker]
        for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
            group, block = task // blocks, task % blocks
            r0, r1 = block * inner // blocks, (block + 1) * inner // blocks
            rows = (group * inner + r0, group * inner + r1)
            k0 = group * k_group
            for t in range(tiles):
                first = t * tile_rows
                tile = (first, min(first + tile_rows, images * out_h))
                n = first // out_h
                size = (tile[1] - first) * out_w
                gather(x, columns, 0, rows, tile, (out_h, out_w), window, steps)
                beta = x.dtype.type(0 if t == 0 else 1)
                if tile[1] <= (n + 1) * out_h:
                    gemm(
                        address, 0, 1, k_group, r1 - r0, size,
                        grad_flat, (n * filters + k0) * pixels + (first - n * out_h) * out_w,
                        pixels, columns, 0, size, beta, dweight, k0 * inner + r0, inner,
                    )  # fmt: skip
                else:
                    at = (r1 - r0) * size
                    pack(grad, columns, at, (k0, k0 + k_group), tile)
                    gemm(
                        address, 0, 1, k_group, r1 - r0, size, columns, at, size,
                        columns, 0, size, beta, dweight, k0 * inner + r0, inner,
                    )  # fmt: skip


@njit(parallel=True, cache=True)
def backward_input(
    address, grad, weight, dx, window, steps, groups, task_images, tile_rows, blocks, scratch
):
    """One task: some images, one group, one block of its input channels; no two share a pixel."""
    images, filters, out_h, out_w = grad.shape
    k_group, pixels = filters // groups, out_h * out_w
    depth, taps = dx.shape[1] // groups, window[0] * window[1]
    inner = depth * taps
    grad_flat = grad.reshape(grad.size)
    zero = dx.dtype.type(0)
    parts = (images + task_images - 1) // task_images
    tasks, workers = parts * groups * blocks, scratch.shape[0]
    for worker in prange(workers):
        columns = scratch[worker]
        for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
            group, block = task // blocks % groups, task % blocks
            r0, r1 = block * depth // blocks * taps, (block + 1) * depth // blocks * taps
            rows = (group * inner + r0, group * inner + r1)
            k0 = group * k_group
            start = task // (blocks * groups) * task_images * out_h
            end = min(start + task_images * out_h, images * out_h)
            for first in range(start, end, tile_rows):
                tile = (first, min(first + tile_rows, end))
                n = first // out_h
                size = (tile[1] - first) * out_w
                if tile[1] <= (n + 1) * out_h:
                    gemm(
                        address, 1, 0, r1 - r0, size, k_group, weight, k0 * inner + r0, inner,
                        grad_flat, (n * filters + k0) * pixels + (first - n * out_h) * out_w,
                        pixels, zero, columns, 0, size,
                    )  # fmt: skip
                else:
                    at = (r1 - r0) * size
                    pack(grad, columns, at, (k0, k0 + k_group), tile)
                    gemm(
                        address, 1, 0, r1 - r0, size, k_group, weight, k0 * inner + r0, inner,
                        columns, at, size, zero, columns, 0, size,
                    )  # fmt: skip
                scatter_add(columns, 0, dx, rows, tile, (out_h, out_w), window, steps)


@njit(parallel=True, cache=True)
def channel_sums(y, total):
    """One worker per channel; in float64, because a float32 sum of a million loses digits."""
    for k in prange(y.shape[1]):
        acc = 0.0
        for n in range(y.shape[0]):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    acc += y[n, k, i, j]
        total[k] = acc
