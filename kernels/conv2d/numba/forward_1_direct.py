"""Convolution in Numba-CUDA: one thread an output value, twin of forward_1_direct.cu.

Letters: N images, C input channels, K filters, G groups, OH OW height and width of the output.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math
from typing import Any

from numba import float32

from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.conv2d.numba.backward_1_direct import (
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
)
from minimask.kernels.launch import blocks, contiguous, empty, require_float32, zeros
from minimask.kernels.numba_cuda import cuda, jit, launch

__all__ = ["conv2d", "conv2d_backward_bias", "conv2d_backward_input", "conv2d_backward_weight"]

__all__ = [
    "arrays",
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "options",
]


@jit
def conv2d_forward_kernel(
    x, weight, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, y
):
    """One thread a value: pixels of all images along x, filters along y of the grid."""
    m, k = cuda.grid(2)
    plane = y.shape[2] * y.shape[3]
    if m >= y.shape[0] * plane:
        return
    n, i, j = m // plane, m % plane // y.shape[3], m % y.shape[3]
    top, left = i * stride_h - pad_h, j * stride_w - pad_w
    first = k // (y.shape[1] // groups) * weight.shape[1]
    total = float32(0)
    for c in range(weight.shape[1]):
        for u in range(weight.shape[2]):
            row = top + u * dilation_h
            if row < 0 or row >= x.shape[2]:
                continue
            for v in range(weight.shape[3]):
                column = left + v * dilation_w
                if column >= 0 and column < x.shape[3]:
                    total += weight[k, c, u, v] * x[n, first + c, row, column]
    y[n, k, i, j] = total + bias[k]


def conv2d(x: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """(N, C, H, W), (K, C / G, kh, kw), (K,) or None -> (N, K, OH, OW)."""
    x, weight, bias, y = arrays(x, weight, bias, g)
    grid = (blocks(g.images * math.prod(g.output_size), 64), g.filters)
    launch(conv2d_forward_kernel, grid, (64, 1), x, weight, bias, *options(g), y)
    return y


def arrays(x: Any, weight: Any, bias: Any, g: Geometry) -> tuple[Any, Any, Any, Any]:
    """The inputs as kernels need them, zeros where there is no bias, and y to be written."""
    require_float32(x=x, weight=weight, bias=bias)
    x, weight = contiguous("x", x), contiguous("weight", weight)
    bias = zeros(g.filters, x.dtype, x) if bias is None else contiguous("bias", bias)
    return x, weight, bias, empty(g.output_shape, x.dtype, x)


def options(g: Geometry) -> tuple[int, ...]:
    """Steps, borders and groups, as the kernels take them."""
    return (*g.stride, *g.padding, *g.dilation, g.groups)
