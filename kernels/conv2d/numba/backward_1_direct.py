"""Gradients of a convolution in Numba-CUDA, rung 1: the twin of backward_1_direct.cu.

Letters: N images, C input channels, K filters, G groups, H W height and width of the input, OH OW
of the output.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.conv2d.cuda.launch_backward import input_arrays, weight_arrays
from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.launch import blocks, contiguous, require_float32, zeros
from minimask.kernels.numba_cuda import cuda, device, jit, launch

THREADS = 64


@device
def position(distance, stride, positions):
    """The window position that reads a pixel `distance` after its tap's first one; -1: none."""
    if distance < 0 or distance % stride != 0 or distance // stride >= positions:
        return -1
    return distance // stride


@jit
def conv2d_backward_input_kernel(grad, weight, bias, has_bias, share, steps, dx):
    """One thread a value of dx; threads of a warp walk along a row of the image."""
    index = cuda.grid(1)
    if index >= dx.size:
        return
    x, y = index % dx.shape[3], index // dx.shape[3] % dx.shape[2]
    plane = index // (dx.shape[2] * dx.shape[3])
    n, c = plane // dx.shape[1], plane % dx.shape[1]
    depth = weight.shape[1]
    first = c // depth * share  # of the filters that read this channel
    total = float32(0)
    for u in range(weight.shape[2]):
        i = position(y + steps[2] - u * steps[4], steps[0], grad.shape[2])
        for v in range(weight.shape[3]):
            j = position(x + steps[3] - v * steps[5], steps[1], grad.shape[3])
            if i >= 0 and j >= 0:
                for k in range(first, first + share):
                    total += weight[k, c % depth, u, v] * grad[n, k, i, j]
    dx[n, c, y, x] = total + bias[c] if has_bias else total


@jit
def conv2d_backward_weight_kernel(grad, x, share, steps, dweight):
    """One thread a weight; rows are summed up apart, which rounds less than one long sum."""
    index = cuda.grid(1)
    if index >= dweight.size:
        return
    v, u = index % dweight.shape[3], index // dweight.shape[3] % dweight.shape[2]
    plane = index // (dweight.shape[2] * dweight.shape[3])
    k, inside = plane // dweight.shape[1], plane % dweight.shape[1]
    c = k // share * dweight.shape[1] + inside
    total = float32(0)
    for n in range(grad.shape[0]):
        for i in range(grad.shape[2]):
            row = i * steps[0] - steps[2] + u * steps[4]
            if row < 0 or row >= x.shape[2]:
                continue
            along = float32(0)
            for j in range(grad.shape[3]):
                column = j * steps[1] - steps[3] + v * steps[5]
                if column >= 0 and column < x.shape[3]:
                    along += grad[n, k, i, j] * x[n, c, row, column]
            total += along
    dweight[k, inside, u, v] = total


@jit
def conv2d_backward_bias_kernel(grad, dbias):
    """One thread a filter."""
    k = cuda.grid(1)
    if k >= dbias.size:
        return
    total = float32(0)
    for n in range(grad.shape[0]):
        for i in range(grad.shape[2]):
            along = float32(0)
            for j in range(grad.shape[3]):
                along += grad[n, k, i, j]
            total += along
    dbias[k] = total


def steps_of(g: Geometry) -> tuple[int, ...]:
    """Strides, paddings and dilations, vertical before horizontal."""
    return (*g.stride, *g.padding, *g.dilation)


def conv2d_backward_input(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """(N, K, OH, OW), (K, C / G, kh, kw), (C,) or None -> (N, C, H, W)."""
    grad, weight, bias, dx = input_arrays(grad, weight, bias, g)
    term = zeros(1, grad.dtype, grad) if bias is None else bias
    sizes = (g.filters // g.groups, steps_of(g))
    grid = blocks(dx.size, THREADS)
    launch(
        conv2d_backward_input_kernel,
        grid,
        THREADS,
        grad,
        weight,
        term,
        bias is not None,
        *sizes,
        dx,
    )
    return dx


def conv2d_backward_weight(grad: Any, x: Any, *, g: Geometry) -> Any:
    """(N, K, OH, OW), (N, C, H, W) -> (K, C / G, kh, kw)."""
    grad, x, dweight = weight_arrays(grad, x, g)
    grid = blocks(dweight.size, THREADS)
    launch(
        conv2d_backward_weight_kernel,
        grid,
        THREADS,
        grad,
        x,
        g.filters // g.groups,
        steps_of(g),
        dweight,
    )
    return dweight


def conv2d_backward_bias(grad: Any) -> Any:
    """(N, K, OH, OW) -> (K,)."""
    require_float32(grad=grad)
    grad, dbias = contiguous("grad", grad), zeros(grad.shape[1], grad.dtype, grad)
    launch(conv2d_backward_bias_kernel, blocks(dbias.size, THREADS), THREADS, grad, dbias)
    return dbias
