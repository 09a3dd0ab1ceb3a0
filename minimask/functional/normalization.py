"""Batch norm with given or with measured statistics, and group norm.

N images   C channels   G groups   H, W height and width
"""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

import math
from typing import Any

from minimask.autograd import Context, Function, Tensor
from minimask.autograd.arrays import Array, array_module
from minimask.functional.activation import through_relu
from minimask.kernels.batch_norm import batch_norm_backward, channel_moments, scale_shift


def _channel_sums(a: Array, b: Array) -> Array:
    """Sum of a b over images and pixels: (N, C, H, W) twice -> (C,)."""
    n, c, *pixels = a.shape
    shape = (n, c, math.prod(pixels))  # no -1: without images it could be any number
    return array_module(a).einsum("nci,nci->c", a.reshape(shape), b.reshape(shape))


class BatchNorm(Function):
    """Every channel shifted and scaled by given statistics, then a sum and ReLU, if asked for."""

    @staticmethod
    def forward(
        ctx: Context,
        x: Array,
        weight: Array,
        bias: Array,
        residual: Array | None = None,
        *,
        mean: Array,
        var: Array,
        eps: float,
        relu: bool,
    ) -> Array:
        rstd = 1 / array_module(var).sqrt(var + var.dtype.type(eps))
        scale = weight * rstd
        y = scale_shift(x, scale, bias - mean * scale, residual, relu=relu)
        ctx.save(x if ctx.needs_grad[1] else None, scale, mean, rstd, y if relu else None)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # y = (x - mean) rstd weight + bias
        x, scale, mean, rstd, y = ctx.saved
        needs_x, needs_weight, needs_bias, needs_residual = ctx.needs_grad
        grad = through_relu(grad, y)
        xp = array_module(grad)
        grad_x = grad_weight = grad_bias = None
        if needs_x:
            grad_x = scale_shift(grad, scale, xp.zeros_like(scale))
        if needs_weight or needs_bias:
            grad_bias = grad.sum(axis=3).sum(axis=(0, 2))
        if needs_weight:
            grad_weight = (_channel_sums(grad, x) - mean * grad_bias) * rstd
        return grad_x, grad_weight, grad_bias, grad if needs_residual else None


class BatchNormTrain(Function):
    """As BatchNorm, but with the channel's own statistics, which depend on x."""

    @staticmethod
    def forward(
        ctx: Context,
        x: Array,
        weight: Array,
        bias: Array,
        residual: Array | None = None,
        *,
        mean: Array,
        var: Array,
        eps: float,
        relu: bool,
    ) -> Array:
        rstd = 1 / array_module(var).sqrt(var + var.dtype.type(eps))
        scale = weight * rstd
        y = scale_shift(x, scale, bias - mean * scale, residual, relu=relu)
        ctx.save(x, weight, mean, rstd, y if relu else None)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        # with h = (x - mean) rstd and means over each channel's pixels:
        # dx = weight rstd (dy - mean(dy) - h mean(h dy)), dweight = sum(h dy), dbias = sum(dy)
        x, weight, mean, rstd, y = ctx.saved
        grad = through_relu(grad, y)
        grad_residual = grad if ctx.needs_grad[3] else None
        return (*batch_norm_backward(grad, x, weight, mean, rstd), grad_residual)


def _mean(x: Array) -> Array:
    """The mean over the last of three axes, kept with length 1; 0 where there are no values."""
    return x.mean(axis=2, keepdims=True) if x.shape[2] else x.sum(axis=2, keepdims=True)


class GroupNorm(Function):
    """Every group of channels of every image shifted and scaled by its own statistics."""

    @staticmethod
    def forward(
        ctx: Context, x: Array, weight: Array, bias: Array, *, num_groups: int, eps: float
    ) -> Array:
        n, c, *sides = x.shape
        pixels = math.prod(sides)
        groups = x.reshape(n, num_groups, c // num_groups * pixels)
        centered = groups - _mean(groups)
        var = _mean(centered * centered)
        rstd = 1 / array_module(x).sqrt(var + x.dtype.type(eps))
        normal = (centered * rstd).reshape(n, c, pixels)
        ctx.save(normal, weight, rstd)
        return (normal * weight[:, None] + bias[:, None]).reshape(x.shape)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        # as batch norm, but the means run over each group of each image
        normal, weight, rstd = ctx.saved
        n, c, pixels = normal.shape
        flat, groups = grad.reshape(normal.shape), rstd.shape[1]
        grad_weight, grad_bias = _channel_sums(flat, normal), flat.sum(axis=2).sum(axis=0)
        by_group = (n, groups, c // groups * pixels)
        scaled, h = (flat * weight[:, None]).reshape(by_group), normal.reshape(by_group)
        mean, slope = _mean(scaled), _mean(scaled * h)
        return ((scaled - mean - h * slope) * rstd).reshape(grad.shape), grad_weight, grad_bias


def batch_norm(
    x: Any,
    weight: Any,
    bias: Any,
    mean: Array,
    var: Array,
    *,
    eps: float = 1e-5,
    residual: Any = None,
    relu: bool = False,
) -> Tensor:
    """Normalize channels with given statistics: (x - mean) / sqrt(var + eps) * weight + bias.

    Args:
        x: (N, C, H, W).
        weight: (C,) scale.
        bias: (C,) shift.
        mean: (C,) array, a constant: it gets no gradient.
        var: (C,) array, a constant.
        eps: keeps the division finite.
        residual: (N, C, H, W) added to the result, in the same pass; or None.
        relu: whether ReLU follows, in the same pass.
    """
    return BatchNorm.apply(x, weight, bias, residual, mean=mean, var=var, eps=eps, relu=relu)


def batch_norm_train(
    x: Any, weight: Any, bias: Any, *, eps: float = 1e-5, residual: Any = None, relu: bool = False
) -> tuple[Tensor, Array, Array]:
    """Normalize channels with their own mean and variance over all images and pixels.

    Args:
        x: (N, C, H, W).
        weight: (C,) scale.
        bias: (C,) shift.
        eps: keeps the division finite.
        residual: (N, C, H, W) added to the result, in the same pass; or None.
        relu: whether ReLU follows, in the same pass.

    Returns:
        The result (N, C, H, W), and as arrays (C,) the mean and the variance (divided by the
        count, not by the count less one).

    Raises:
        ValueError: fewer than two values per channel, which have no variance.
    """
    n, _, h, w = x.shape
    if n * h * w < 2:
        raise ValueError(
            f"batch_norm_train: `x` {tuple(x.shape)} has {n * h * w} values per channel, at least "
            "2 are needed; use a larger batch or image, or frozen statistics (eval mode)"
        )
    mean, var = channel_moments(x.data if isinstance(x, Tensor) else x)
    y = BatchNormTrain.apply(x, weight, bias, residual, mean=mean, var=var, eps=eps, relu=relu)
    return y, mean, var


def group_norm(x: Any, num_groups: int, weight: Any, bias: Any, *, eps: float = 1e-5) -> Tensor:
    """Normalize every image's channels in groups (Wu and He 2018); independent of the batch.

    Args:
        x: (N, C, H, W).
        num_groups: how many groups of C / num_groups channels.
        weight: (C,) scale.
        bias: (C,) shift.
        eps: keeps the division finite.

    Raises:
        ValueError: the channels cannot be divided into that many groups.
    """
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: {x.shape[1]} channels cannot be divided into {num_groups} groups"
        )
    return GroupNorm.apply(x, weight, bias, num_groups=num_groups, eps=eps)
