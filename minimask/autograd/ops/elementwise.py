"""Functions of one input that treat every element alone."""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

from typing import Any

from minimask.autograd import arrays
from minimask.autograd.arrays import Array, array_module, as_number
from minimask.autograd.tensor import Context, Function, Tensor


class Exp(Function):
    """e to the power x."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        y = array_module(x).exp(x)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dy = y dx
        (y,) = ctx.saved
        return grad * y


class Log(Function):
    """The natural logarithm."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        ctx.save(x)
        return array_module(x).log(x)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # d log x = dx / x
        (x,) = ctx.saved
        return grad / x


class Sqrt(Function):
    """The square root."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        y = array_module(x).sqrt(x)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dy = dx / (2 y)
        (y,) = ctx.saved
        return grad / (2 * y)


class Abs(Function):
    """The absolute value; gradient 0 at 0, and NaN at NaN."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        ctx.save(x)
        return array_module(x).abs(x)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # d|x| = sign(x) dx
        (x,) = ctx.saved
        return grad * arrays.sign(x)


class Tanh(Function):
    """The hyperbolic tangent."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        y = array_module(x).tanh(x)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dy = (1 - y^2) dx
        (y,) = ctx.saved
        return grad * (1 - y * y)


class Sigmoid(Function):
    """The logistic function 1 / (1 + e^-x)."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        y = arrays.sigmoid(x)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dy = y (1 - y) dx
        (y,) = ctx.saved
        return grad * (y * (1 - y))


class Clip(Function):
    """Values limited to low..high; gradient 1 inside and on the border, 0 outside and at NaN."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, low: float | None, high: float | None) -> Array:
        ctx.save(x, low, high)
        return array_module(x).clip(x, low, high)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dy = [low <= x <= high] dx
        x, low, high = ctx.saved
        inside = x == x  # all but NaN
        if low is not None:
            inside &= x >= low
        if high is not None:
            inside &= x <= high
        return grad * inside


class AsType(Function):
    """Values in another float type; the gradient comes back in the type of x."""

    changes_dtype = True

    @staticmethod
    def forward(ctx: Context, x: Array, *, dtype: Any) -> Array:
        ctx.save(x.dtype)
        return x.astype(dtype)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        (dtype,) = ctx.saved
        return grad.astype(dtype)


def exp(x: Any) -> Tensor:
    """The exponential e^x."""
    return Exp.apply(x)


def log(x: Any) -> Tensor:
    """The natural logarithm of x."""
    return Log.apply(x)


def sqrt(x: Any) -> Tensor:
    """The square root of x."""
    return Sqrt.apply(x)


def abs(x: Any) -> Tensor:
    """The absolute value of x; its gradient is 0 at 0 and NaN at NaN."""
    return Abs.apply(x)


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent of x."""
    return Tanh.apply(x)


def sigmoid(x: Any) -> Tensor:
    """The logistic function 1 / (1 + e^-x), as `arrays.sigmoid`."""
    return Sigmoid.apply(x)


def clip(x: Any, low: float | None = None, high: float | None = None) -> Tensor:
    """Limit x to low..high; None leaves a side open.

    The gradient is 1 inside and on the border, and 0 outside.  NaN stays NaN; it lies inside no
    limit, so its gradient is 0.

    Raises:
        TypeError: a limit is no number.
    """
    low, high = (
        None if limit is None else as_number(f"clip: `{name}`", limit)
        for name, limit in (("low", low), ("high", high))
    )
    return Clip.apply(x, low=low, high=high)


def astype(x: Any, dtype: Any) -> Tensor:
    """Convert x to another float type; the gradient is converted back."""
    return AsType.apply(x, dtype=dtype)
