"""Max pooling, backward, in Numba-CUDA, twin of backward_3_strips.cu: strips of four neighbors.

Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32, int32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.max_pool2d.numba import backward_1_atomic
from minimask.kernels.max_pool2d.numba.backward_2_gather import first_window
from minimask.kernels.max_pool2d.windows import Windows
from minimask.kernels.numba_cuda import cuda, jit, launch


@jit
def max_pool2d_backward_kernel(
    grad, argmax, window_y, window_x, stride_y, stride_x, padding_y, padding_x, dx
):  # planes first in all three
    """Four pixels of a row look once at every window that meets them."""
    strip, y, plane = cuda.grid(3)
    x, width = 4 * strip, dx.shape[2]
    if plane >= dx.shape[0] or y >= dx.shape[1] or x >= width:
        return
    mine = min(4, width - x)
    bottom = min((y + padding_y) // stride_y + 1, grad.shape[1])
    left = first_window(x, window_x, stride_x, padding_x)
    right = min((x + mine - 1 + padding_x) // stride_x + 1, grad.shape[2])
    totals = cuda.local.array(4, float32)
    for k in range(4):
        totals[k] = float32(0)
    for i in range(first_window(y, window_y, stride_y, padding_y), bottom):
        for j in range(left, right):
            k = argmax[plane, i, j] - int32(y * width + x)
            if k >= 0 and k < mine:
                totals[k] += grad[plane, i, j]
    for k in range(mine):
        dx[plane, y, x + k] = totals[k]


def max_pool2d_backward(
    grad: Any, argmax: Any, *, input_shape: tuple[int, ...], windows: Windows | None = None
) -> Any:
    """(N, C, OH, OW), (N, C, OH, OW) -> (N, C, H, W); rung 1 where the windows are not known."""
    planes = input_shape[0] * input_shape[1]
    if windows is None or planes > 65535:
        return backward_1_atomic.max_pool2d_backward(grad, argmax, input_shape=input_shape)
    require_float32(grad=grad)
    dx = empty(input_shape, grad.dtype, grad)
    values = contiguous("grad", grad).reshape(planes, *grad.shape[2:])
    winners = contiguous("argmax", argmax.astype("int32", copy=False)).reshape(values.shape)
    options = (*windows.size, *windows.stride, *windows.padding)
    target = dx.reshape(planes, *input_shape[2:])
    grid = (blocks(input_shape[3], 64), blocks(input_shape[2], 4), planes)
    launch(max_pool2d_backward_kernel, grid, (16, 4, 1), values, winners, *options, target)
    return dx
