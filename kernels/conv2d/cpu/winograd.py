"""As `cpu`, but 3x3 windows at stride 1 take a quarter of the products: Winograd's F(4x4, 3x3).

Tiles of 6x6 pixels are transformed, multiplied with transformed filters as 36 matrix products, and
transformed back to 4x4 outputs (`transforms` has the mathematics).  The price: more additions and
memory per tile, which wide layers with many tiles repay, and rounding: an error of 1e-6 to 3e-6 of
the largest output in float32, where `cpu` has 3e-7 to 1e-6.  A NaN or infinity in a tile spreads
to the whole tile, up to three pixels beyond the windows that see it.

Everything else runs as in `cpu`: other windows, steps and groups, channels that do not fill whole
registers, few filters or tiles, float64.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numba
import numpy as np

from minimask.kernels.conv2d.cpu import compiled, winograd_loops
from minimask.kernels.conv2d.cpu.compiled import conv2d_backward_bias, flat, scratch, starts_of
from minimask.kernels.conv2d.cpu.plan import backward_plan, forward_plan, parts_of
from minimask.kernels.conv2d.cpu.transforms import ELEMENTS, OUT, TILE
from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.vectors import ROWS, lanes

__all__ = ["conv2d", "conv2d_backward_bias", "conv2d_backward_input", "conv2d_backward_weight"]

# Tiles per block: their spectra stay in a core's cache.
TILES = 32


@dataclass(frozen=True, eq=False)
class Blocks:
    """How images of tiles are cut into blocks, and where their numbers lie in a spectrum."""

    images: int
    rows: int
    columns: int  # tiles per row of an image
    tiles: int  # per block, rounded up for `registers.multiply`

    def field_size(self, channels: int) -> int:
        """Numbers in the padded pixels of a block."""
        border = TILE - OUT
        pixels = (self.rows * OUT + border) * (self.columns * OUT + border)
        return (self.images * pixels + 1) * channels

    def pixels(self, width: int) -> int:
        """Pixels of one image that a block reads at most."""
        return (self.rows * OUT + TILE - OUT) * max(width, self.columns * OUT)

    @property
    def spill(self) -> int:
        """Outputs that the last tile writes too many."""
        return OUT * (self.columns * OUT + OUT)


def fits(g: Geometry, dtype: np.dtype) -> bool:
    """Whether this is a convolution for which Winograd's form is faster."""
    lane = lanes(4)
    return (
        dtype == np.float32
        and g.window == (3, 3)
        and g.stride == g.dilation == (1, 1)
        and g.groups == 1
        and g.channels % lane == 0
        and g.filters >= lane
        and g.images * _tiles(g.output_size[0]) * _tiles(g.output_size[1]) >= TILES
    )


