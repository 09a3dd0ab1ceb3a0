"""The activations of small networks: SiLU, hard swish, and the hard sigmoid of their gates.

SiLU is x sigmoid(x) (Elfwing et al. 2017; "swish" in EfficientNet).  Hard swish and hard sigmoid
(MobileNetV3, section 5.2) put two straight lines in place of the exponential.
"""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minimask.autograd import Context, Function, Tensor
from minimask.autograd.arrays import Array, array_module

PIECE = 1 << 15  # values: what is in between stays in the cache, and never goes to memory


class SiLU(Function):
    """The input times its sigmoid."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        ctx.save(x)
        return _by_pieces(_silu, x)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # with s = sigmoid(x): s (1 + x (1 - s))
        (x,) = ctx.saved
        return _by_pieces(_silu_gradient, x, grad)


class HardSwish(Function):
    """The input times its hard sigmoid."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        ctx.save(x)
        return _by_pieces(_hard_swish, x)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # between 0 and 1: x / 3 + 1 / 2
        (x,) = ctx.saved
        return _by_pieces(_hard_swish_gradient, x, grad)


class HardSigmoid(Function):
    """(x + 3) / 6, limited to 0..1; gradient 0 outside of -3..3 and on the border."""

    @staticmethod
    def forward(ctx: Context, x: Array) -> Array:
        ctx.save(x)
        return array_module(x).clip(x + 3, 0, 6) * x.dtype.type(1 / 6)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        (x,) = ctx.saved
        return grad * ((x > -3) & (x < 3)) * x.dtype.type(1 / 6)


def _silu(xp: Any, x: Array, out: Array) -> None:
    # e^-x too large: x / infinity is 0, the true value nearly; of -infinity NaN comes
    with np.errstate(over="ignore", invalid="ignore"):
        xp.negative(x, out=out)
        xp.exp(out, out=out)
        out += 1
        xp.divide(x, out, out=out)


def _silu_gradient(xp: Any, x: Array, grad: Array, out: Array) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        sigmoid = 1 / (1 + xp.exp(-x))
    xp.multiply(x, 1 - sigmoid, out=out)
    out += 1
    out *= sigmoid
    out *= grad


def _hard_swish(xp: Any, x: Array, out: Array) -> None:
    xp.add(x, 3, out=out)
    xp.clip(out, 0, 6, out=out)
    out *= x
    out *= x.dtype.type(1 / 6)


def _hard_swish_gradient(xp: Any, x: Array, grad: Array, out: Array) -> None:
    xp.multiply(x, x.dtype.type(1 / 3), out=out)
    out += x.dtype.type(0.5)
    out *= x > -3
    xp.copyto(out, 1, where=x >= 3)
    out *= grad


def _by_pieces(compute: Callable[..., None], *arrays: Array) -> Array:
    """`compute(xp, *arrays, out)`, on a CPU piece after piece, on a GPU at once."""
    xp = array_module(*arrays)
    out = xp.empty(arrays[0].shape, arrays[0].dtype)
    if xp is not np:
        compute(xp, *arrays, out)
        return out
    flat = [np.ascontiguousarray(a).reshape(-1) for a in arrays]
    result = out.reshape(-1)
    for start in range(0, result.size, PIECE):
        piece = slice(start, start + PIECE)
        compute(np, *(a[piece] for a in flat), result[piece])
    return out


def silu(x: Any) -> Tensor:
    """The smooth x sigmoid(x): any shape -> the same shape; its least value is -0.278."""
    return SiLU.apply(x)


def hard_swish(x: Any) -> Tensor:
    """X hard_sigmoid(x): 0 up to -3, x from 3 on, x (x + 3) / 6 between."""
    return HardSwish.apply(x)


def hard_sigmoid(x: Any) -> Tensor:
    """(x + 3) / 6, limited to 0..1: any shape -> the same shape."""
    return HardSigmoid.apply(x)
