"""Launches the CUDA C++ rungs of the convolution itself; those of its gradients stand beside.

Letters: N images, C input channels, K filters, G groups, OH OW height and width of the output; rows
are those of the matrix product, C / G kh kw of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minimask.kernels.conv2d.cuda.launch_backward import (
    conv2d_backward_bias_direct,
    conv2d_backward_bias_shared,
    conv2d_backward_bias_vectorized,
    conv2d_backward_input_direct,
    conv2d_backward_input_registers,
    conv2d_backward_input_shared,
    conv2d_backward_input_vectorized,
    conv2d_backward_weight_direct,
    conv2d_backward_weight_registers,
    conv2d_backward_weight_shared,
    conv2d_backward_weight_vectorized,
    instead,
    numbers,
)
from minimask.kernels.conv2d.cuda.launch_library_backward import (
    conv2d_backward_bias_library,
    conv2d_backward_input_library,
    conv2d_backward_weight_library,
)
from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.launch import (
    Program,
    array_module,
    blocks,
    contiguous,
    empty,
    program,
    require_float32,
)

__all__ = [
    "conv2d_backward_bias_direct",
    "conv2d_backward_bias_library",
    "conv2d_backward_bias_shared",
    "conv2d_backward_bias_vectorized",
    "conv2d_backward_input_direct",
    "conv2d_backward_input_library",
    "conv2d_backward_input_registers",
    "conv2d_backward_input_shared",
    "conv2d_backward_input_vectorized",
    "conv2d_backward_weight_direct",
    "conv2d_backward_weight_library",
    "conv2d_backward_weight_registers",
    "conv2d_backward_weight_shared",
    "conv2d_backward_weight_vectorized",
    "conv2d_direct",
    "conv2d_library",
    "conv2d_registers",
    "conv2d_shared",
    "conv2d_tensor_cores",
    "conv2d_vectorized",
    "cut_rows",
]

DIRECT = program(__file__, "forward_1_direct.cu")
SHARED = program(__file__, "forward_2_shared.cu")
REGISTERS = program(__file__, "forward_3_registers.cu")
VECTORIZED = program(__file__, "forward_4_vectorized.cu")
TENSOR_CORES = program(__file__, "forward_5_tensor_cores.cu", oldest=80)
IM2COL = program(__file__, "forward_library_im2col.cu")

# An H200, in round numbers; constants, so that a sum has the same order on every GPU.
MULTIPROCESSORS = 132
CLOCK = 1.7e9  # per second
BYTES = 4.0e12  # per second
LAUNCH = 3e-6  # seconds for one more kernel


@dataclass(frozen=True)
class Tile:
    """What a block owns, and how many rows it takes in a step."""

    filters: int
    pixels: int
    rows: int
    clocks: int  # of a step, if the block has its multiprocessor for itself

    def table(self, g: Geometry) -> int:
        """Bytes of the table of offsets (gather.cuh)."""
        return 8 * self.rows * math.prod(g.window)


# 128 multiplications a clock; with tensor cores a guess, four times as many
WIDE, SQUARE = Tile(64, 256, 8, 1024), Tile(128, 128, 8, 1024)
TF32 = Tile(128, 128, 16, 512)

MOST_TAPS = 64  # of a window, whose bits are one number (gather.cuh)
MOST_PARTS = 16
LEAST_STEPS = 16  # of a part: fewer are mostly beginning and end
MOST_IN_PARTS = 1 << 26  # numbers in all parts: 256 MiB
MOST_IN_COLUMNS = 1 << 28  # 1 GiB


def conv2d_direct(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One thread an output value."""
    x, weight, bias, y = _arrays(x, weight, bias, g)
    grid = (blocks(g.images * math.prod(g.output_size), 256), g.filters)
    DIRECT.launch("conv2d_forward", grid, 256, x, weight, *instead(bias, weight), *numbers(g), y)
    return y


