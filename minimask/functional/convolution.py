"""Convolution, its transpose, the linear layer, max pooling and resizing.

N images   C channels   H, W height and width   kh, kw filter height and width
"""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

import math
from typing import Any, TypeAlias

from minimask.autograd import Context, Function, Tensor
from minimask.autograd.arrays import Array, array_module, contiguous_on_gpu
from minimask.functional.activation import through_relu
from minimask.kernels.conv2d import conv2d as convolve
from minimask.kernels.conv2d import conv2d_backward_bias as bias_gradient
from minimask.kernels.conv2d import conv2d_backward_input as input_gradient
from minimask.kernels.conv2d import conv2d_backward_weight as weight_gradient
from minimask.kernels.conv2d import conv_transpose2d as convolve_transposed
from minimask.kernels.conv2d import transposed_shape
from minimask.kernels.dispatch import unchecked
from minimask.kernels.max_pool2d import max_pool2d as pool
from minimask.kernels.max_pool2d import max_pool2d_backward as pool_gradient
from minimask.kernels.resize import resize as resample
from minimask.kernels.resize import resize_backward as resample_gradient

Pair: TypeAlias = int | tuple[int, int]


class Conv2d(Function):
    """Cross-correlation of images with a bank of filters, then a sum and ReLU, where asked for."""

    @staticmethod
    def forward(
        ctx: Context,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        residual: Array | None = None,
        *,
        relu: bool,
        **options: Any,
    ) -> Array:
        if residual is not None:
            residual = contiguous_on_gpu(residual)
        y = convolve(contiguous_on_gpu(x), weight, bias, residual=residual, relu=relu, **options)
        ctx.save(x, weight, y if relu else None, options)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        x, weight, y, options = ctx.saved
        needs_x, needs_weight, needs_bias, needs_residual = ctx.needs_grad
        grad = through_relu(grad, y)
        return (  # the image needs no gradient: skipping it saves a third of the first layer
            input_gradient(grad, weight, x.shape, **options) if needs_x else None,
            weight_gradient(grad, x, weight.shape, **options) if needs_weight else None,
            bias_gradient(grad) if needs_bias else None,
            grad if needs_residual else None,
        )


class ConvTranspose2d(Function):
    """The adjoint of a convolution: every input pixel paints a filter; then ReLU, if asked for."""

    @staticmethod
    def forward(
        ctx: Context,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        *,
        relu: bool,
        **options: Any,
    ) -> Array:
        shape = transposed_shape(x.shape, weight.shape, **options)
        if min(shape[2:]) == 0:  # a kernel would have nothing to do, and refuses
            y = array_module(x).zeros(shape, x.dtype)
        else:
            y = convolve_transposed(contiguous_on_gpu(x), weight, bias, relu=relu, **options)
        ctx.save(x, weight, y if relu else None, options)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        # The adjoint of the adjoint is the convolution; its weight gradient is a convolution's
        # with the roles of input and output exchanged.
        x, weight, y, options = ctx.saved
        needs_x, needs_weight, needs_bias = ctx.needs_grad
        if grad.size == 0:  # no output, nothing to learn
            xp = array_module(grad)
            return xp.zeros_like(x), xp.zeros_like(weight), xp.zeros(grad.shape[1], grad.dtype)
        grad, options = through_relu(grad, y), {**options, "dilation": 1, "groups": 1}
        return (
            convolve(grad, weight, None, **options) if needs_x else None,
            weight_gradient(x, grad, weight.shape, **options) if needs_weight else None,
            bias_gradient(grad) if needs_bias else None,
        )


class Linear(Function):
    """The affine map x W^T + b of every row."""

    @staticmethod
    def forward(ctx: Context, x: Array, weight: Array, bias: Array | None = None) -> Array:
        ctx.save(x, weight)
        out = x @ weight.T
        if bias is not None:
            out += bias
        return out

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dx = dy W, dW = dy^T x, db = sum of dy
        x, weight = ctx.saved
        needs_x, needs_weight, needs_bias = ctx.needs_grad
        count = math.prod(grad.shape[:-1])  # no -1: without outputs it could be any number
        rows = grad.reshape(count, grad.shape[-1])
        return (
            grad @ weight if needs_x else None,
            rows.T @ x.reshape(count, x.shape[-1]) if needs_weight else None,
            rows.sum(axis=0) if needs_bias else None,
        )


class MaxPool2d(Function):
    """The largest value of every window."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, kernel_size: Pair, stride: Any, padding: Pair) -> Array:
        out, argmax = pool(contiguous_on_gpu(x), kernel_size, stride=stride, padding=padding)
        ctx.save(argmax, x.shape, kernel_size, {"stride": stride, "padding": padding})
        return out

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # only the largest value counts
        argmax, shape, kernel_size, options = ctx.saved
        with unchecked():  # argmax is our own
            return pool_gradient(contiguous_on_gpu(grad), argmax, shape, kernel_size, **options)


class Resize(Function):
    """Images resampled to another size."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, size: tuple[int, int], mode: str) -> Array:
        ctx.save(x.shape, mode)
        return resample(contiguous_on_gpu(x), size, mode=mode)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # each output's weights, transposed
        shape, mode = ctx.saved
        return resample_gradient(contiguous_on_gpu(grad), shape, mode=mode)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    residual: Any = None,
    relu: bool = False,
) -> Tensor:
    """Slide a bank of filters over images.

    Args:
        x: (N, C, H, W) images.
        weight: (C_out, C / groups, kh, kw) filters.
        bias: (C_out,) added to every pixel, or None.
        stride: step between windows in pixels; like the next two, one number or (y, x).
        padding: zeros added on every side.
        dilation: distance between a filter's taps.
        groups: blocks of channels that do not see each other.
        residual: (N, C_out, H_out, W_out) added to the result while it is in the cache; or None.
        relu: whether ReLU follows, in the same way.

    Returns:
        (N, C_out, H_out, W_out), H_out = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1.
    """
    return Conv2d.apply(
        x,
        weight,
        bias,
        residual,
        relu=relu,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    relu: bool = False,
) -> Tensor:
    """Enlarge images: every input pixel adds a filter, times its value, to the output.

    Args:
        x: (N, C, H, W) images.
        weight: (C, C_out, kh, kw) filters.
        bias: (C_out,) added to every pixel, or None.
        stride: distance between the places of neighboring pixels' filters.
        padding: rows and columns cut from every side.
        relu: whether ReLU follows, while the result is in the cache.

    Returns:
        (N, C_out, H_out, W_out), H_out = (H - 1) stride - 2 padding + kh.  Where that is 0, nothing
        is left, and all gradients are 0.
    """
    return ConvTranspose2d.apply(x, weight, bias, relu=relu, stride=stride, padding=padding)


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """Multiply rows (..., C) by a weight (C_out, C) and add a bias (C_out,): (..., C_out)."""
    return Linear.apply(x, weight, bias)


def max_pool2d(x: Any, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The largest value of every window of (N, C, H, W) images; stride defaults to the window.

    The gradient goes to the first of the largest values, row by row.  NaN counts as larger than
    every number.
    """
    return MaxPool2d.apply(x, kernel_size=kernel_size, stride=stride, padding=padding)


def resize(x: Any, size: tuple[int, int], mode: str = "nearest") -> Tensor:
    """Resample (N, C, H, W) images to `size` (height, width), pixel centers at i + 0.5.

    Args:
        x: the images.
        size: height and width of the result.
        mode: "nearest" or "bilinear".
    """
    return Resize.apply(x, size=tuple(size), mode=mode)
