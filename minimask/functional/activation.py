"""The positive part, alone or of a sum."""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

from typing import Any

from minimask.autograd import Context, Function, Tensor
from minimask.autograd.arrays import Array, in_order
from minimask.kernels.relu import relu as positive_part
from minimask.kernels.relu import relu_backward


class ReLU(Function):
    """The positive part max(x + residual, 0); gradient 0 at 0."""

    @staticmethod
    def forward(ctx: Context, x: Array, residual: Array | None = None) -> Array:
        y = positive_part(in_order(x), None if residual is None else in_order(residual))
        ctx.save(y)  # not x: the next layer keeps y anyway, so x can be freed
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # both summands have the same gradient
        (y,) = ctx.saved
        return (relu_backward(in_order(grad), y),) * len(ctx.needs_grad)


def relu(x: Any, residual: Any = None) -> Tensor:
    """The positive part max(x, 0), or max(x + residual, 0) in one pass; arrays of one shape."""
    return ReLU.apply(x) if residual is None else ReLU.apply(x, residual)
