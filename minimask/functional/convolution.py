"""Convolution, its transpose, the linear layer, max pooling and resizing.

N images   C channels   H, W height and width   kh, kw kernel height and width
"""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

from typing import Any, TypeAlias

from minimask.autograd import Context, Function, Tensor
from minimask.autograd.arrays import Array, in_order
from minimask.kernels.conv2d import conv2d as convolve
from minimask.kernels.conv2d import conv2d_backward_bias as bias_gradient
from minimask.kernels.conv2d import conv2d_backward_input as input_gradient
from minimask.kernels.conv2d import conv2d_backward_weight as weight_gradient
from minimask.kernels.conv2d import conv_transpose2d as convolve_transposed
from minimask.kernels.dispatch import unchecked
from minimask.kernels.max_pool2d import max_pool2d as pool
from minimask.kernels.max_pool2d import max_pool2d_backward as pool_gradient
from minimask.kernels.relu import relu_backward
from minimask.kernels.resize import resize as resample
from minimask.kernels.resize import resize_backward as resample_gradient

Pair: TypeAlias = int | tuple[int, int]


def _inputs(x: Any, weight: Any, *others: Any) -> tuple[Any, ...]:
    """The differentiable inputs; those that are missing are left out."""
    return (x, weight, *(other for other in others if other is not None))


class Conv2d(Function):
    """Cross-correlation of images with a bank of kernels, then a sum and the positive part.

    After images and kernels come the bias and the residual, in that order, if they are there.
    """

    @staticmethod
    def forward(
        ctx: Context,
        x: Array,
        weight: Array,
        *others: Array,
        bias: bool,
        residual: bool,
        relu: bool,
        **options: Any,
    ) -> Array:
        shift = others[0] if bias else None
        other = in_order(others[-1]) if residual else None
        y = convolve(in_order(x), weight, shift, residual=other, relu=relu, **options)
        ctx.save(x, weight, y if relu else None, bias, options)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        x, weight, y, bias, options = ctx.saved
        needs, grad = ctx.needs_grad, in_order(grad)
        if y is not None:
            grad = relu_backward(grad, y)
        gradients = [  # the image needs no gradient: skipping it saves a third of the first layer
            input_gradient(grad, weight, x.shape, **options) if needs[0] else None,
            weight_gradient(grad, x, weight.shape, **options) if needs[1] else None,
        ]
        if bias:
            gradients.append(bias_gradient(grad) if needs[2] else None)
        return (*gradients, *[grad] * (len(needs) - len(gradients)))


class ConvTranspose2d(Function):
    """The adjoint of a convolution: every input pixel paints a kernel; then the positive part."""

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
        y = convolve_transposed(in_order(x), weight, bias, relu=relu, **options)
        ctx.save(x, weight, y if relu else None, options)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        # The adjoint of the adjoint is the convolution; its weight gradient is a convolution's
        # with the roles of input and output exchanged.
        x, weight, y, options = ctx.saved
        needs, options = ctx.needs_grad, {**options, "dilation": 1, "groups": 1}
        grad = in_order(grad) if y is None else relu_backward(in_order(grad), y)
        gradients = (
            convolve(grad, weight, None, **options) if needs[0] else None,
            weight_gradient(x, grad, weight.shape, **options) if needs[1] else None,
            bias_gradient(grad) if needs[-1] and len(needs) == 3 else None,
        )
        return gradients[: len(needs)]


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
        needs = ctx.needs_grad
        rows = grad.reshape(-1, grad.shape[-1])
        gradients = (
            grad @ weight if needs[0] else None,
            rows.T @ x.reshape(-1, x.shape[-1]) if needs[1] else None,
            rows.sum(axis=0) if needs[-1] and len(needs) == 3 else None,
        )
        return gradients[: len(needs)]


class MaxPool2d(Function):
    """The largest value of every window."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, kernel_size: Pair, stride: Any, padding: Pair) -> Array:
        out, argmax = pool(in_order(x), kernel_size, stride=stride, padding=padding)
        ctx.save(argmax, x.shape, kernel_size, {"stride": stride, "padding": padding})
        return out

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # only the largest value counts
        argmax, shape, kernel_size, options = ctx.saved
        with unchecked():  # argmax is our own
            return pool_gradient(in_order(grad), argmax, shape, kernel_size, **options)


class Resize(Function):
    """Images resampled to another size."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, size: tuple[int, int], mode: str) -> Array:
        ctx.save(x.shape, mode)
        return resample(in_order(x), size, mode=mode)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # each output's weights, transposed
        shape, mode = ctx.saved
        return resample_gradient(in_order(grad), shape, mode=mode)


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
    """Slide a bank of kernels over images.

    Args:
        x: (N, C, H, W) images.
        weight: (C_out, C / groups, kh, kw) kernels.
        bias: (C_out,) added to every pixel, or None.
        stride: step between windows in pixels; like the next two, one number or (y, x).
        padding: zeros added on every side.
        dilation: distance between the kernel's taps.
        groups: blocks of channels that do not see each other.
        residual: (N, C_out, H_out, W_out) added to the result while it is in the cache; or None.
        relu: whether the positive part is taken at the end, in the same way.

    Returns:
        (N, C_out, H_out, W_out), H_out = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1.
    """
    return Conv2d.apply(
        *_inputs(x, weight, bias, residual),
        bias=bias is not None,
        residual=residual is not None,
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
    """Enlarge images: every input pixel adds a kernel, times its value, to the output.

    Args:
        x: (N, C, H, W) images.
        weight: (C, C_out, kh, kw) kernels.
        bias: (C_out,) added to every pixel, or None.
        stride: distance between the places of neighboring pixels' kernels.
        padding: rows and columns cut from every side.
        relu: whether the positive part is taken at the end, while it is in the cache.

    Returns:
        (N, C_out, H_out, W_out), H_out = (H - 1) stride - 2 padding + kh.
    """
    inputs = _inputs(x, weight, bias)
    return ConvTranspose2d.apply(*inputs, relu=relu, stride=stride, padding=padding)


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """Multiply rows (..., C) by a weight (C_out, C) and add a bias (C_out,): (..., C_out)."""
    return Linear.apply(*_inputs(x, weight, bias))


def max_pool2d(x: Any, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The largest value of every window of (N, C, H, W) images; stride defaults to the window."""
    return MaxPool2d.apply(x, kernel_size=kernel_size, stride=stride, padding=padding)


def resize(x: Any, size: tuple[int, int], mode: str = "nearest") -> Tensor:
    """Resample (N, C, H, W) images to `size` (height, width), pixel centers at i + 0.5.

    Args:
        x: the images.
        size: height and width of the result.
        mode: "nearest" or "bilinear".
    """
    return Resize.apply(x, size=tuple(size), mode=mode)
