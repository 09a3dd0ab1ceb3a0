"""Arithmetic of two inputs, choices between them, and constant powers.

Two inputs broadcast as in NumPy; the gradient of a broadcast input is summed over its copies.
"""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

from typing import Any

from minimask.autograd.arrays import Array, array_module, as_number, unbroadcast
from minimask.autograd.tensor import Context, Function, Tensor


class Add(Function):
    """The sum a + b."""

    @staticmethod
    def forward(ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(a.shape, b.shape)
        return a + b

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # d(a + b) = da + db
        a_shape, b_shape = ctx.saved
        return unbroadcast(grad, a_shape), unbroadcast(grad, b_shape)


class Sub(Function):
    """The difference a - b."""

    @staticmethod
    def forward(ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(a.shape, b.shape)
        return a - b

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # d(a - b) = da - db
        a_shape, b_shape = ctx.saved
        grad_b = -unbroadcast(grad, b_shape) if ctx.needs_grad[1] else None
        return unbroadcast(grad, a_shape), grad_b


class Mul(Function):
    """The product a b."""

    @staticmethod
    def forward(ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(a, b)
        return a * b

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # d(a b) = b da + a db
        a, b = ctx.saved
        return (
            unbroadcast(grad * b, a.shape) if ctx.needs_grad[0] else None,
            unbroadcast(grad * a, b.shape) if ctx.needs_grad[1] else None,
        )


class Div(Function):
    """The quotient a / b."""

    @staticmethod
    def forward(ctx: Context, a: Array, b: Array) -> Array:
        out = a / b
        ctx.save(a.shape, b, out)
        return out

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # d(a / b) = da / b - (a / b) db / b
        a_shape, b, out = ctx.saved
        grad = grad / b
        return (
            unbroadcast(grad, a_shape) if ctx.needs_grad[0] else None,
            unbroadcast(-grad * out, b.shape) if ctx.needs_grad[1] else None,
        )


class Neg(Function):
    """The negative -x."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        return -x

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        return -grad


class Power(Function):
    """Values to a constant power."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, exponent: float) -> Array:
        ctx.save(x, exponent)
        return x**exponent

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # d(x^p) = p x^(p-1) dx
        x, exponent = ctx.saved
        if exponent == 0:
            return grad * 0
        return grad * (exponent * x ** (exponent - 1))


class Maximum(Function):
    """The larger of a and b, which gets the gradient; where they are equal, each gets half.

    NaN is larger than every number, so that a NaN gets the gradient of the NaN it causes; two NaN
    are equal.
    """

    @staticmethod
    def forward(ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(a, b)
        return array_module(a).maximum(a, b)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dy = [a > b] da + [b > a] db
        a, b = ctx.saved
        a_wins, b_wins = (a >= b) | (a != a), (b >= a) | (b != b)
        share = array_module(grad).where(a_wins & b_wins, 0.5, a_wins).astype(grad.dtype)
        return unbroadcast(grad * share, a.shape), unbroadcast(grad * (1 - share), b.shape)


class Where(Function):
    """One of two values: a where the condition holds, else b; the condition gets no gradient."""

    @staticmethod
    def forward(ctx: Context, condition: Array, a: Array, b: Array) -> Array:
        if condition.dtype != bool:
            raise TypeError(f"where: `condition` must be bool, got {condition.dtype}")
        ctx.save(condition, a.shape, b.shape)
        return array_module(a).where(condition, a, b)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # dy = [c] da + [not c] db
        condition, a_shape, b_shape = ctx.saved
        return (
            None,
            unbroadcast(grad * condition, a_shape) if ctx.needs_grad[1] else None,
            unbroadcast(grad * ~condition, b_shape) if ctx.needs_grad[2] else None,
        )


def add(a: Any, b: Any) -> Tensor:
    """The sum a + b."""
    return Add.apply(a, b)


def sub(a: Any, b: Any) -> Tensor:
    """The difference a - b."""
    return Sub.apply(a, b)


def mul(a: Any, b: Any) -> Tensor:
    """The elementwise product a b."""
    return Mul.apply(a, b)


def div(a: Any, b: Any) -> Tensor:
    """The quotient a / b."""
    return Div.apply(a, b)


def neg(x: Any) -> Tensor:
    """The negative -x."""
    return Neg.apply(x)


def power(x: Any, exponent: float) -> Tensor:
    """Raise x to the power of a constant number.

    Raises:
        TypeError: `exponent` is no number.
    """
    try:
        number = as_number("power: `exponent`", exponent)
    except TypeError as error:
        raise TypeError(
            f"{error}; for a varying exponent write ops.exp(exponent * ops.log(x))"
        ) from None
    return Power.apply(x, exponent=number)


def maximum(a: Any, b: Any) -> Tensor:
    """The larger of a and b, element by element.

    The gradient goes to the larger one, half to each where they are equal.  NaN counts as larger
    than every number: the result is NaN and the gradient goes to the NaN.
    """
    return Maximum.apply(a, b)


def minimum(a: Any, b: Any) -> Tensor:
    """The smaller of a and b, element by element; equal values and NaN as in `maximum`."""
    return neg(maximum(neg(a), neg(b)))


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """Choose a where the bool array `condition` holds, else b."""
    return Where.apply(condition, a, b)
