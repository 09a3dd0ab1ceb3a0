"""Which pixels a window touches, as tables of offsets, for the compiled convolution.

The output pixel (i, j) and the tap (c, u, v) of the window meet at one number of the padded input:

    offset = (i stride + u dilation) pitch + (j stride + v dilation) + c plane

that is, the pixel's offset plus the tap's.  The gradient of the input has the same form at stride
1.  At larger strides the pixels of dx fall into *phases* (i mod stride, j mod stride): the taps
that reach a pixel are the same within one phase, so each phase is a small convolution of its own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from minimask.kernels.conv2d.geometry import Geometry, Pair

# Pixels per tile: enough work to pay for a tile's bookkeeping, few enough to stay in cache.
TILE_PIXELS = 256


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: `tiling` remembers plans
class Plan:
    """A correlation of images (N, channels, size) to outputs (N, filters, output_size)."""

    size: Pair
    border: Pair  # rows and columns of zeros before the first pixel; negative: pixels cut off
    reach: Pair  # rows and columns that a window spans
    in_step: Pair  # padded pixels between the windows of neighboring outputs
    out_step: Pair  # output pixels between neighbors of one phase
    taps: np.ndarray  # (taps, 3): channel, row, column
    order: np.ndarray  # (taps,): where a tap's weight lies, relative to its filter's first
    phases: np.ndarray  # (phases, 6): first tap, end tap, rows, columns, first row, first column

    @functools.cached_property
    def channels(self) -> np.ndarray:
        """(taps,): the channel of every tap."""
        return self.taps[:, 0].copy()

    @property
    def grid(self) -> Pair:
        """Rows and columns of the largest phase."""
        return int(self.phases[:, 2].max()), int(self.phases[:, 3].max())

    @property
    def pitch(self) -> int:
        """Columns of a padded row."""
        return (self.grid[1] - 1) * self.in_step[1] + self.reach[1]

    @property
    def needs_padding(self) -> bool:
        """Whether a window reaches beyond the image."""
        rows = (self.grid[0] - 1) * self.in_step[0] + self.reach[0]
        inside = rows <= self.size[0] and self.pitch <= self.size[1]
        return self.border != (0, 0) or not inside


def _grid_taps(channels: int, rows: list[int], columns: list[int]) -> np.ndarray:
    grids = np.meshgrid(np.arange(channels), rows, columns, indexing="ij")
    return np.stack([grid.ravel() for grid in grids], axis=1).astype(np.int64)


@functools.lru_cache(maxsize=1024)
def forward_plan(g: Geometry) -> Plan:
    """Of y from x: one phase, all taps in the order of the weights."""
    return _forward_plan(replace(g, images=0))  # the same for any number of images


@functools.lru_cache(maxsize=1024)
def backward_plan(g: Geometry) -> Plan:
    """Of dx from dy: output i of y meets row `i stride - padding + u dilation` of x."""
    return _backward_plan(replace(g, images=0))


@functools.lru_cache(maxsize=256)
def _forward_plan(g: Geometry) -> Plan:
    (kh, kw), (dh, dw) = g.window, g.dilation
    taps = _grid_taps(
        g.channels // g.groups, [u * dh for u in range(kh)], [v * dw for v in range(kw)]
    )
    return Plan(
        size=g.size,
        border=g.padding,
        reach=(dh * (kh - 1) + 1, dw * (kw - 1) + 1),
        in_step=g.stride,
        out_step=(1, 1),
        taps=taps,
        order=np.arange(len(taps)),
        phases=np.array([[0, len(taps), *g.output_size, 0, 0]]),
    )


def _phase_axis(g: Geometry, axis: int, phase: int) -> tuple[list[int], list[int]]:
    """The window's rows (or columns) that reach a phase, and how many outputs away they do."""
    step, border, spread = g.stride[axis], g.padding[axis], g.dilation[axis]
    found = [(phase + border - u * spread, u) for u in range(g.window[axis])]
    reaching = [(distance // step, u) for distance, u in found if distance % step == 0]
    return [u for _, u in reaching], [away for away, _ in reaching]


@functools.lru_cache(maxsize=256)
def _backward_plan(g: Geometry) -> Plan:
    axes = [[_phase_axis(g, axis, p) for p in range(g.stride[axis])] for axis in (0, 1)]
    away = [[a for _, some in phases for a in some] or [0] for phases in axes]
    border = tuple(-min(some) for some in away)
    reach = tuple(max(some) - min(some) + 1 for some in away)
    taps, order, phases = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)], []
    first = 0
    for a, (rows, down) in enumerate(axes[0]):
        for b, (columns, across) in enumerate(axes[1]):
            filters = g.filters // g.groups
            taps.append(
                _grid_taps(filters, [d + border[0] for d in down], [d + border[1] for d in across])
            )
            k, u, v = _grid_taps(filters, rows, columns).T
            order.append(k * g.inner + u * g.window[1] + v)
            end = first + len(k)
            height, width = (
                -(-(g.size[axis] - phase) // g.stride[axis]) for axis, phase in ((0, a), (1, b))
            )
            phases.append([first, end, height, width, a, b])
            first = end
    return Plan(
        size=g.output_size,
        border=(border[0], border[1]),
        reach=(reach[0], reach[1]),
        in_step=(1, 1),
        out_step=g.stride,
        taps=np.concatenate(taps),
        order=np.concatenate(order),
        phases=np.array(phases),
    )


@dataclass(frozen=True)
class Tiling:
    """How a plan is cut into tiles, and the taps' offsets in the pixels of one tile."""

    images: int
    rows: int
    plane_rows: int  # padded rows per channel; 0: the images are read in place
    pitch: int
    taps: np.ndarray


def tiling(plan: Plan, images: int, workers: int) -> Tiling:
    """Tiles of about `TILE_PIXELS` pixels: rows of one image, or small images whole."""
    height, width = plan.grid
    some = max(1, min(TILE_PIXELS // (height * width), -(-images // workers)))
    rows = height if some > 1 else max(1, min(height, TILE_PIXELS // width))
    return _tiling(plan, some, rows)


@functools.lru_cache(maxsize=1024)
def _tiling(plan: Plan, images: int, rows: int) -> Tiling:
    plane_rows = (rows - 1) * plan.in_step[0] + plan.reach[0] if plan.needs_padding else 0
    pitch = plan.pitch if plane_rows else plan.size[1]
    plane = plane_rows * pitch if plane_rows else plan.size[0] * plan.size[1]
    offsets = plan.taps @ np.array([plane, pitch, 1])
    return Tiling(images, rows, plane_rows, pitch, offsets)


def parts_of(tiles: int, panels: int, workers: int) -> int:
    """How many parts the panels of filters are cut into, so that workers get equal shares.

    Args:
        tiles: of pixels; each with one part of the panels is a task.
        panels: at most as many parts.
        workers: who take neighboring tasks in equal numbers.
    """
    parts = min(panels, -(-4 * workers // tiles))
    while parts < panels and tiles * parts % workers:
        parts += 1
    return parts
