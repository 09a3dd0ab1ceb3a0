"""As `winograd`, but groups of few channels, or of one, have loops of their own.

In `cpu` the lanes of a vector are filters, and a group of four filters leaves most lanes empty; a
depthwise convolution leaves all but one.  Here the lanes are pixels.  A tile of a group's channels
is copied with its border of zeros and sorted by the stride's remainders, so that under every tap
neighboring outputs read neighboring numbers; nothing is turned over, and the same loops run for
any window, stride and dilation.  The price: every number of x is copied once, and where a group
has many channels, weights that lie apart are read more slowly than in `cpu`.

The input gradient is again such a convolution, one for each remainder of the stride (`plan`).  In
the weight gradient lanes are pixels too, and are added up at the end of each tile: a NaN or
infinity in x may reach all taps of its channel there.

Images of one pixel under 1x1 windows, of squeeze and excitation, are one product of matrices.
Other convolutions without groups run as in `winograd`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numba
import numpy as np

from minimask.kernels.conv2d.cpu import grouped_loops, grouped_weight_loops, winograd
from minimask.kernels.conv2d.cpu.compiled import conv2d_backward_bias, flat, scratch
from minimask.kernels.conv2d.cpu.plan import Plan, backward_plan, forward_plan
from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.vectors import lanes

__all__ = ["conv2d", "conv2d_backward_bias", "conv2d_backward_input", "conv2d_backward_weight"]

# Numbers in a tile, and its pixels at most: enough to pay for the border's rows and for the
# bookkeeping, few enough to stay in a core's second cache.
TILE_SIZE, TILE_PIXELS = 1 << 15, 1 << 12
MOST_CHANNELS = 64  # of a group; with more, `cpu` is faster
WIDEST = 8  # vectors of pixels that a block of `lanes` writes at a time
MOST_TAPS = 9  # of a block of the weight gradient


@dataclass(frozen=True)
class Tiling:
    """How a plan is cut into tiles, and the taps' offsets in one of them."""

    rows: int  # of the output
    plane_rows: int  # of a tile, for each remainder of the stride
    pitch: int
    size: int  # numbers in a tile
    taps: np.ndarray  # the last one repeated to fill a block


def fits(g: Geometry) -> bool:
    """Whether this is a convolution for which these loops are faster."""
    return g.groups > 1 and max(g.channels, g.filters) // g.groups <= MOST_CHANNELS


def has_one_pixel(g: Geometry) -> bool:
    """Whether this is a linear layer in all but its shapes."""
    return g.groups == 1 and g.is_pointwise and g.size == (1, 1)


