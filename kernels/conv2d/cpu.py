"""As `im2col`, but one tile of the output at a time: its columns are written, multiplied and gone.

A tile is a few rows of the output, chosen so that its columns stay in the core's own cache and
never travel to memory.  Workers share the tiles; each multiplies on one thread with its own
columns.  The price is bookkeeping: tiles that cross images, rows that cross the border.

Nothing depends on which worker is faster: every value is written by one worker, and sums over
tiles run in a fixed order.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import functools

import numba
import numpy as np

from minimask.kernels.blas import gemm_address
from minimask.kernels.conv2d import cpu_tiles
from minimask.kernels.conv2d.geometry import Geometry

# Bytes of columns per worker: about half of a core's second-level cache, the rest is for BLAS.
TILE_BYTES = 512 * 1024
# Columns a product needs at least to pay for arranging the weights.
TILE_COLUMNS = 128


def conv2d(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """Every tile of the output: weights (K / G, inner) times the columns of the tile."""
    y = np.empty(g.output_shape, x.dtype)
    if y.size:
        x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
        _forward(x, weight.ravel(), _or_zeros(bias, g.filters, x.dtype), y, g)
    return y


def _forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, y: np.ndarray, g: Geometry
) -> None:
    workers = numba.get_num_threads()
    rows = _tile_rows(g, g.inner, x.itemsize)
    tiles = -(-g.images * g.output_size[0] // rows)
    blocks = _blocks(workers, tiles * g.groups, g.filters // g.groups)
    scratch = _scratch(
        workers, (g.inner + g.filters // g.groups) * rows * g.output_size[1], x.dtype
    )
    address = gemm_address(x.dtype)
    steps = _steps(g)
    cpu_tiles.forward(address, x, weight, bias, y, g.window, steps, g.groups, rows, blocks, scratch)


def conv2d_backward_weight(grad: np.ndarray, x: np.ndarray, *, g: Geometry) -> np.ndarray:
    """Every worker owns some rows of the columns, and so their weights; it visits all tiles."""
    dweight = np.zeros(g.weight_shape, grad.dtype)
    if grad.size:
        workers = numba.get_num_threads()
        rows = _tile_rows(g, -(-g.inner // workers), x.itemsize)
        share = -(-g.inner * g.groups // workers)
        blocks = max(1, -(-g.inner // share))
        size = (-(-g.inner // blocks) + g.filters // g.groups) * rows * g.output_size[1]
        cpu_tiles.backward_weight(
            gemm_address(x.dtype),
            np.ascontiguousarray(grad),
            np.ascontiguousarray(x),
            dweight.reshape(-1),
            g.window,
            _steps(g),
            g.groups,
            rows,
            blocks,
            _scratch(workers, size, x.dtype),
        )
    return dweight


def conv2d_backward_bias(grad: np.ndarray) -> np.ndarray:
    """The sum over images and positions, accumulated in float64, one worker per channel."""
    total = np.zeros(grad.shape[1], grad.dtype)
    if grad.size:
        cpu_tiles.channel_sums(np.ascontiguousarray(grad), total)
    return total


def conv2d_backward_input(
    grad: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """At stride 1 a convolution with the flipped weights; else columns are added back to pixels."""
    if g.stride == (1, 1) and grad.size:
        dx = np.empty(g.input_shape, grad.dtype)
        bias = _or_zeros(bias, g.channels, grad.dtype)
        _forward(np.ascontiguousarray(grad), _flipped(weight, g), bias, dx, _adjoint(g))
        return dx
    dx = np.zeros(g.input_shape, grad.dtype)
    if bias is not None:
        dx += bias[:, None, None]
    if grad.size:
        _scatter_columns(np.ascontiguousarray(grad), np.ascontiguousarray(weight), dx, g)
    return dx


def _scatter_columns(grad: np.ndarray, weight: np.ndarray, dx: np.ndarray, g: Geometry) -> None:
    workers = numba.get_num_threads()
    pixels = g.output_size[0] * g.output_size[1]
    taps = g.window[0] * g.window[1]
    images = max(1, min(-(-g.images // workers), TILE_COLUMNS // pixels))
    tasks = -(-g.images // images) * g.groups
    blocks = _blocks(workers, tasks, g.channels // g.groups)
    depth = -(-(g.channels // g.groups) // blocks)
    rows = max(1, TILE_BYTES // (depth * taps * grad.itemsize * g.output_size[1]))
    rows = min(rows, images * g.output_size[0])
    size = (depth * taps + g.filters // g.groups) * rows * g.output_size[1]
    cpu_tiles.backward_input(
        gemm_address(grad.dtype),
        grad,
        weight.reshape(-1),
        dx,
        g.window,
        _steps(g),
        g.groups,
        images,
        rows,
        blocks,
        _scratch(workers, size, grad.dtype),
    )


def _flipped(weight: np.ndarray, g: Geometry) -> np.ndarray:
    """(G, C / G, K / G, kh, kw), each window rotated by half a turn."""
    grouped = weight.reshape(g.groups, g.filters // g.groups, *g.weight_shape[1:])
    return np.ascontiguousarray(grouped.swapaxes(1, 2)[..., ::-1, ::-1]).ravel()


def _adjoint(g: Geometry) -> Geometry:
    """The convolution that is the input gradient of a stride-1 convolution.

    Its padding is negative where `g` pads by more than the window reaches.
    """
    return Geometry(
        images=g.images,
        channels=g.filters,
        size=g.output_size,
        filters=g.channels,
        window=g.window,
        output_size=g.size,
        stride=(1, 1),
        padding=(
            g.dilation[0] * (g.window[0] - 1) - g.padding[0],
            g.dilation[1] * (g.window[1] - 1) - g.padding[1],
        ),
        dilation=g.dilation,
        groups=g.groups,
    )


def _steps(g: Geometry) -> tuple[int, ...]:
    return (*g.stride, *g.padding, *g.dilation)


def _tile_rows(g: Geometry, inner: int, itemsize: int) -> int:
    """Output rows per tile: columns within `TILE_BYTES`, though at least `TILE_COLUMNS` of them."""
    width = g.output_size[1]
    fitting = TILE_BYTES // (inner * itemsize * width)
    wanted = max(1, fitting, TILE_COLUMNS // width)
    return min(wanted, g.images * g.output_size[0])


def _blocks(workers: int, tasks: int, channels: int) -> int:
    """Into how many blocks to cut the channels so that the workers are evenly busy."""
    if tasks >= 4 * workers or tasks % workers == 0:
        return 1
    return min(workers, channels)


def _or_zeros(bias: np.ndarray | None, channels: int, dtype: np.dtype) -> np.ndarray:
    return np.zeros(channels, dtype) if bias is None else np.ascontiguousarray(bias)


def _scratch(workers: int, size: int, dtype: np.dtype) -> np.ndarray:
    """One row of working memory per worker, kept between calls: fresh memory costs page faults."""
    held = _held(np.dtype(dtype))
    if not held or held[0].size < workers * size:
        held[:] = [np.empty(workers * size, dtype)]
    return held[0][: workers * size].reshape(workers, size)


@functools.cache
def _held(dtype: np.dtype) -> list[np.ndarray]:
    return []