def conv2d(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """For every tile d of x: y = A [(G w G') * (B d B')] A'."""
    if not fits(g, x.dtype):
        return compiled.conv2d(x, weight, bias, g=g)
    y = np.empty(g.output_shape, x.dtype)
    convolve_tiles(x, weight, (g.inner, 1), forward_plan(g).order, False, bias, y, g.padding)
    return y


def conv2d_backward_input(
    grad: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """The same, of grad under the flipped windows."""
    if not fits(g, grad.dtype):
        return compiled.conv2d_backward_input(grad, weight, bias, g=g)
    dx = np.empty(g.input_shape, grad.dtype)
    weight = _filled(weight, 0)
    g = replace(g, filters=len(weight))
    plan = backward_plan(g)
    convolve_tiles(_filled(grad, 1), weight, (9, 0), plan.order, True, bias, dx, plan.border)
    return dx


def _filled(array: np.ndarray, axis: int) -> np.ndarray:
    """The array with zeros at the end of an axis, so that whole registers are taken along it."""
    rest = -array.shape[axis] % lanes(4)
    if not rest:
        return array
    return np.pad(array, [(0, rest * (i == axis)) for i in range(array.ndim)])


def convolve_tiles(
    x: np.ndarray,
    weight: np.ndarray,
    weight_steps: tuple[int, int],
    order: np.ndarray,
    flip: bool,
    bias: np.ndarray | None,
    y: np.ndarray,
    border: tuple[int, int],
    residual: np.ndarray | None = None,
    relu: bool = False,
) -> None:
    """Write to y the convolution, plus the residual, and its ReLU if asked."""
    workers, lane = numba.get_num_threads(), lanes(4)
    channels, count = x.shape[1], y.shape[1]
    panels = -(-count // (2 * lane))
    packed = scratch("packed", 1, panels * channels * 9 * 2 * lane, x.dtype)[0]
    filters = scratch("filters", 1, panels * ELEMENTS * channels * 2 * lane, x.dtype)[0]
    winograd_loops.all_filters(
        flat(weight), (0, *weight_steps), order, count, packed, flip, channels, filters, lane
    )
    blocks = _blocks(y.shape[0], y.shape[2], y.shape[3], workers)
    tasks = -(-y.shape[0] // blocks.images) * -(-_tiles(y.shape[2]) // blocks.rows)
    parts = parts_of(tasks, panels, workers)
    size = blocks.field_size(channels) + ELEMENTS * blocks.tiles * (channels + 2 * lane)
    size += (blocks.tiles * OUT * OUT + blocks.spill) * 2 * lane
    winograd_loops.convolve(
        flat(x),
        x.shape,
        filters,
        _offsets(ELEMENTS * blocks.tiles, channels),
        _offsets(channels, 1),
        starts_of(bias, 1, count, 2 * lane, x.dtype),
        y.reshape(-1),
        y.shape,
        (blocks.images, blocks.rows, parts, blocks.columns),
        border,
        flat(y if residual is None else residual),
        (residual is not None, relu),
        lane,
        scratch("tiles", workers, size, x.dtype),
        scratch("offsets", workers, blocks.pixels(x.shape[3]), np.dtype(np.int64)),
    )


def conv2d_backward_weight(grad: np.ndarray, x: np.ndarray, *, g: Geometry) -> np.ndarray:
    """Over all tiles: dw = G' [sum of (A' dy A) * (B d B')] G."""
    if not fits(g, grad.dtype):
        return compiled.conv2d_backward_weight(grad, x, g=g)
    filters = g.filters
    grad = _filled(grad, 1)
    g = replace(g, filters=grad.shape[1])
    workers, lane = numba.get_num_threads(), lanes(4)
    dweight = np.empty(g.weight_shape, grad.dtype)
    blocks = _blocks(g.images, *g.output_size, workers)
    padded_channels = -(-g.channels // ROWS) * ROWS
    panels = -(-g.filters // (2 * lane))
    all_sums = scratch("sums", workers, ELEMENTS * padded_channels * g.filters, x.dtype)
    size = blocks.field_size(max(g.channels, g.filters))
    size += ELEMENTS * blocks.tiles * (g.channels + panels * 2 * lane)
    winograd_loops.correlate_weights(
        flat(x),
        x.shape,
        flat(grad),
        grad.shape,
        _channel_offsets(g.channels, padded_channels, blocks.tiles),
        _offsets(blocks.tiles, g.channels),
        np.zeros(2 * lane, x.dtype),
        (blocks.images, blocks.rows, 1, blocks.columns),
        g.padding,
        lane,
        all_sums,
        scratch("tiles", workers, size, x.dtype),
        scratch("offsets", workers, blocks.pixels(g.size[1]), np.dtype(np.int64)),
    )
    winograd_loops.finish_weights(
        all_sums, g.channels, g.filters, padded_channels, dweight.reshape(-1), lane
    )
    return dweight[:filters]


def _tiles(length: int) -> int:
    return -(-length // OUT)


@functools.lru_cache(maxsize=1024)
def _blocks(images: int, height: int, width: int, workers: int) -> Blocks:
    """Blocks of about `TILES` tiles: rows of tiles of one image, or small images whole."""
    rows, columns = _tiles(height), _tiles(width)
    some = max(1, min(TILES // (rows * columns), -(-images // workers)))
    if some == 1:
        rows = max(1, min(rows, TILES // columns))
    tiles = -(-some * rows * columns // ROWS) * ROWS
    return Blocks(some, rows, columns, tiles)


@functools.lru_cache(maxsize=256)
def _offsets(count: int, step: int) -> np.ndarray:
    return np.arange(count) * step


@functools.lru_cache(maxsize=256)
def _channel_offsets(channels: int, padded_channels: int, tiles: int) -> np.ndarray:
    """Where channel c of element e begins in a spectrum; the last one repeated to fill a block."""
    c = np.minimum(np.arange(padded_channels), channels - 1)
    return (np.arange(ELEMENTS)[:, None] * tiles * channels + c).ravel()
