"""ReLU, alone or of a sum: the one activation that a kernel computes.

`sigmoid`, `softmax` and `tanh` are array expressions, in `minimask.autograd.ops`; SiLU and the hard
ones of small networks are in `smooth_activation.py`.
"""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

from typing import Any

from minimask.autograd import Context, Function, Tensor
from minimask.autograd.arrays import Array, contiguous_on_gpu
from minimask.kernels.relu import relu as relu_forward
from minimask.kernels.relu import relu_backward


class ReLU(Function):
    """max(x + residual, 0); gradient 0 where that is 0, and where it is NaN."""

    @staticmethod
    def forward(ctx: Context, x: Array, residual: Array | None = None) -> Array:
        if residual is not None:
            residual = contiguous_on_gpu(residual)
        y = relu_forward(contiguous_on_gpu(x), residual)
        ctx.save(y)  # not x: the next layer keeps y anyway, so x can be freed
        return y

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # both summands have the same gradient
        (y,) = ctx.saved
        grad = through_relu(grad, y)
        return grad, grad if ctx.needs_grad[1] else None


def through_relu(grad: Array, y: Array | None) -> Array:
    """The gradient in front of a ReLU whose output was y; None: as it came, there was none."""
    grad = contiguous_on_gpu(grad)
    return grad if y is None else relu_backward(grad, y)


def relu(x: Any, residual: Any = None) -> Tensor:
    """max(x, 0), or max(x + residual, 0) in one pass.

    NaN stays NaN in the result; its gradient is 0, as that of values up to 0.

    Args:
        x: float32 or float64, any shape.
        residual: the shape and dtype of x, or None.

    Returns:
        The shape of x.
    """
    return ReLU.apply(x, residual)
