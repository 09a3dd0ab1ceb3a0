"""Launches the backward rungs in CUDA C++.

Letters: N images, C channels, H W height and width, OH OW those of the output.
"""

from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, empty, program, require_float32, zeros
from minimask.kernels.max_pool2d.cuda.launch import MOST_ROWS, planes_of, strip_grid
from minimask.kernels.max_pool2d.windows import Windows

ATOMIC = program(__file__, "backward_1_atomic.cu")
GATHER = program(__file__, "backward_2_gather.cu")
STRIPS = program(__file__, "backward_3_strips.cu")


def max_pool2d_backward_atomic(
    grad: Any, argmax: Any, *, input_shape: tuple[int, ...], windows: Windows | None = None
) -> Any:
    """(N, C, OH, OW), (N, C, OH, OW) -> (N, C, H, W); atomics, so the order of sums varies."""
    values, winners = _gradients(grad, argmax)
    dx = zeros(input_shape, grad.dtype, grad)
    outputs, pixels = grad.shape[2] * grad.shape[3], input_shape[2] * input_shape[3]
    sizes = (planes_of(grad.shape), outputs, pixels)
    ATOMIC.launch("max_pool2d_backward", blocks(grad.size, 256), 256, values, winners, *sizes, dx)
    return dx


def max_pool2d_backward_gather(
    grad: Any, argmax: Any, *, input_shape: tuple[int, ...], windows: Windows | None = None
) -> Any:
    """As `max_pool2d_backward_atomic`, which runs where the windows are not known."""
    if windows is None:
        return max_pool2d_backward_atomic(grad, argmax, input_shape=input_shape)
    values, winners = _gradients(grad, argmax)
    dx = empty(input_shape, grad.dtype, grad)
    height, width = input_shape[2:]
    sizes = (planes_of(input_shape), width, height * width, *grad.shape[2:])
    options = (*windows.size, *windows.stride, *windows.padding)
    grid = blocks(dx.size, 256)
    GATHER.launch("max_pool2d_backward", grid, 256, values, winners, *sizes, *options, dx)
    return dx


def max_pool2d_backward_strips(
    grad: Any, argmax: Any, *, input_shape: tuple[int, ...], windows: Windows | None = None
) -> Any:
    """As `max_pool2d_backward_gather`, four pixels a thread."""
    if windows is None or input_shape[2] > MOST_ROWS:
        gather = max_pool2d_backward_gather
        return gather(grad, argmax, input_shape=input_shape, windows=windows)
    values, winners = _gradients(grad, argmax)
    dx = empty(input_shape, grad.dtype, grad)
    height, width = input_shape[2:]
    sizes = (planes_of(input_shape), height, width, height * width, *grad.shape[2:])
    options = (*windows.size, *windows.stride, *windows.padding)
    grid = strip_grid(dx.shape)
    STRIPS.launch("max_pool2d_backward", grid, (32, 8), values, winners, *sizes, *options, dx)
    return dx


def _gradients(grad: Any, argmax: Any) -> tuple[Any, Any]:
    require_float32(grad=grad)
    winners = argmax.astype("int32", copy=False)
    return contiguous("grad", grad), contiguous("argmax", winners)
