"""Sums, means, maxima, softmax: operations along axes."""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

import math
import operator
from typing import Any, TypeAlias

from minimask.autograd import arrays
from minimask.autograd.arrays import Array, array_module
from minimask.autograd.ops.arithmetic import Neg
from minimask.autograd.tensor import Context, Function, Tensor

Axis: TypeAlias = int | tuple[int, ...] | None


def _spread(grad: Array, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Array:
    """Copy the gradient of a reduced array along the axes that were reduced."""
    xp = array_module(grad)
    if axis is not None and not keepdims:
        grad = xp.expand_dims(grad, axis)
    return xp.broadcast_to(grad, shape)


class Sum(Function):
    """The sum along axes."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, axis: Axis, keepdims: bool) -> Array:
        ctx.save(x.shape, axis, keepdims)
        return x.sum(axis=axis, keepdims=keepdims)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # every summand counts once
        shape, axis, keepdims = ctx.saved
        return _spread(grad, shape, axis, keepdims)


class Mean(Function):
    """The mean along axes; 0, with gradient 0, where there is nothing to average."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, axis: Axis, keepdims: bool) -> Array:
        total = x.sum(axis=axis, keepdims=keepdims)
        count = x.size // total.size or 1 if total.size else 1
        ctx.save(x.shape, axis, keepdims, count)
        return total / x.dtype.type(count)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # every element counts 1 / count
        shape, axis, keepdims, count = ctx.saved
        return _spread(grad / grad.dtype.type(count), shape, axis, keepdims)


class Max(Function):
    """The maximum along axes; elements that tie for it share the gradient.

    NaN is larger than every number: the maximum is NaN, and the NaNs share the gradient.
    """

    @staticmethod
    def forward(ctx: Context, x: Array, *, axis: Axis, keepdims: bool) -> Array:
        axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        if math.prod([x.shape[a] for a in axes]) == 0:
            raise ValueError(
                f"max and min of no values are undefined: shape {x.shape}, axis {axis}; "
                "ask for the size first"
            )
        y = x.max(axis=axis, keepdims=True)
        ctx.save(x, y, axis)
        return y if keepdims else y.squeeze(axis)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dy = mean of dx over the maxima
        x, y, axis = ctx.saved
        xp = array_module(x)
        maxima = (x == y) | (x != x)  # NaN equals nothing, itself included
        count = xp.maximum(maxima.sum(axis=axis, keepdims=True), 1)
        return (grad.reshape(y.shape) / count).astype(x.dtype) * maxima


class Softmax(Function):
    """Values e^x divided by its sum along an axis."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, axis: int) -> Array:
        y = arrays.softmax(x, axis)
        ctx.save(y, axis)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dx = y (dy - sum(y dy))
        y, axis = ctx.saved
        return y * (grad - (y * grad).sum(axis=axis, keepdims=True))


class LogSoftmax(Function):
    """Values minus the logarithm of the sum of e^x along an axis."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, axis: int) -> Array:
        xp = array_module(x)
        y = x - arrays.largest(x, axis)
        if y.size:  # the logarithm of no summands would be infinite
            y -= xp.log(xp.exp(y).sum(axis=axis, keepdims=True))
        ctx.save(y, axis)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dx = dy - softmax(x) sum(dy)
        y, axis = ctx.saved
        return grad - array_module(y).exp(y) * grad.sum(axis=axis, keepdims=True)


def _axes(axis: Any) -> Axis:
    """An axis or several as Python's integers; NumPy's are taken as well."""
    if axis is None:
        return None
    if isinstance(axis, tuple | list):
        return tuple([operator.index(a) for a in axis])
    return operator.index(axis)


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum of x along `axis` (all axes if None); of no values 0."""
    return Sum.apply(x, axis=_axes(axis), keepdims=keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean of x along `axis` (all axes if None).

    The mean of nothing is 0, with gradient 0: an image without objects adds nothing to a loss.
    """
    return Mean.apply(x, axis=_axes(axis), keepdims=keepdims)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The maximum of x along `axis` (all axes if None); ties share the gradient equally.

    NaN counts as larger than every number: the maximum is NaN, and the NaNs share the gradient.

    Raises:
        ValueError: there are no values along the axes.
    """
    return Max.apply(x, axis=_axes(axis), keepdims=keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The minimum of x along `axis` (all axes if None); ties, NaN and no values as in `max`."""
    return Neg.apply(Max.apply(Neg.apply(x), axis=_axes(axis), keepdims=keepdims))


def softmax(x: Any, axis: int = -1) -> Tensor:
    """Probabilities e^x / sum(e^x) along `axis`, without overflow for any x."""
    return Softmax.apply(x, axis=operator.index(axis))


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """The logarithm of `softmax(x, axis)`, exact where the probability would round to 0."""
    return LogSoftmax.apply(x, axis=operator.index(axis))
