"""Launches the CUDA C++ rungs.  Letters: N images, C channels, P positions of a plane (H W)."""

from __future__ import annotations

import math
from typing import Any

from minimask.kernels.launch import Program, blocks, contiguous, empty, program, require_float32

CHANNELS = program(__file__, "rung_1_channels.cu")
SLICES = program(__file__, "rung_2_slices.cu")
SLICE = 4096  # values of a channel that one block of the second rung owns


def channel_moments_channels(x: Any) -> tuple[Any, Any]:
    """One block a channel."""
    require_float32(x=x)
    mean, var = (empty(x.shape[1], x.dtype, x) for _ in range(2))
    CHANNELS.launch(
        "batch_norm_moments", x.shape[1], 256, contiguous("x", x), *_sizes(x), mean, var
    )
    return mean, var


def scale_shift_channels(x: Any, scale: Any, shift: Any) -> Any:
    """One thread a value."""
    return _scale_shift(CHANNELS, 1, x, scale, shift)


def batch_norm_backward_channels(
    grad: Any, x: Any, weight: Any, mean: Any, rstd: Any
) -> tuple[Any, Any, Any]:
    """One block a channel."""
    arrays = _ready(grad=grad, x=x, weight=weight, mean=mean, rstd=rstd)
    dx, dweight, dbias = _gradients(grad)
    CHANNELS.launch("batch_norm_backward", x.shape[1], 256, *arrays, *_sizes(x), dx, dweight, dbias)
    return dx, dweight, dbias


def channel_moments_slices(x: Any) -> tuple[Any, Any]:
    """One block a slice of a channel, then one thread a channel."""
    require_float32(x=x)
    x = contiguous("x", x)
    grid = _slices(x)
    means, missed, squares = (empty((grid[0], x.shape[1]), x.dtype, x) for _ in range(3))
    SLICES.launch("batch_norm_slice_moments", grid, 256, x, *_sizes(x), means, missed, squares)
    mean, var = (empty(x.shape[1], x.dtype, x) for _ in range(2))
    joined = (means, missed, squares, grid[0], *_sizes(x), mean, var)
    SLICES.launch("batch_norm_join_moments", blocks(x.shape[1], 256), 256, *joined)
    return mean, var


def scale_shift_slices(x: Any, scale: Any, shift: Any) -> Any:
    """One thread four neighbors."""
    return _scale_shift(SLICES, 4, x, scale, shift)


def batch_norm_backward_slices(
    grad: Any, x: Any, weight: Any, mean: Any, rstd: Any
) -> tuple[Any, Any, Any]:
    """Sums of slices, their sums, then one thread four neighbors of dx."""
    grad, x, weight, mean, rstd = _ready(grad=grad, x=x, weight=weight, mean=mean, rstd=rstd)
    dx, dweight, dbias = _gradients(grad)
    channels, grid = x.shape[1], _slices(x)
    sums, products = (empty((grid[0], channels), x.dtype, x) for _ in range(2))
    SLICES.launch(
        "batch_norm_backward_slice_sums", grid, 256, grad, x, mean, *_sizes(x), sums, products
    )
    factors = empty((3, channels), x.dtype, x)
    joined = (sums, products, weight, rstd, grid[0], *_sizes(x), factors, dweight, dbias)
    SLICES.launch("batch_norm_backward_join_sums", blocks(channels, 256), 256, *joined)
    sizes = (x.size, *_sizes(x)[1:])
    grid_of_fours = blocks(x.size, 4 * 256)
    SLICES.launch(
        "batch_norm_backward_input", grid_of_fours, 256, grad, x, mean, factors, *sizes, dx
    )
    return dx, dweight, dbias


def _sizes(x: Any) -> tuple[int, int, int]:
    """N, C, P."""
    return x.shape[0], x.shape[1], x.shape[2] * x.shape[3]


def _slices(x: Any) -> tuple[int, int]:
    """The grid of blocks that own a slice: slices of a channel, channels."""
    images, channels, positions = _sizes(x)
    if images * positions >= 2**31:
        raise ValueError(
            f"x: {images * positions} values a channel are too many for this variant; use "
            "variant 'cuda_1_channels'"
        )
    return blocks(images * positions, SLICE), channels


def _ready(**arrays: Any) -> tuple[Any, ...]:
    require_float32(**arrays)
    return tuple(contiguous(name, array) for name, array in arrays.items())


def _scale_shift(rung: Program, together: int, x: Any, scale: Any, shift: Any) -> Any:
    x, scale, shift = _ready(x=x, scale=scale, shift=shift)
    y, sizes = empty(x.shape, x.dtype, x), (x.size, *_sizes(x)[1:])
    grid = blocks(math.prod(x.shape), 256 * together)
    rung.launch("batch_norm_scale_shift", grid, 256, x, scale, shift, *sizes, y)
    return y


def _gradients(grad: Any) -> tuple[Any, Any, Any]:
    dweight, dbias = (empty(grad.shape[1], grad.dtype, grad) for _ in range(2))
    return empty(grad.shape, grad.dtype, grad), dweight, dbias
