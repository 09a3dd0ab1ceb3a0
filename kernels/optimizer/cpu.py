"""As `reference`, but compiled: every value is read and written once, and every core takes a part.

NumPy walks through memory once for every sign of the formula, on one core.  The operations and
their order are the same, nothing is fused, so that the results agree to the last bit.
"""

# compiled functions are typed by Numba, on their first call
# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="call-arg"
from __future__ import annotations

import numpy as np
from numba import njit, prange

from minimask.kernels.optimizer.factors import factors

PIECE = 32768  # values per task: enough to pay for it, few enough to share evenly


def sgd_step(
    weight: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """V = momentum v + grad + decay w;  w = w - lr v."""
    number = weight.dtype.type  # a plain 0.9 would make float64 of float32
    numbers = number(lr), number(momentum), number(weight_decay)
    _sgd(weight.reshape(-1), grad.reshape(-1), velocity.reshape(-1), *numbers)


def adamw_step(
    weight: np.ndarray, grad: np.ndarray, mean: np.ndarray, square: np.ndarray, **settings: float
) -> None:
    """m, s = running means of grad and grad^2;  w = w - lr (m / root(s) + decay w)."""
    numbers = [weight.dtype.type(number) for number in factors(**settings)]
    _adamw(weight.reshape(-1), grad.reshape(-1), mean.reshape(-1), square.reshape(-1), *numbers)


@njit(parallel=True, cache=True)
def _sgd(weight, grad, velocity, lr, momentum, weight_decay):
    for task in prange((weight.size + PIECE - 1) // PIECE):
        w, g = weight[task * PIECE :][:PIECE], grad[task * PIECE :][:PIECE]
        v = velocity[task * PIECE :][:PIECE]
        for i in range(w.size):
            along = momentum * v[i] + g[i]
            if weight_decay != 0:
                along += weight_decay * w[i]
            v[i] = along
            w[i] -= lr * along


@njit(parallel=True, cache=True, error_model="numpy")  # 0 / 0 is NaN, and no error
def _adamw(weight, grad, mean, square, toward_grad, toward_square, root_scale, eps, length, keep):
    for task in prange((weight.size + PIECE - 1) // PIECE):
        w, g = weight[task * PIECE :][:PIECE], grad[task * PIECE :][:PIECE]
        m, s = mean[task * PIECE :][:PIECE], square[task * PIECE :][:PIECE]
        for i in range(w.size):
            m[i] += toward_grad * (g[i] - m[i])
            s[i] += toward_square * (g[i] * g[i] - s[i])
            root = np.sqrt(s[i]) * root_scale
            w[i] = w[i] * keep - length * (m[i] / (root + eps))
