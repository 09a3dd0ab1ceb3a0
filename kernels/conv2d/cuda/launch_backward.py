"""Launches the CUDA C++ rungs of a convolution's gradients.

Letters: N images, C input channels, K filters, G groups, H W height and width of the input, OH OW
of the output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.launch import (
    Program,
    blocks,
    contiguous,
    empty,
    program,
    require_float32,
    zeros,
)

DIRECT = program(__file__, "backward_1_direct.cu")
SHARED = program(__file__, "backward_2_shared.cu")
REGISTERS = program(__file__, "backward_3_registers.cu")
VECTORIZED_INPUT = program(__file__, "backward_4_vectorized_input.cu")
VECTORIZED_WEIGHT = program(__file__, "backward_4_vectorized_weight.cu")

ENOUGH_BLOCKS = 528  # four for each of the 132 multiprocessors of an H100 or H200
DEPTH = 8  # positions that the weight gradient's blocks take at a time
LEAST_CHUNKS = 32  # of a slice: fewer products would not pay for writing a partial result
MOST_PARTIAL = 1 << 26  # numbers in all partial results: 256 MiB
PIECE = 4096  # values of a plane that one warp adds up for the bias


def conv2d_backward_input_direct(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One thread a pixel and channel."""
    grad, weight, bias, dx = input_arrays(grad, weight, bias, g)
    grid = blocks(dx.size, 256)
    DIRECT.launch(
        "conv2d_backward_input", grid, 256, grad, weight, *instead(bias, weight), *numbers(g), dx
    )
    return dx


def conv2d_backward_weight_direct(grad: Any, x: Any, *, g: Geometry) -> Any:
    """One thread a weight."""
    grad, x, dweight = weight_arrays(grad, x, g)
    grid = blocks(dweight.size, 256)
    DIRECT.launch("conv2d_backward_weight", grid, 256, grad, x, *numbers(g), dweight)
    return dweight


def conv2d_backward_bias_direct(grad: Any) -> Any:
    """One thread a filter."""
    grad, dbias = _bias_arrays(grad)
    DIRECT.launch("conv2d_backward_bias", blocks(dbias.size, 256), 256, grad, *grad.shape, dbias)
    return dbias


