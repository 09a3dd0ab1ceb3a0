"""Batch normalization in Numba-CUDA: a channel cut into slices, kept by their threads.

The twin of rung_2_slices.cu, with 4 values a thread and 64 threads, and without vector reads.

Letters: N images, C channels, P positions of a plane (H W).
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.batch_norm.numba.rung_1_channels import (
    THREADS,
    block_sum,
    planes_of,
    ready,
    scale_shift,
)
from minimask.kernels.launch import blocks, empty
from minimask.kernels.numba_cuda import cuda, jit, launch

__all__ = ["batch_norm_backward", "channel_moments", "scale_shift"]

MINE = 4  # values of a thread
SLICE = 256  # values of a block: THREADS * MINE


@jit
def batch_norm_slice_moments_kernel(x, means, missed, squares):
    """One block a slice of a channel of x (N, C, P); its mean is mean + missed."""
    shared = cuda.shared.array(64, float32)
    values = cuda.local.array(4, float32)
    t, c, first = cuda.threadIdx.x, cuda.blockIdx.y, cuda.blockIdx.x * SLICE
    all_values = x.shape[0] * x.shape[2]
    count = float32(min(SLICE, all_values - first))
    total = float32(0)
    for r in range(MINE):
        i = first + r * THREADS + t
        values[r] = float32(0)
        if i < all_values:
            values[r] = x[i // x.shape[2], c, i % x.shape[2]]
        total += values[r]
    center = block_sum(total, shared) / count
    rest = float32(0)
    square = float32(0)
    for r in range(MINE):
        if first + r * THREADS + t < all_values:
            deviation = values[r] - center
            rest += deviation
            square += deviation * deviation
    rest = block_sum(rest, shared) / count
    square = block_sum(square, shared)
    if t == 0:
        variation = square - count * rest * rest  # `rest` is a rounding error
        means[cuda.blockIdx.x, c] = center
        missed[cuda.blockIdx.x, c] = rest
        squares[cuda.blockIdx.x, c] = float32(0) if variation < float32(0) else variation


@jit
def batch_norm_join_moments_kernel(means, missed, squares, count, mean, var):
    """One thread a channel: the slices' moments, joined from first to last."""
    c = cuda.grid(1)
    if c >= mean.size:
        return
    origin = means[0, c]
    offset = float32(0)  # the mean so far is origin + offset
    deviations = float32(0)
    for part in range(means.shape[0]):
        before = part * SLICE
        here = min(SLICE, count - before)
        step = means[part, c] - origin + missed[part, c] - offset
        share = float32(here) / float32(before + here)
        deviations += squares[part, c] + step * step * (float32(before) * share)
        offset += step * share
    mean[c] = origin + offset
    var[c] = deviations / float32(count)


@jit
def batch_norm_backward_slice_sums_kernel(grad, x, mean, sums, products):
    """One block a slice: its sums of grad and of grad (x - mean)."""
    shared = cuda.shared.array(64, float32)
    t, c, first = cuda.threadIdx.x, cuda.blockIdx.y, cuda.blockIdx.x * SLICE
    total = float32(0)
    product = float32(0)
    for r in range(MINE):
        i = first + r * THREADS + t
        if i < x.shape[0] * x.shape[2]:
            n, at = i // x.shape[2], i % x.shape[2]
            total += grad[n, c, at]
            product += grad[n, c, at] * (x[n, c, at] - mean[c])
    total = block_sum(total, shared)
    product = block_sum(product, shared)
    if t == 0:
        sums[cuda.blockIdx.x, c] = total
        products[cuda.blockIdx.x, c] = product


@jit
def batch_norm_backward_join_sums_kernel(
    sums, products, weight, rstd, count, factors, dweight, dbias
):
    """One thread a channel: both sums, and what dx is made of."""
    c = cuda.grid(1)
    if c >= weight.size:
        return
    total = float32(0)
    product = float32(0)
    for part in range(sums.shape[0]):
        total += sums[part, c]
        product += products[part, c]
    product *= rstd[c]
    dbias[c] = total
    dweight[c] = product
    if count > 0:
        a = weight[c] * rstd[c]
        factors[0, c] = a
        factors[1, c] = -a * rstd[c] * (product / float32(count))
        factors[2, c] = -a * (total / float32(count))


@jit
def batch_norm_backward_input_kernel(grad, x, mean, factors, dx):
    """One thread a value."""
    index = cuda.grid(1)
    if index < x.size:
        i, c = index % x.shape[2], index // x.shape[2] % x.shape[1]
        n = index // (x.shape[1] * x.shape[2])
        normed = factors[1, c] * (x[n, c, i] - mean[c]) + factors[2, c]
        dx[n, c, i] = factors[0, c] * grad[n, c, i] + normed


def channel_moments(x: Any) -> tuple[Any, Any]:
    """(N, C, H, W) -> mean (C,), var (C,)."""
    (x,) = ready(x=x)
    planes, channels = planes_of(x), x.shape[1]
    count = x.shape[0] * planes.shape[2]
    slices = blocks(count, SLICE)
    parts = [empty((slices, channels), x.dtype, x) for _ in range(3)]
    launch(batch_norm_slice_moments_kernel, (slices, channels), THREADS, planes, *parts)
    mean, var = (empty(channels, x.dtype, x) for _ in range(2))
    launch(
        batch_norm_join_moments_kernel, blocks(channels, THREADS), THREADS, *parts, count, mean, var
    )
    return mean, var


def batch_norm_backward(
    grad: Any, x: Any, weight: Any, mean: Any, rstd: Any
) -> tuple[Any, Any, Any]:
    """Two (N, C, H, W), three (C,) -> dx (N, C, H, W), dweight (C,), dbias (C,)."""
    grad, x, weight, mean, rstd = ready(grad=grad, x=x, weight=weight, mean=mean, rstd=rstd)
    dx, channels = empty(x.shape, x.dtype, x), x.shape[1]
    dweight, dbias = (empty(channels, x.dtype, x) for _ in range(2))
    count = x.shape[0] * x.shape[2] * x.shape[3]
    slices = blocks(count, SLICE)
    sums, products = (empty((slices, channels), x.dtype, x) for _ in range(2))
    pair = (planes_of(grad), planes_of(x))
    launch(
        batch_norm_backward_slice_sums_kernel,
        (slices, channels),
        THREADS,
        *pair,
        mean,
        sums,
        products,
    )
    factors = empty((3, channels), x.dtype, x)
    joined = (sums, products, weight, rstd, count, factors, dweight, dbias)
    launch(batch_norm_backward_join_sums_kernel, blocks(channels, THREADS), THREADS, *joined)
    launch(
        batch_norm_backward_input_kernel,
        blocks(x.size, THREADS),
        THREADS,
        *pair,
        mean,
        factors,
        planes_of(dx),
    )
    return dx, dweight, dbias
