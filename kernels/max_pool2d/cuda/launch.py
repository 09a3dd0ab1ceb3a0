"""Launches the CUDA C++ rungs.

Letters: N images, C channels, H W height and width, OH OW those of the output.
"""

from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, empty, program, require_float32, zeros
from minimask.kernels.max_pool2d.windows import Pair, Windows, output_shape

NAIVE = program(__file__, "forward_1_naive.cu")
GATHER = program(__file__, "backward_2_gather.cu")
STRIPS = program(__file__, "forward_2_strips.cu")
MOST_ROWS = 65535  # of blocks in a grid, and so of planes in it


def max_pool2d_naive(x: Any, *, window: Pair, stride: Pair, padding: Pair) -> tuple[Any, Any]:
    """(N, C, H, W) -> output and argmax, (N, C, OH, OW) each."""
    source, out, argmax = _prepare(x, Windows(window, stride, padding))
    planes, sizes = _planes(x.shape), (*x.shape[2:], x.shape[2] * x.shape[3], *out.shape[2:])
    options = (*window, *stride, *padding)
    grid = blocks(out.size, 256)
    NAIVE.launch("max_pool", grid, 256, source, planes, *sizes, *options, out, argmax)
    return out, argmax


def max_pool2d_strips(x: Any, *, window: Pair, stride: Pair, padding: Pair) -> tuple[Any, Any]:
    """As `max_pool2d_naive`, which runs where the windows are others than 3 x 3, 2 apart."""
    if (window, stride) != ((3, 3), (2, 2)) or x.shape[2] > MOST_ROWS:
        return max_pool2d_naive(x, window=window, stride=stride, padding=padding)
    source, out, argmax = _prepare(x, Windows(window, stride, padding))
    planes, sizes = _planes(x.shape), (*x.shape[2:], x.shape[2] * x.shape[3], *out.shape[2:])
    grid = _strips(out.shape)
    STRIPS.launch("max_pool_3x3_2", grid, (32, 8), source, planes, *sizes, *padding, out, argmax)
    return out, argmax


def max_pool2d_backward_naive(
    grad: Any, argmax: Any, *, input_shape: tuple[int, ...], windows: Windows | None = None
) -> Any:
    """(N, C, OH, OW), (N, C, OH, OW) -> (N, C, H, W); atomics, so the order of sums varies."""
    values, winners = _gradients(grad, argmax)
    dx = zeros(input_shape, grad.dtype, grad)
    outputs, pixels = grad.shape[2] * grad.shape[3], input_shape[2] * input_shape[3]
    sizes = (_planes(grad.shape), outputs, pixels)
    NAIVE.launch("max_pool_backward", blocks(grad.size, 256), 256, values, winners, *sizes, dx)
    return dx


def max_pool2d_backward_gather(
    grad: Any, argmax: Any, *, input_shape: tuple[int, ...], windows: Windows | None = None
) -> Any:
    """As `max_pool2d_backward_naive`, which runs where the windows are not known."""
    if windows is None:
        return max_pool2d_backward_naive(grad, argmax, input_shape=input_shape)
    values, winners = _gradients(grad, argmax)
    dx = empty(input_shape, grad.dtype, grad)
    height, width = input_shape[2:]
    sizes = (_planes(input_shape), width, height * width, *grad.shape[2:])
    options = (*windows.size, *windows.stride, *windows.padding)
    grid = blocks(dx.size, 256)
    GATHER.launch("max_pool_backward", grid, 256, values, winners, *sizes, *options, dx)
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
    sizes = (_planes(input_shape), height, width, height * width, *grad.shape[2:])
    options = (*windows.size, *windows.stride, *windows.padding)
    grid = _strips(dx.shape)
    STRIPS.launch("max_pool_backward", grid, (32, 8), values, winners, *sizes, *options, dx)
    return dx


def _prepare(x: Any, windows: Windows) -> tuple[Any, Any, Any]:
    """The images as the kernels take them, and arrays for the output and the argmax."""
    require_float32(x=x)
    shape = output_shape(x.shape, windows)
    return contiguous("x", x), empty(shape, x.dtype, x), empty(shape, "int32", x)


def _gradients(grad: Any, argmax: Any) -> tuple[Any, Any]:
    require_float32(grad=grad)
    winners = argmax.astype("int32", copy=False)
    return contiguous("grad", grad), contiguous("argmax", winners)


def _planes(shape: tuple[int, ...]) -> int:
    return shape[0] * shape[1]


def _strips(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Blocks of 8 rows of 32 strips of 4; blocks along z take several planes if there are many."""
    return blocks(shape[3], 128), blocks(shape[2], 8), min(_planes(shape), MOST_ROWS)
