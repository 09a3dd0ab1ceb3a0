"""Gradients of a convolution by the array library's matrix product (cuBLAS, for CuPy arrays).

Letters: N images, C input channels, K filters, G groups, OH OW height and width of the output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from minimask.kernels.conv2d.cuda_gradients import input_arrays, instead, numbers, weight_arrays
from minimask.kernels.conv2d.geometry import Geometry
from minimask.kernels.launch import array_module, blocks, empty, program, require_float32

PROGRAM = program(__file__, "library_gradients.cu")
MOST_COLUMNS = 1 << 26  # numbers at a time: 256 MiB


def conv2d_backward_input_library(grad: Any, weight: Any, bias: Any, *, g: Geometry) -> Any:
    """The columns' gradient, weights' transpose times grad; then every pixel collects its own."""
    grad, weight, bias, dx = input_arrays(grad, weight, bias, g)
    share, positions = g.filters // g.groups, g.output_size[0] * g.output_size[1]
    turned = weight.reshape(g.groups, share, g.inner).swapaxes(1, 2)
    for begin, part in _parts(g):
        here = slice(begin, begin + part.images)
        d = grad[here].reshape(part.images, g.groups, share, positions)
        columns = array_module(grad).matmul(turned, d)
        sizes = (*instead(bias, weight), *numbers(part))
        grid = blocks(dx[here].size, 256)
        PROGRAM.launch("columns_to_image", grid, 256, columns, *sizes, dx[here])
    return dx


def conv2d_backward_weight_library(grad: Any, x: Any, *, g: Geometry) -> Any:
    """Grad times the columns' transpose, summed over the images."""
    grad, x, dweight = weight_arrays(grad, x, g)
    xp, share, positions = array_module(x), g.filters // g.groups, g.output_size[0] * g.output_size[1]
    total = dweight.reshape(g.groups, share, g.inner)
    total.fill(0)
    for begin, part in _parts(g):
        here = slice(begin, begin + part.images)
        columns = empty((part.images, g.groups, g.inner, positions), x.dtype, x)
        grid = blocks(columns.size, 256)
        PROGRAM.launch("image_to_columns", grid, 256, x[here], *numbers(part), columns)
        d = grad[here].reshape(part.images, g.groups, share, positions)
        total += xp.matmul(d, columns.swapaxes(2, 3)).sum(axis=0)
    return dweight


def conv2d_backward_bias_library(grad: Any) -> Any:
    """The library's sum."""
    require_float32(grad=grad)
    return grad.sum(axis=(0, 2, 3))


def _parts(g: Geometry) -> Iterator[tuple[int, Geometry]]:
    """Batches whose columns fit: the first image of each, and its sizes."""
    columns = g.groups * g.inner * g.output_size[0] * g.output_size[1]
    most = max(1, MOST_COLUMNS // max(1, columns))
    for begin in range(0, g.images, most):
        yield begin, dataclasses.replace(g, images=min(most, g.images - begin))
