"""As `im2col`, but no column is ever written: a pixel is looked up where the product needs it.

The image is cut into tiles that stay in a core's cache, the weights are laid out once in the order
of use, and `registers.multiply` keeps a block of results in vector registers while it runs through
the taps of the window.  Workers share the tiles.  The price is bookkeeping: tables of offsets
(`plan`), borders, and results that come out as (pixel, filter) and are turned over on writing.

Every value is written by one worker, and sums run in a fixed order: the same call gives the same
bits, whichever worker is faster.
"""

from __future__ import annotations

import functools

import numba
import numpy as np

from minimask.kernels.conv2d.cpu import compiled_loops
from minimask.kernels.conv2d.cpu.plan import (
    Plan,
    Tiling,
    backward_plan,
    forward_plan,
    parts_of,
    tiling,
)
from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.vectors import ROWS, lanes


def conv2d(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """Every tile of y: the windows of its pixels times all filters."""
    y = np.empty(g.output_shape, x.dtype)
    steps = (g.filters // g.groups * g.inner, g.inner, 1)
    correlate_tiles(x, weight, steps, bias, y, forward_plan(g), g.groups)
    return y


def conv2d_backward_input(
    grad: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """Every tile of dx: the windows of grad that see its pixels times all input channels."""
    dx = np.empty(g.input_shape, grad.dtype)
    steps = (g.filters // g.groups * g.inner, g.window[0] * g.window[1], 0)
    correlate_tiles(grad, weight, steps, bias, dx, backward_plan(g), g.groups)
    return dx


def correlate_tiles(
    x: np.ndarray,
    weight: np.ndarray,
    weight_steps: tuple[int, int, int],
    bias: np.ndarray | None,
    y: np.ndarray,
    plan: Plan,
    groups: int,
    residual: np.ndarray | None = None,
    relu: bool = False,
) -> None:
    """Write to y the correlation, plus the residual, and its ReLU if asked."""
    if y.size == 0:
        return
    workers, lane = numba.get_num_threads(), lanes(x.itemsize)
    tile = tiling(plan, x.shape[0], workers)
    filters = y.shape[1] // groups
    panels = -(-filters // (2 * lane))
    packed = scratch("packed", 1, groups * panels * len(plan.order) * 2 * lane, x.dtype)[0]
    compiled_loops.pack_filters(
        flat(weight), weight_steps, plan.order, groups, filters, packed, lane
    )
    pixels = tile.images * tile.rows * plan.grid[1] + ROWS
    padded = tile.images * (x.shape[1] // groups) * tile.plane_rows * tile.pitch
    tasks = -(-x.shape[0] // tile.images) * -(-plan.grid[0] // tile.rows) * groups
    parts = parts_of(tasks, panels, workers)
    compiled_loops.correlate(
        flat(x),
        x.shape,
        packed,
        tile.taps,
        plan.phases,
        starts_of(bias, groups, filters, 2 * lane, x.dtype),
        y.reshape(-1),
        y.shape,
        groups,
        _numbers(plan, tile, parts),
        plan.border,
        plan.in_step,
        plan.out_step,
        flat(y if residual is None else residual),
        (residual is not None, relu),
        lane,
        scratch("tiles", workers, padded + 4 * lane * pixels, x.dtype),
        scratch("offsets", workers, pixels, np.dtype(np.int64)),
    )


def conv2d_backward_weight(grad: np.ndarray, x: np.ndarray, *, g: Geometry) -> np.ndarray:
    """Every worker owns some taps of the window and adds up pixel times grad over all tiles."""
    dweight = np.zeros(g.weight_shape, grad.dtype)
    if grad.size == 0:
        return dweight
    workers, lane = numba.get_num_threads(), lanes(x.itemsize)
    plan = forward_plan(g)
    tile = tiling(plan, g.images, 1)
    filters = g.filters // g.groups
    panels = -(-filters // (2 * lane))
    positions = g.images * g.output_size[0] * g.output_size[1]
    packed = scratch("packed", 1, g.groups * panels * positions * 2 * lane, x.dtype)[0]
    compiled_loops.pack_grad(flat(grad), grad.shape, g.groups, panels, packed, lane)
    parts = -(-workers // g.groups)
    taps = -(-g.inner // parts) + 2 * ROWS
    pixels = tile.images * tile.rows * g.output_size[1] + ROWS
    channels = taps // (g.window[0] * g.window[1]) + 2
    padded = tile.images * channels * tile.plane_rows * tile.pitch
    compiled_loops.correlate_weights(
        flat(x),
        x.shape,
        packed,
        grad.shape,
        tile.taps,
        plan.channels,
        np.zeros(2 * lane, x.dtype),
        dweight.reshape(-1),
        g.groups,
        _numbers(plan, tile, parts),
        plan.border,
        plan.in_step,
        lane,
        scratch("tiles", g.groups * parts, padded + taps * panels * 2 * lane, x.dtype),
        scratch("offsets", g.groups * parts, pixels + taps, np.dtype(np.int64)),
    )
    return dweight


def conv2d_backward_bias(grad: np.ndarray) -> np.ndarray:
    """The sum over images and positions, accumulated in float64, one worker per channel."""
    total = np.zeros(grad.shape[1], grad.dtype)
    if grad.size:
        images, filters, height, width = grad.shape
        flat = np.ascontiguousarray(grad).reshape(images, filters, height * width)
        compiled_loops.channel_sums(flat, total)
    return total


def starts_of(
    bias: np.ndarray | None, groups: int, filters: int, width: int, dtype: np.dtype
) -> np.ndarray:
    """What the sums of every panel begin with: the bias; and a panel of zeros at the end."""
    panels = -(-filters // width)
    starts = np.zeros((groups * panels + 1) * width, dtype)
    if bias is not None:
        per_group = starts[: groups * panels * width].reshape(groups, panels * width)
        per_group[:, :filters] = bias.reshape(groups, filters)
    return starts


def _numbers(plan: Plan, tile: Tiling, parts: int) -> tuple[int, ...]:
    return (
        tile.images,
        tile.rows,
        parts,
        plan.grid[0],
        plan.reach[0],
        tile.plane_rows,
        tile.pitch,
    )


def flat(array: np.ndarray) -> np.ndarray:
    """All numbers in one row, in an array Numba takes for ordinary (a read-only one is not)."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.flags.writeable else flat.copy()


def scratch(use: str, workers: int, size: int, dtype: np.dtype) -> np.ndarray:
    """(workers, size) of working memory, kept between calls: fresh memory costs page faults."""
    line = 64 // dtype.itemsize  # a row per cache line or more, so that no two workers share one
    size = -(-size // line) * line
    held = _held(use, dtype)
    if not held or held[0].size < workers * size + line:
        held[:] = [np.empty(workers * size + line, dtype)]
    start = -held[0].ctypes.data % 64 // dtype.itemsize
    return held[0][start : start + workers * size].reshape(workers, size)


@functools.cache
def _held(use: str, dtype: np.dtype) -> list[np.ndarray]:
    return []