def conv2d(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """Group by group, tile by tile."""
    if has_one_pixel(g):
        return _one_pixel(x[:, :, 0, 0] @ weight[:, :, 0, 0].T, bias)
    if not fits(g):
        return winograd.conv2d(x, weight, bias, g=g)
    y = np.empty(g.output_shape, x.dtype)
    convolve_groups(x, weight, bias, y, g)
    return y


def convolve_groups(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    y: np.ndarray,
    g: Geometry,
    residual: np.ndarray | None = None,
    relu: bool = False,
) -> None:
    """Write to y the convolution, plus the residual, and its ReLU if asked."""
    steps = (g.filters // g.groups * g.inner, g.inner)
    _convolve(x, weight, steps, bias, y, forward_plan(g), g.groups, residual, relu)


def conv2d_backward_input(
    grad: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """The same of grad, with channels and filters exchanged."""
    if has_one_pixel(g):
        return _one_pixel(grad[:, :, 0, 0] @ weight[:, :, 0, 0], bias)
    if not fits(g):
        return winograd.conv2d_backward_input(grad, weight, bias, g=g)
    dx = np.empty(g.input_shape, grad.dtype)
    steps = (g.filters // g.groups * g.inner, g.window[0] * g.window[1])
    _convolve(grad, weight, steps, bias, dx, backward_plan(g), g.groups, None, False)
    return dx


def _convolve(
    x: np.ndarray,
    weight: np.ndarray,
    steps: tuple[int, int],
    bias: np.ndarray | None,
    y: np.ndarray,
    plan: Plan,
    groups: int,
    residual: np.ndarray | None,
    relu: bool,
) -> None:
    if y.size == 0:
        return
    workers, lane = numba.get_num_threads(), lanes(x.itemsize)
    depth, filters = x.shape[1] // groups, y.shape[1] // groups
    tile = tiling(plan, depth, min(4, filters) * len(plan.phases), WIDEST * lane)
    size = tile.rows * tile.pitch + WIDEST * lane
    line = max(tile.pitch * plan.in_step[1], y.shape[3]) + 2 * lane
    memory = tile.size + line + filters * len(plan.order) + 4 * len(plan.phases) * size
    grouped_loops.convolve(
        flat(x),
        x.shape,
        flat(weight),
        steps,
        plan.order,
        tile.taps[: len(plan.taps)],
        plan.phases,
        np.zeros(y.shape[1], x.dtype) if bias is None else flat(bias),
        y.reshape(-1),
        y.shape,
        groups,
        (tile.rows, plan.grid[0], tile.plane_rows, tile.pitch, tile.size, line, size),
        plan.border,
        plan.in_step,
        plan.out_step,
        flat(y if residual is None else residual),
        (residual is not None, relu),
        lane,
        scratch("tiles", workers, memory, x.dtype),
    )


def conv2d_backward_weight(grad: np.ndarray, x: np.ndarray, *, g: Geometry) -> np.ndarray:
    """Every worker owns some groups, or some filters of one, and adds up over all tiles."""
    if has_one_pixel(g):
        return _one_pixel(grad[:, :, 0, 0].T @ x[:, :, 0, 0], None)
    if not fits(g):
        return winograd.conv2d_backward_weight(grad, x, g=g)
    dweight = np.zeros(g.weight_shape, grad.dtype)
    if grad.size == 0:
        return dweight
    workers, lane = numba.get_num_threads(), lanes(x.itemsize)
    plan, share = forward_plan(g), g.filters // g.groups
    tile = tiling(plan, g.channels // g.groups, share, WIDEST * lane)
    parts = min(share, -(-workers // g.groups))
    size = tile.rows * tile.pitch + lane
    line = tile.pitch * plan.in_step[1] + 2 * lane
    memory = tile.size + line + -(-share // parts) * (size + len(tile.taps))
    grouped_weight_loops.correlate_weights(
        flat(x),
        x.shape,
        flat(grad),
        grad.shape,
        tile.taps,
        g.inner,
        dweight.reshape(-1),
        g.groups,
        parts,
        (tile.rows, tile.plane_rows, tile.pitch, tile.size, line, size),
        plan.border,
        plan.in_step,
        lane,
        scratch("tiles", workers, memory, x.dtype),
    )
    return dweight


def _one_pixel(values: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    if bias is not None:
        values += bias
    return values[:, :, None, None]


def tiling(plan: Plan, depth: int, sums: int, spare: int) -> Tiling:
    """Tiles of about `TILE_SIZE` numbers, of x and of what is computed from them.

    Args:
        plan: of the correlation.
        depth: channels of a group.
        sums: numbers that are computed at a time for each pixel of the grid.
        spare: numbers that may be read behind a tile.
    """
    (down, across), (height, width) = plan.in_step, plan.grid
    pixels = min(TILE_PIXELS, TILE_SIZE // (depth * down * across + sums))
    return _tiling(plan, depth, max(1, min(height, pixels // max(1, width))), spare)


@functools.lru_cache(maxsize=1024)
def _tiling(plan: Plan, depth: int, rows: int, spare: int) -> Tiling:
    down, across = plan.in_step
    plane_rows = rows - 1 - (-plan.reach[0] // down)
    pitch = -(-plan.pitch // across)
    plane = plane_rows * pitch
    channel, row, column = plan.taps.T
    taps = channel * down * across + row % down * across + column % across
    taps = taps * plane + row // down * pitch + column // across
    repeated = np.full(MOST_TAPS, taps[-1] if len(taps) else 0)
    size = depth * down * across * plane + spare
    return Tiling(rows, plane_rows, pitch, size, np.concatenate([taps, repeated]))