def conv2d_backward_input_shared(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One block a tile of 16 channels times 16 pixels."""
    return _input_in_tiles(SHARED, 16, (16, 16), grad, weight, bias, g)


def conv2d_backward_weight_shared(grad: Any, x: Any, *, g: Geometry) -> Any:
    """One block a tile of 16 filters times 16 of a filter's weights."""
    return _weight_in_tiles(SHARED, 16, (16, 16), grad, x, g)


def conv2d_backward_bias_shared(grad: Any) -> Any:
    """One block a filter."""
    grad, dbias = _bias_arrays(grad)
    images, filters, height, width = grad.shape
    SHARED.launch(
        "conv2d_backward_bias", filters, 256, grad, images, filters, height * width, dbias
    )
    return dbias


def conv2d_backward_input_registers(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One block a tile of 64 channels times 64 pixels."""
    return _input_in_tiles(REGISTERS, 64, (256,), grad, weight, bias, g)


def conv2d_backward_weight_registers(grad: Any, x: Any, *, g: Geometry) -> Any:
    """One block a tile of 64 filters times 64 of a filter's weights."""
    return _weight_in_tiles(REGISTERS, 64, (256,), grad, x, g)


def conv2d_backward_input_vectorized(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One block a tile of channels times pixels that have the same remainder modulo the stride.

    `conv2d_backward_input_direct` for groups of fewer than 8 channels or filters, whose tiles would
    be nearly empty, and for more than 2^31 pixels.
    """
    largest = g.images * math.prod(blocks(n, s) for n, s in zip(g.size, g.stride, strict=True))
    if not _suits_tiles(largest, g):
        return conv2d_backward_input_direct(grad, weight, bias, g=g)
    grad, weight, bias, dx = input_arrays(grad, weight, bias, g)
    depth, taps = g.channels // g.groups, math.prod(g.window)
    packed = empty((g.filters * taps, blocks(depth, 4) * 4), dx.dtype, dx)
    count = (g.filters, depth, taps, g.groups)
    VECTORIZED_INPUT.launch(
        "conv2d_transpose_filters", blocks(packed.size, 256), 256, weight, *count, packed
    )
    layers = g.groups * math.prod(g.stride)
    side = _tile(depth, largest, layers)
    tiles = (blocks(largest, side), blocks(depth, side))
    steps = tuple(s // math.gcd(s, d) for s, d in zip(g.stride, g.dilation, strict=True))
    chunks, parts = input_parts(side, math.prod(tiles) * layers, steps, g)
    out = empty((parts, *g.input_shape), dx.dtype, dx) if parts > 1 else dx
    grid, name = (*tiles, layers * parts), f"conv2d_backward_input_{side}"
    sizes = (*instead(bias, weight), *numbers(g), *steps, chunks)
    VECTORIZED_INPUT.launch(name, grid, 256, grad, packed, *sizes, out)
    if parts > 1:
        _add(out, parts, dx)
    return dx


def input_parts(side: int, tiles: int, steps: Sequence[int], g: Geometry) -> tuple[int, int]:
    """How many chunks a part of the input gradient's sums has, and how many parts there are."""
    taps = math.prod(blocks(n, step) for n, step in zip(g.window, steps, strict=True))
    depth = 1024 // side  # filters of a chunk
    chunks = max(1, taps * blocks(g.filters // g.groups, depth))
    size = max(1, math.prod(g.input_shape))
    layers = g.groups * math.prod(g.stride)
    most = min(chunks // LEAST_CHUNKS, MOST_PARTIAL // size, 65535 // layers)
    per_part = blocks(chunks, max(1, min(ENOUGH_BLOCKS // 2 // max(1, tiles), most)))
    return per_part, blocks(chunks, per_part)


def _add(partial: Any, slices: int, total: Any) -> None:
    """The sum of partial results, first to last."""
    size = total.size
    VECTORIZED_WEIGHT.launch(
        "conv2d_add_slices", blocks(size, 256), 256, partial, slices, size, total
    )


def conv2d_backward_weight_vectorized(grad: Any, x: Any, *, g: Geometry) -> Any:
    """Partial sums over slices of all positions, then the slices' sum: the same bits each time.

    `conv2d_backward_weight_direct` where `conv2d_backward_input_vectorized` turns to its like.
    """
    positions, share = g.images * math.prod(g.output_size), g.filters // g.groups
    if not _suits_tiles(positions, g):
        return conv2d_backward_weight_direct(grad, x, g=g)
    grad, x, dweight = weight_arrays(grad, x, g)
    if dweight.size == 0 or positions == 0:
        dweight.fill(0)
        return dweight
    side = 128 if min(share, g.inner) > 64 else 64
    tiles = (blocks(g.inner, side), blocks(share, side))
    chunks, slices = slicing(positions, math.prod(tiles) * g.groups, g)
    partial = empty((slices, *g.weight_shape), dweight.dtype, dweight) if slices > 1 else dweight
    grid = (*tiles, slices * g.groups)
    name = f"conv2d_backward_weight_{side}"
    VECTORIZED_WEIGHT.launch(name, grid, 256, grad, x, *numbers(g), chunks, partial)
    if slices > 1:
        _add(partial, slices, dweight)
    return dweight


def slicing(positions: int, tiles: int, g: Geometry) -> tuple[int, int]:
    """How many chunks of positions a slice has, and how many slices there are.

    It depends on the sizes alone, not on the GPU, so that the same sums come out everywhere.
    """
    chunks = blocks(positions, DEPTH)
    most = min(chunks // LEAST_CHUNKS, MOST_PARTIAL // math.prod(g.weight_shape), 65535 // g.groups)
    per_slice = blocks(chunks, max(1, min(blocks(ENOUGH_BLOCKS, tiles), most)))
    return per_slice, blocks(chunks, per_slice)


def conv2d_backward_bias_vectorized(grad: Any) -> Any:
    """Sums of pieces of every plane, a warp each, then the sum of the pieces."""
    grad, dbias = _bias_arrays(grad)
    images, filters, height, width = grad.shape
    positions = height * width
    pieces = blocks(positions, PIECE)
    partial = empty((images * pieces, filters), dbias.dtype, dbias)
    sizes = (images * filters, filters, positions, pieces, PIECE)
    grid = blocks(images * filters * pieces, 8)
    VECTORIZED_WEIGHT.launch("conv2d_backward_bias_sum_pieces", grid, 256, grad, *sizes, partial)
    grid, count = blocks(filters, 32), images * pieces
    VECTORIZED_WEIGHT.launch(
        "conv2d_backward_bias_add_pieces", grid, (32, 8), partial, count, filters, dbias
    )
    return dbias


def _input_in_tiles(
    rung: Program, side: int, block: Sequence[int], grad: Any, weight: Any, bias: Any, g: Geometry
) -> Any:
    grad, weight, bias, dx = input_arrays(grad, weight, bias, g)
    pixels = blocks(g.images * math.prod(g.size), side)
    grid = (pixels, blocks(g.channels // g.groups, side), g.groups)
    sizes = (*instead(bias, weight), *numbers(g))
    rung.launch("conv2d_backward_input", grid, block, grad, weight, *sizes, dx)
    return dx


def _weight_in_tiles(
    rung: Program, side: int, block: Sequence[int], grad: Any, x: Any, g: Geometry
) -> Any:
    grad, x, dweight = weight_arrays(grad, x, g)
    grid = (blocks(g.inner, side), blocks(g.filters // g.groups, side), g.groups)
    rung.launch("conv2d_backward_weight", grid, block, grad, x, *numbers(g), dweight)
    return dweight


def numbers(g: Geometry) -> tuple[int, ...]:
    """The sizes as the kernels' signatures have them."""
    return (
        g.images,
        g.channels,
        *g.size,
        g.filters,
        *g.window,
        *g.output_size,
        *g.stride,
        *g.padding,
        *g.dilation,
        g.groups,
    )


def _tile(rows: int, columns: int, layers: int) -> int:
    """128 where that many tiles fill a GPU, else 64."""
    tiles = blocks(rows, 128) * blocks(columns, 128) * layers
    return 128 if rows > 64 and tiles >= ENOUGH_BLOCKS // 4 else 64


def _suits_tiles(count: int, g: Geometry) -> bool:
    """Whether the fourth rung can count `count` things in 32 bits, and is not wasted on this."""
    image = (g.channels // g.groups + 128) * math.prod(g.size)
    few = g.groups > 1 and min(g.channels, g.filters) // g.groups < 8  # tiles nearly empty
    return not few and max(count + ENOUGH_BLOCKS * DEPTH * LEAST_CHUNKS, image) < 2**31


def instead(bias: Any, other: Any) -> tuple[Any, bool]:
    """The bias, or any array in its place, and whether it counts."""
    return (other, False) if bias is None else (bias, True)


def input_arrays(grad: Any, weight: Any, bias: Any, g: Geometry) -> tuple[Any, Any, Any, Any]:
    """The inputs as kernels need them, and dx to be written."""
    require_float32(grad=grad, weight=weight, bias=bias)
    grad, weight = contiguous("grad", grad), contiguous("weight", weight)
    bias = None if bias is None else contiguous("bias", bias)
    return grad, weight, bias, empty(g.input_shape, grad.dtype, grad)


def weight_arrays(grad: Any, x: Any, g: Geometry) -> tuple[Any, Any, Any]:
    """The inputs as kernels need them, and dweight to be written."""
    require_float32(grad=grad, x=x)
    return contiguous("grad", grad), contiguous("x", x), empty(g.weight_shape, grad.dtype, grad)


def _bias_arrays(grad: Any) -> tuple[Any, Any]:
    require_float32(grad=grad)
    return contiguous("grad", grad), zeros(grad.shape[1], grad.dtype, grad)
