"""Max pooling, backward, in Numba-CUDA, twin of backward_2_gather.cu: one thread a pixel.

Each pixel asks the windows that contain it whether it is their winner: no atomics, one order.

Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.max_pool2d.numba import backward_1_atomic
from minimask.kernels.max_pool2d.windows import Windows
from minimask.kernels.numba_cuda import cuda, device, jit, launch


@device
def first_window(y, window, stride, padding):
    """The first window along an axis that contains pixel y; they begin at i stride - padding."""
    return max(0, y + padding - window + stride) // stride


@jit
def max_pool2d_backward_kernel(
    grad, argmax, window_y, window_x, stride_y, stride_x, padding_y, padding_x, dx
):  # planes first in all three
    """One thread a pixel; it sums up the gradients of the windows it won, row by row."""
    planes, height, width = dx.shape
    t = cuda.grid(1)
    if t >= planes * height * width:
        return
    plane, pixel = t // (height * width), t % (height * width)
    y, x = pixel // width, pixel % width
    bottom = min((y + padding_y) // stride_y + 1, grad.shape[1])
    left = first_window(x, window_x, stride_x, padding_x)
    right = min((x + padding_x) // stride_x + 1, grad.shape[2])
    total = float32(0)
    for i in range(first_window(y, window_y, stride_y, padding_y), bottom):
        for j in range(left, right):
            if argmax[plane, i, j] == pixel:
                total += grad[plane, i, j]
    dx[plane, y, x] = total


def max_pool2d_backward(
    grad: Any, argmax: Any, *, input_shape: tuple[int, ...], windows: Windows | None = None
) -> Any:
    """(N, C, OH, OW), (N, C, OH, OW) -> (N, C, H, W); rung 1 where the windows are not known."""
    if windows is None:
        return backward_1_atomic.max_pool2d_backward(grad, argmax, input_shape=input_shape)
    require_float32(grad=grad)
    dx = empty(input_shape, grad.dtype, grad)
    planes = input_shape[0] * input_shape[1]
    values = contiguous("grad", grad).reshape(planes, *grad.shape[2:])
    winners = contiguous("argmax", argmax.astype("int32", copy=False)).reshape(values.shape)
    options = (*windows.size, *windows.stride, *windows.padding)
    target = dx.reshape(planes, *input_shape[2:])
    launch(max_pool2d_backward_kernel, blocks(dx.size, 64), 64, values, winners, *options, target)
    return dx
