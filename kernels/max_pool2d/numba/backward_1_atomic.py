"""Max pooling, backward, in Numba-CUDA, twin of backward_1_atomic.cu: atomic additions.

Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, require_float32, zeros
from minimask.kernels.max_pool2d.windows import Windows
from minimask.kernels.numba_cuda import cuda, jit, launch


@jit
def max_pool2d_backward_kernel(grad, argmax, dx):
    """grad, argmax (planes, OH OW), dx (planes, H W); two threads may add to one pixel."""
    planes, outputs = grad.shape
    t = cuda.grid(1)
    if t >= planes * outputs:
        return
    plane, k = t // outputs, t % outputs
    winner = argmax[plane, k]
    if winner >= 0 and winner < dx.shape[1]:
        cuda.atomic.add(dx, (plane, winner), grad[plane, k])


def max_pool2d_backward(
    grad: Any, argmax: Any, *, input_shape: tuple[int, ...], windows: Windows | None = None
) -> Any:
    """(N, C, OH, OW), (N, C, OH, OW) -> (N, C, H, W); atomics, so the order of sums varies."""
    require_float32(grad=grad)
    dx = zeros(input_shape, grad.dtype, grad)
    planes, outputs = grad.shape[0] * grad.shape[1], grad.shape[2] * grad.shape[3]
    values = contiguous("grad", grad).reshape(planes, outputs)
    winners = contiguous("argmax", argmax.astype("int32", copy=False)).reshape(planes, outputs)
    target = dx.reshape(planes, input_shape[2] * input_shape[3])
    launch(max_pool2d_backward_kernel, blocks(grad.size, 64), 64, values, winners, target)
    return dx
