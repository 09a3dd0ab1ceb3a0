"""RoIPool, backward, in Numba-CUDA, twin of backward_1_atomic.cu: atomic additions.

Letters: N images, C channels, R regions of interest (RoIs), bins are the PH x PW of a crop.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, require_float32, zeros
from minimask.kernels.numba_cuda import cuda, jit, launch
from minimask.kernels.roi_pool.numba.forward_1_naive import image_of


@jit
def roi_pool_backward_kernel(grad, rois, argmax, dx):
    """grad, argmax (R, C, bins), dx (N, C, cells); two threads may add to one cell."""
    count, channels, bins = grad.shape
    t = cuda.grid(1)
    if t >= count * channels * bins:
        return
    r, c, b = t // bins // channels, t // bins % channels, t % bins
    image, winner = image_of(rois, r, dx.shape[0]), argmax[r, c, b]
    if image >= 0 and winner >= 0 and winner < dx.shape[2]:
        cuda.atomic.add(dx, (image, c, winner), grad[r, c, b])


def backward(grad: Any, rois: Any, argmax: Any, *, shape: tuple[int, int, int, int]) -> Any:
    """(R, C, PH, PW), (R, 5), (R, C, PH, PW) -> (N, C, H, W); atomics: the order of sums varies."""
    require_float32(grad=grad, rois=rois)
    dx = zeros(shape, grad.dtype, grad)
    flat = (*grad.shape[:2], grad.shape[2] * grad.shape[3])
    values = contiguous("grad", grad).reshape(flat)
    winners = contiguous("argmax", argmax.astype("int32", copy=False)).reshape(flat)
    target = dx.reshape(*shape[:2], shape[2] * shape[3])
    grid = blocks(grad.size, 64)
    launch(roi_pool_backward_kernel, grid, 64, values, contiguous("rois", rois), winners, target)
    return dx