def conv2d_shared(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One block a tile of 16 filters at 16 pixels; `conv2d_direct` for more than 2^31 pixels."""
    if _is_huge(g):
        return conv2d_direct(x, weight, bias, g=g)
    x, weight, bias, y = _arrays(x, weight, bias, g)
    grid = _tiles(g, 16, 16)
    SHARED.launch(
        "conv2d_forward", grid, (16, 16), x, weight, *instead(bias, weight), *numbers(g), y
    )
    return y


def conv2d_registers(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One block a tile of 64 filters at 128 pixels; `conv2d_direct` as in `conv2d_shared`."""
    if _is_huge(g):
        return conv2d_direct(x, weight, bias, g=g)
    x, weight, bias, y = _arrays(x, weight, bias, g)
    grid = _tiles(g, 64, 128)
    REGISTERS.launch("conv2d_forward", grid, 256, x, weight, *instead(bias, weight), *numbers(g), y)
    return y


def conv2d_vectorized(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One block a tile of 128 filters at 128 pixels, or of 64 at 256 for layers of few filters.

    `conv2d_registers` for windows of more than 64 taps; `conv2d_direct` for groups of fewer than 8
    filters, for which a tile would be nearly empty, and as in `conv2d_shared`.
    """
    if not _fits_tables(g):
        return _more_general(x, weight, bias, g)
    x, weight, bias, y = _arrays(x, weight, bias, g)
    share = g.filters // g.groups
    # the tile that has less work beyond the filters' end; the square one reads less
    tile = WIDE if blocks(share, 64) * 64 < blocks(share, 128) * 128 else SQUARE
    name, pixels = f"{tile.filters}x{tile.pixels}", math.prod(g.output_size)
    if g.is_pointwise and pixels % 4 == 0:
        sizes = (g.images, g.channels, pixels, g.filters, g.groups)
        _in_parts(
            VECTORIZED, f"conv2d_forward_pointwise_{name}", x, weight, bias, y, g, tile, sizes, 0
        )
    else:
        kernel, table = f"conv2d_forward_gathered_{name}", tile.table(g)
        _in_parts(VECTORIZED, kernel, x, weight, bias, y, g, tile, numbers(g), table)
    return y


def conv2d_tensor_cores(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """As `conv2d_vectorized`, in TF32, always in tiles of 128 filters at 128 pixels."""
    if not _fits_tables(g):
        return _more_general(x, weight, bias, g)
    x, weight, bias, y = _arrays(x, weight, bias, g)
    _in_parts(
        TENSOR_CORES, "conv2d_forward", x, weight, bias, y, g, TF32, numbers(g), TF32.table(g)
    )
    return y


def conv2d_library(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """The matrix product of the array library, of cuBLAS on a GPU, over columns that are written.

    As many images at a time as have a gigabyte of columns.  CuPy lets cuBLAS round to TF32 if the
    environment has CUPY_TF32=1.
    """
    x, weight, bias, y = _arrays(x, weight, bias, g)
    xp, pixels, rows = array_module(x), math.prod(g.output_size), g.groups * g.inner
    filters = weight.reshape(g.groups, g.filters // g.groups, g.inner)
    at_once = g.images if g.is_pointwise else max(1, MOST_IN_COLUMNS // (rows * pixels))
    for first in range(0, g.images, max(1, at_once)):
        images = min(at_once, g.images - first)
        if g.is_pointwise:
            columns = x
        else:
            columns = empty((images, rows, pixels), x.dtype, x)
            grid = (blocks(pixels, 256), min(rows, 65535), min(images, 65535))
            sizes = (first, images, g.channels, *g.size, *g.window, *g.output_size)
            steps = (*g.stride, *g.padding, *g.dilation)
            IM2COL.launch("conv2d_im2col", grid, 256, x, *sizes, *steps, columns)
        product = xp.matmul(filters, columns.reshape(images, g.groups, g.inner, pixels))
        y[first : first + images] = product.reshape(images, *g.output_shape[1:])
    if bias is not None:
        y += bias[:, None, None]
    return y


def _in_parts(
    code: Program,
    kernel: str,
    x: Any,
    weight: Any,
    bias: Any,
    y: Any,
    g: Geometry,
    tile: Tile,
    sizes: Sequence[int],
    table: int,
) -> None:
    """Launch a kernel whose blocks add up a part of the rows each, and then add the parts."""
    across, down, groups = _tiles(g, tile.filters, tile.pixels)
    all_steps = blocks(g.inner, tile.rows)
    parts = cut_rows(across * down * groups, all_steps, tile.clocks, math.prod(g.output_shape))
    steps = blocks(all_steps, parts)
    out = y if parts == 1 else empty((parts, *g.output_shape), y.dtype, y)
    grid, term = (across, down, groups * parts), instead(bias, weight)
    code.launch(kernel, grid, 256, x, weight, *term, *sizes, parts, steps, out, shared=table)
    if parts > 1:
        end = (y.size, math.prod(g.output_size), g.filters)
        code.launch("conv2d_add_parts", blocks(y.size, 256), 256, out, parts, *term, *end, y)


@functools.lru_cache(maxsize=1024)
def cut_rows(tiles: int, steps: int, clocks: int, size: int) -> int:
    """Into how many parts to cut the rows of a product, so that the GPU's last round is not empty.

    The time of every number of parts is estimated: all multiprocessors work in rounds on the
    blocks, one block each; a second block on the same one is what hides the first one's waiting.

    Args:
        tiles: blocks if nothing is cut.
        steps: that a block takes for all rows.
        clocks: of a step, if the block has its multiprocessor for itself.
        size: values of the result.

    Returns:
        A number from 1 to 16; the parts have the same number of steps but for the last.
    """

    def seconds(parts: int) -> float:
        rounds = blocks(tiles * parts, MULTIPROCESSORS)
        waiting = 1.3 if rounds == 1 else 1.0
        # beginning and end of a block take as long as some 8 steps
        multiplying = rounds * waiting * (blocks(steps, parts) + 8) * clocks / CLOCK
        adding = LAUNCH + 4.0 * size * (2 * parts + 1) / BYTES
        return multiplying if parts == 1 else multiplying + adding

    most = min(MOST_PARTS, steps // LEAST_STEPS, MOST_IN_PARTS // max(1, size))
    best = min(range(1, max(1, most) + 1), key=seconds)
    return blocks(steps, blocks(steps, best))  # no part is empty


def _tiles(g: Geometry, filters: int, pixels: int) -> tuple[int, int, int]:
    """The grid of tiles of so many filters and pixels, group by group."""
    across = blocks(g.images * math.prod(g.output_size), pixels)
    return across, blocks(g.filters // g.groups, filters), g.groups


def _is_huge(g: Geometry) -> bool:
    """Whether pixels could not be counted in 32 bits, at the end of the last tile."""
    return g.images * math.prod(g.output_size) + 256 >= 2**31


def _fits_tables(g: Geometry) -> bool:
    """Whether rungs 4 and 5 can run this, and are not wasted on it."""
    # a table reaches over 16 channels, and a thread's two filters are 8 apart
    offsets = max(17 * math.prod(g.size), 8 * g.inner)
    fits = math.prod(g.window) <= MOST_TAPS and offsets < 2**31 and not _is_huge(g)
    return fits and not _has_small_groups(g)


def _has_small_groups(g: Geometry) -> bool:
    """Whether a tile's filters, which are of one group, would nearly all be missing."""
    return g.groups > 1 and g.filters // g.groups < 8


def _more_general(x: Any, weight: Any, bias: Any, g: Geometry) -> Any:
    run = conv2d_direct if _has_small_groups(g) else conv2d_registers
    return run(x, weight, bias, g=g)


def _arrays(x: Any, weight: Any, bias: Any, g: Geometry) -> tuple[Any, Any, Any, Any]:
    """The inputs as kernels need them, and y to be written."""
    require_float32(x=x, weight=weight, bias=bias)
    x, weight = contiguous("x", x), contiguous("weight", weight)
    bias = None if bias is None else contiguous("bias", bias)
    return x, weight, bias, empty(g.output_shape, x.dtype, x)
