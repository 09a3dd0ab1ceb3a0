"""As `grouped`, but what follows a convolution is done to a tile while it is still in the cache.

In a network a convolution is followed by batch norm, a sum with the shortcut, ReLU: each reads and
writes the whole output, which memory delivers far more slowly than the convolution computes.  A
norm with given statistics is a scale and a shift of each channel, so that it goes into weights and
bias beforehand (`minimask.nn.conv_norm`); sum and ReLU are done here to each tile as it is written.

Gradients run as in `grouped`.
"""

from __future__ import annotations

import numpy as np

from minimask.kernels.conv2d.cpu import compiled, grouped, winograd
from minimask.kernels.conv2d.cpu.grouped import (
    conv2d,
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
)
from minimask.kernels.conv2d.cpu.plan import backward_plan, forward_plan
from minimask.kernels.conv2d.geometry import Geometry

__all__ = [
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv2d_fused",
    "conv_transpose2d_fused",
]


def conv2d_fused(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    *,
    relu: bool,
    g: Geometry,
) -> np.ndarray:
    """The convolution, plus the residual, and its ReLU where asked."""
    if grouped.has_one_pixel(g):
        y = conv2d(x, weight, bias, g=g)
        if residual is not None:
            y += residual
        return np.maximum(y, 0, out=y) if relu else y
    y = np.empty(g.output_shape, x.dtype)
    if winograd.fits(g, x.dtype):
        winograd.convolve_tiles(
            x, weight, (g.inner, 1), forward_plan(g).order, False, bias, y, g.padding, residual,
            relu,
        )  # fmt: skip
    elif grouped.fits(g):
        grouped.convolve_groups(x, weight, bias, y, g, residual, relu)
    else:
        steps = (g.filters // g.groups * g.inner, g.inner, 1)
        compiled.correlate_tiles(
            x, weight, steps, bias, y, forward_plan(g), g.groups, residual, relu
        )
    return y


def conv_transpose2d_fused(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, relu: bool, g: Geometry
) -> np.ndarray:
    """The transposed convolution, and its ReLU where asked; g of the plain convolution."""
    y = np.empty(g.input_shape, x.dtype)
    steps = (g.filters // g.groups * g.inner, g.window[0] * g.window[1], 0)
    compiled.correlate_tiles(x, weight, steps, bias, y, backward_plan(g), g.groups, None, relu)
    return y
