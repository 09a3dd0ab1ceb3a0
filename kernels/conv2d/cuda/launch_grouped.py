"""Launches the CUDA C++ rung for groups of few channels, and for depthwise convolutions.

What it is not made for runs as in `cuda_4_vectorized`: no groups, groups of many channels, windows
whose pixels do not fit into a block's shared memory.

Letters: N images, C input channels, K filters, G groups, H W height and width of the input, OH OW
of the output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minimask.kernels.conv2d.cuda.launch import conv2d_vectorized
from minimask.kernels.conv2d.cuda.launch_backward import (
    ENOUGH_BLOCKS,
    MOST_PARTIAL,
    VECTORIZED_WEIGHT,
    conv2d_backward_bias_vectorized,
    conv2d_backward_input_vectorized,
    conv2d_backward_weight_vectorized,
    input_arrays,
    instead,
    numbers,
    weight_arrays,
)
from minimask.kernels.conv2d.geometry import Geometry, Pair
from minimask.kernels.launch import blocks, contiguous, empty, program, require_float32

__all__ = [
    "conv2d_backward_bias_grouped",
    "conv2d_backward_input_grouped",
    "conv2d_backward_weight_grouped",
    "conv2d_grouped",
]

FORWARD = program(__file__, "forward_6_grouped.cu")
BACKWARD = program(__file__, "backward_6_grouped.cu")

MOST_CHANNELS = 48  # of a group: with more, the tiles of rung 4 are nearly full
MOST_SHARED = 48 * 1024 - 2048  # bytes that any GPU gives a block, less the static arrays
ENOUGH_SHARED = 24 * 1024  # bytes beyond which more channels at a time gain nothing
POSITIONS = (4, 32)  # rows and columns of a tile of the weight gradient


def conv2d_grouped(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One block a rectangle of pixels in 8 filters of a group, or in one."""
    form, tile_width, tiles, block, pixels = _form(g.filters // g.groups, g.output_size)
    depth = g.channels // g.groups
    tile = (256 // tile_width * pixels, tile_width)
    patch = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(tile, g.stride, g.window, g.dilation, strict=True)
    ]
    chunk, shared = _chunk(depth, math.prod(patch) + math.prod(g.window) * block)
    parts = g.groups * blocks(g.filters // g.groups, block)
    if not (_is_grouped(g) and chunk and _fits_grid(tiles, parts, g)):
        return conv2d_vectorized(x, weight, bias, g=g)
    require_float32(x=x, weight=weight, bias=bias)
    x, weight = contiguous("x", x), contiguous("weight", weight)
    bias = None if bias is None else contiguous("bias", bias)
    y = empty(g.output_shape, x.dtype, x)
    sizes = (*instead(bias, weight), *numbers(g), tile_width, chunk)
    FORWARD.launch(
        f"conv2d_forward_{form}", (tiles, parts, g.images), 256, x, weight, *sizes, y, shared=shared
    )
    return y


def conv2d_backward_input_grouped(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """One block a rectangle of pixels in 8 channels of a group, or in one."""
    depth, share = g.channels // g.groups, g.filters // g.groups
    form, tile_width, tiles, block, pixels = _form(depth, g.size)
    tile = (256 // tile_width * pixels, tile_width)
    patch = [
        (n - 1 + (k - 1) * d) // s + 2
        for n, s, k, d in zip(tile, g.stride, g.window, g.dilation, strict=True)
    ]
    chunk, shared = _chunk(share, math.prod(patch) + math.prod(g.window) * block)
    parts = g.groups * blocks(depth, block)
    if not (_is_grouped(g) and chunk and _fits_grid(tiles, parts, g)):
        return conv2d_backward_input_vectorized(grad, weight, bias, g=g)
    grad, weight, bias, dx = input_arrays(grad, weight, bias, g)
    sizes = (*instead(bias, weight), *numbers(g), tile_width, chunk)
    grid = (tiles, parts, g.images)
    BACKWARD.launch(
        f"conv2d_backward_input_{form}", grid, 256, grad, weight, *sizes, dx, shared=shared
    )
    return dx


def conv2d_backward_weight_grouped(grad: Any, x: Any, *, g: Geometry) -> Any:
    """One block 256 weights of a group, over one slice of the positions; then the slices' sum."""
    share, taps = g.filters // g.groups, math.prod(g.window)
    patch = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(POSITIONS, g.stride, g.window, g.dilation, strict=True)
    ]
    # neighboring weights in the order channel, tap, filter: so many channels at most
    channels = min(g.channels // g.groups, 256 // max(1, share * taps) + 2)
    shared = 4 * (share * (math.prod(POSITIONS) + 1) + channels * math.prod(patch))
    tiles = g.images * math.prod(
        blocks(n, p) for n, p in zip(g.output_size, POSITIONS, strict=True)
    )
    if not _is_grouped(g) or shared > MOST_SHARED or g.groups > 65535 or not tiles * share:
        return conv2d_backward_weight_vectorized(grad, x, g=g)
    grad, x, dweight = weight_arrays(grad, x, g)
    parts = blocks(share * g.inner, 256)
    most = max(1, min(tiles, MOST_PARTIAL // dweight.size))
    per_slice = blocks(tiles, min(most, blocks(ENOUGH_BLOCKS, parts * g.groups)))
    slices = blocks(tiles, per_slice)
    partial = empty((slices, *g.weight_shape), dweight.dtype, dweight) if slices > 1 else dweight
    BACKWARD.launch(
        "conv2d_backward_weight_grouped", (slices, parts, g.groups), 256, grad, x, *numbers(g),
        per_slice, partial, shared=shared,
    )  # fmt: skip
    if slices > 1:
        size = dweight.size
        VECTORIZED_WEIGHT.launch(
            "conv2d_add_slices", blocks(size, 256), 256, partial, slices, size, dweight
        )
    return dweight


def conv2d_backward_bias_grouped(grad: Any) -> Any:
    """As in rung 4: a bias has no groups."""
    return conv2d_backward_bias_vectorized(grad)


def _form(channels: int, size: Pair) -> tuple[str, int, int, int, int]:
    """For a group's channels that are written: the kernel's form, its tile, what a thread owns.

    Returns:
        The name's end, the columns of a tile, how many tiles an image has, and the channels and
        pixels of a thread.
    """
    form, block, pixels = ("depthwise", 1, 4) if channels == 1 else ("grouped", 8, 2)
    tile_width = next(w for w in (8, 16, 32) if w >= size[1] or w == 32)
    tiles = blocks(size[0], 256 // tile_width * pixels) * blocks(size[1], tile_width)
    return form, tile_width, tiles, block, pixels


def _chunk(channels: int, numbers_each: int) -> tuple[int, int]:
    """How many channels are in shared memory at a time, 0 if one is too many; and the bytes."""
    each = 4 * numbers_each
    chunk = max(1, min(channels, ENOUGH_SHARED // each))
    return (chunk, chunk * each) if chunk * each <= MOST_SHARED else (0, 0)


def _is_grouped(g: Geometry) -> bool:
    return g.groups > 1 and 0 < max(g.channels, g.filters) // g.groups <= MOST_CHANNELS


def _fits_grid(tiles: int, parts: int, g: Geometry) -> bool:
    """Whether a grid can have that many blocks, and offsets in a plane 32 bits."""
    planes: Sequence[int] = (math.prod(g.size), math.prod(g.output_size))
    return max(parts, g.images) <= 65535 and tiles < 2**31 and max(planes) < 2**31
