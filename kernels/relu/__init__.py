"""ReLU, max(x, 0), alone or of a sum, and its gradient.

    relu(x)           y = max(x, 0)
    relu(x, other)    y = max(x + other, 0)       the end of a residual block
    relu_backward     dx = grad where y > 0, else 0; the same for the other summand

One value at a time and one operation a value: memory is all it costs, so what counts is how often
an array is walked through.
"""

from __future__ import annotations

import numpy as np

from minimask.kernels import dispatch
from minimask.kernels.dispatch import Variant

VARIANTS = {
    "reference": Variant("reference", "cpu", "the formula, one array operation after another"),
    "cpu": Variant("cpu.compiled", "cpu", "one pass for sum and maximum, on all cores"),
    "numba_1_naive": Variant("numba.rung_1_naive", "gpu", "one thread a value"),
    "cuda_1_naive": Variant("cuda.launch", "gpu", "one thread a value", rung="naive"),
}


def relu(
    x: np.ndarray, residual: np.ndarray | None = None, *, variant: str | None = None
) -> np.ndarray:
    """max(x + residual, 0) of every value; NaN stays NaN.

    Args:
        x: float32 or float64, any shape.
        residual: the shape and dtype of x, or None for zeros.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        A new array of the shape of x.

    Raises:
        ValueError: shapes that differ.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    _check_floats("x", x)
    if residual is not None:
        _check_alike("residual", residual, "x", x)
    return dispatch.call(__name__, VARIANTS, "relu", x, residual, variant=variant)


def relu_backward(grad: np.ndarray, y: np.ndarray, *, variant: str | None = None) -> np.ndarray:
    """The gradient with respect to x, and as well to the residual; 0 where y is 0 or NaN.

    Args:
        grad: float32 or float64, with respect to the output.
        y: that output, the shape and dtype of grad.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        A new array of the shape of grad.

    Raises:
        ValueError: shapes that differ.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    _check_floats("grad", grad)
    _check_alike("y", y, "grad", grad)
    return dispatch.call(__name__, VARIANTS, "relu_backward", grad, y, variant=variant)


def finish(y: np.ndarray, residual: np.ndarray | None, with_relu: bool) -> np.ndarray:
    """What follows a layer where it has no fused form: y + residual, then a ReLU.

    Args:
        y: the layer's result, which may be overwritten.
        residual: the shape and dtype of y, or None.
        with_relu: whether the ReLU follows.

    Returns:
        The result, y itself where that is possible.
    """
    if with_relu:
        return relu(y, residual)
    if residual is not None:
        y += residual
    return y


def _check_floats(name: str, x: np.ndarray) -> None:
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected float32 or float64, got {x.dtype}; convert with .astype")


def _check_alike(name: str, x: np.ndarray, other: str, like: np.ndarray) -> None:
    if x.shape != like.shape:
        raise ValueError(f"{name}: expected the shape of {other}, {like.shape}, got {x.shape}")
    if x.dtype != like.dtype:
        raise TypeError(
            f"{name}: expected {like.dtype} as {other} has, got {x.dtype}; convert with .astype"
        )
