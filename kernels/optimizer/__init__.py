"""One step of SGD with momentum, or of AdamW, in one pass over memory.

    sgd_step      v = momentum v + grad + decay w;  w = w - lr v
    adamw_step    m = m + (1 - beta_m) (grad - m);  s = s + (1 - beta_s) (grad^2 - s)
                  w = (1 - lr decay) w - lr / bias_m * m / (sqrt(s / bias_s) + eps)

In place: the weights and the optimizer's own arrays are overwritten.  A few operations a value,
so memory is all a step costs: 20 bytes a weight for SGD, 28 for AdamW.
"""

from __future__ import annotations

import numpy as np

from minimask.kernels import dispatch
from minimask.kernels.dispatch import Variant

VARIANTS = {
    "reference": Variant("reference", "cpu", "the formulas, one array operation after another"),
    "cpu": Variant("cpu.compiled", "cpu", "one pass over all arrays, on all cores"),
    "numba_1_naive": Variant("numba.rung_1_naive", "gpu", "one thread a weight"),
    "cuda_1_naive": Variant("cuda.launch", "gpu", "one thread a weight", rung="naive"),
}


def sgd_step(
    weight: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    variant: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """V = momentum v + grad + weight_decay w, then w = w - lr v; in place.

    The form PyTorch gave the rule (Sutskever et al. 2013 have lr inside of v): a learning rate
    that changes acts at once, on all of the velocity.

    Args:
        weight: float32 or float64, any shape, C-contiguous; overwritten.
        grad: of the loss with respect to weight; the shape and dtype of weight.
        velocity: the same; zeros before the first step; overwritten.
        lr: the learning rate of this step.
        momentum: share of the velocity that is kept.
        weight_decay: added to the gradient, times the weight; 0 leaves that term out.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        weight and velocity, the arrays that came.

    Raises:
        ValueError: shapes that differ, an array that is not C-contiguous or cannot be written to.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    _check(weight=weight, velocity=velocity, grad=grad)
    numbers = {"lr": float(lr), "momentum": float(momentum), "weight_decay": float(weight_decay)}
    arrays = (weight, grad, velocity)
    dispatch.call(__name__, VARIANTS, "sgd_step", *arrays, variant=variant, **numbers)
    return weight, velocity


def adamw_step(
    weight: np.ndarray,
    grad: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    *,
    lr: float,
    beta_mean: float,
    beta_square: float,
    mean_bias: float,
    square_bias: float,
    eps: float,
    weight_decay: float,
    variant: str | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2); in place.

    Args:
        weight: float32 or float64, any shape, C-contiguous; overwritten.
        grad: of the loss with respect to weight; the shape and dtype of weight.
        mean: running mean of the gradient, likewise; zeros before the first step; overwritten.
        square: running mean of its square, likewise.
        lr: the learning rate of this step.
        beta_mean: share of the mean that is kept.
        beta_square: share of the square that is kept.
        mean_bias: 1 - beta_mean ** t in step t = 1, 2, ...: the means begin at 0, and dividing by
            this makes up for it.
        square_bias: 1 - beta_square ** t.
        eps: added to the root, so that a weight without a gradient does not move.
        weight_decay: every weight loses lr times this share of itself.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        weight, mean and square, the arrays that came.

    Raises:
        ValueError: shapes that differ, an array that is not C-contiguous or cannot be written to.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    _check(weight=weight, mean=mean, square=square, grad=grad)
    numbers = {
        "lr": lr,
        "beta_mean": beta_mean,
        "beta_square": beta_square,
        "mean_bias": mean_bias,
        "square_bias": square_bias,
        "eps": eps,
        "weight_decay": weight_decay,
    }
    numbers = {name: float(number) for name, number in numbers.items()}  # no array's type
    arrays = (weight, grad, mean, square)
    dispatch.call(__name__, VARIANTS, "adamw_step", *arrays, variant=variant, **numbers)
    return weight, mean, square


def _check(weight: np.ndarray, **others: np.ndarray) -> None:
    """Refuse what cannot be updated in place, or not value by value."""
    if weight.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"weight: expected float32 or float64, got {weight.dtype}; convert with .astype"
        )
    for name, array in others.items():
        if array.shape != weight.shape:
            raise ValueError(
                f"{name}: expected the shape of weight, {weight.shape}, got {array.shape}"
            )
        if array.dtype != weight.dtype:
            raise TypeError(
                f"{name}: expected {weight.dtype} as weight has, got {array.dtype}; convert with "
                ".astype"
            )
    for name, array in {"weight": weight, **others}.items():
        if not array.flags.c_contiguous:
            raise ValueError(
                f"{name}: the array {array.shape} is not C-contiguous, so it cannot be walked "
                "through in the order of memory; make it so once, with ascontiguousarray"
            )
        if name != "grad" and not getattr(array.flags, "writeable", True):  # CuPy has no such flag
            raise ValueError(f"{name}: the array is read-only and is to be overwritten; copy it")
