"""Batch normalization in Numba-CUDA: one block a channel, twin of rung_1_channels.cu.

Letters: N images, C channels, P positions of a plane (H W).
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, device, jit, launch

THREADS = 64


@device
def block_sum(value, shared):
    """The sum of all threads' values, for all of them."""
    t = cuda.threadIdx.x
    cuda.syncthreads()  # nobody still reads the last sum
    shared[t] = value
    half = THREADS // 2
    while half > 0:
        cuda.syncthreads()
        if t < half:
            shared[t] += shared[t + half]
        half //= 2
    cuda.syncthreads()
    return shared[0]


@jit
def batch_norm_moments_kernel(x, mean, var):
    """One block a channel of x (N, C, P): the mean, then what it missed and the squares."""
    shared = cuda.shared.array(64, float32)
    t, c = cuda.threadIdx.x, cuda.blockIdx.x
    count = float32(x.shape[0] * x.shape[2])
    total = float32(0)
    for n in range(x.shape[0]):
        along = float32(0)  # planes are summed up apart, which rounds less than one long sum
        for i in range(t, x.shape[2], THREADS):
            along += x[n, c, i]
        total += along
    center = block_sum(total, shared) / count
    missed = float32(0)
    squares = float32(0)
    for n in range(x.shape[0]):
        along = float32(0)
        square = float32(0)
        for i in range(t, x.shape[2], THREADS):
            deviation = x[n, c, i] - center
            along += deviation
            square += deviation * deviation
        missed += along
        squares += square
    missed = block_sum(missed, shared) / count
    squares = block_sum(squares, shared) / count
    if t == 0:
        mean[c] = center + missed
        variance = squares - missed * missed  # `missed` is a rounding error
        var[c] = float32(0) if variance < float32(0) else variance


@jit
def batch_norm_scale_shift_kernel(x, scale, shift, y):
    """One thread a value of x (N, C, P)."""
    index = cuda.grid(1)
    if index < x.size:
        i, c = index % x.shape[2], index // x.shape[2] % x.shape[1]
        n = index // (x.shape[1] * x.shape[2])
        y[n, c, i] = scale[c] * x[n, c, i] + shift[c]


@jit
def batch_norm_backward_kernel(grad, x, weight, mean, rstd, dx, dweight, dbias):
    """One block a channel: both sums, then its part of dx."""
    shared = cuda.shared.array(64, float32)
    t, c = cuda.threadIdx.x, cuda.blockIdx.x
    count = float32(x.shape[0] * x.shape[2])
    total = float32(0)
    product = float32(0)
    for n in range(x.shape[0]):
        along = float32(0)
        with_x = float32(0)
        for i in range(t, x.shape[2], THREADS):
            along += grad[n, c, i]
            with_x += grad[n, c, i] * (x[n, c, i] - mean[c])
        total += along
        product += with_x
    total = block_sum(total, shared)
    product = block_sum(product, shared) * rstd[c]
    if t == 0:
        dbias[c] = total
        dweight[c] = product
    if count == float32(0):
        return
    a = weight[c] * rstd[c]
    b = -a * rstd[c] * (product / count)
    d = -a * (total / count)
    for n in range(x.shape[0]):
        for i in range(t, x.shape[2], THREADS):
            dx[n, c, i] = a * grad[n, c, i] + b * (x[n, c, i] - mean[c]) + d


def channel_moments(x: Any) -> tuple[Any, Any]:
    """(N, C, H, W) -> mean (C,), var (C,)."""
    (x,) = ready(x=x)
    mean, var = (empty(x.shape[1], x.dtype, x) for _ in range(2))
    launch(batch_norm_moments_kernel, x.shape[1], THREADS, planes_of(x), mean, var)
    return mean, var


def scale_shift(x: Any, scale: Any, shift: Any) -> Any:
    """(N, C, H, W), (C,), (C,) -> (N, C, H, W)."""
    x, scale, shift = ready(x=x, scale=scale, shift=shift)
    y = empty(x.shape, x.dtype, x)
    launch(
        batch_norm_scale_shift_kernel,
        blocks(x.size, THREADS),
        THREADS,
        planes_of(x),
        scale,
        shift,
        planes_of(y),
    )
    return y


def batch_norm_backward(
    grad: Any, x: Any, weight: Any, mean: Any, rstd: Any
) -> tuple[Any, Any, Any]:
    """Two (N, C, H, W), three (C,) -> dx (N, C, H, W), dweight (C,), dbias (C,)."""
    grad, x, *vectors = ready(grad=grad, x=x, weight=weight, mean=mean, rstd=rstd)
    dx = empty(x.shape, x.dtype, x)
    dweight, dbias = (empty(x.shape[1], x.dtype, x) for _ in range(2))
    arrays = (planes_of(grad), planes_of(x), *vectors, planes_of(dx), dweight, dbias)
    launch(batch_norm_backward_kernel, x.shape[1], THREADS, *arrays)
    return dx, dweight, dbias


def ready(**arrays: Any) -> tuple[Any, ...]:
    """The arrays as kernels need them."""
    require_float32(**arrays)
    return tuple(contiguous(name, array) for name, array in arrays.items())


def planes_of(x: Any) -> Any:
    """(N, C, H, W) as (N, C, P)."""
    return x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])
