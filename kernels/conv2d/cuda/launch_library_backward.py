"""Gradients of a convolution by the array library's matrix product (cuBLAS, for CuPy arrays).

Letters: N images, C input channels, K filters, G groups, OH OW height and width of the output.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from minimask.kernels.conv2d.cuda.launch_backward import (
    input_arrays,
    instead,
    numbers,
    weight_arrays,
)
from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.launch import array_module, blocks, empty, program, require_float32

IM2COL = program(__file__, "forward_library_im2col.cu")
COL2IM = program(__file__, "backward_library_col2im.cu")
MOST_COLUMNS = 1 << 28  # numbers at a time: 1 GiB


def conv2d_backward_input_library(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """The columns' gradient, weights' transpose times grad; then every pixel collects its own."""
    grad, weight, bias, dx = input_arrays(grad, weight, bias, g)
    share, positions = g.filters // g.groups, math.prod(g.output_size)
    turned = weight.reshape(g.groups, share, g.inner).swapaxes(1, 2)
    for here, part in _parts(g):
        d = grad[here].reshape(part.images, g.groups, share, positions)
        columns, out = array_module(grad).matmul(turned, d), dx[here]
        sizes = (*instead(bias, weight), *numbers(part))
        COL2IM.launch("conv2d_col2im", blocks(out.size, 256), 256, columns, *sizes, out)
    return dx


def conv2d_backward_weight_library(grad: Any, x: Any, *, g: Geometry) -> Any:
    """Grad times the columns' transpose, summed over the images."""
    grad, x, dweight = weight_arrays(grad, x, g)
    share, positions = g.filters // g.groups, math.prod(g.output_size)
    total = dweight.reshape(g.groups, share, g.inner)
    total.fill(0)
    for here, part in _parts(g):
        rows = g.groups * g.inner
        columns = empty((part.images, rows, positions), x.dtype, x)
        grid = (blocks(positions, 256), min(rows, 65535), min(part.images, 65535))
        sizes = (here.start, part.images, g.channels, *g.size, *g.window, *g.output_size)
        IM2COL.launch(
            "conv2d_im2col", grid, 256, x, *sizes, *g.stride, *g.padding, *g.dilation, columns
        )
        d = grad[here].reshape(part.images, g.groups, share, positions)
        turned = columns.reshape(part.images, g.groups, g.inner, positions).swapaxes(2, 3)
        total += array_module(x).matmul(d, turned).sum(axis=0)
    return dweight


def conv2d_backward_bias_library(grad: Any) -> Any:
    """The library's sum."""
    require_float32(grad=grad)
    return grad.sum(axis=(0, 2, 3))


def _parts(g: Geometry) -> Iterator[tuple[slice, Geometry]]:
    """Images whose columns fit into memory together, and the sizes of that part of the batch."""
    columns = g.groups * g.inner * math.prod(g.output_size)
    most = max(1, MOST_COLUMNS // max(1, columns))
    for begin in range(0, g.images, most):
        images = min(most, g.images - begin)
        yield slice(begin, begin + images), dataclasses.replace(g, images=images)
