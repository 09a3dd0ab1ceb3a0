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
    run = _sgd if weight.size > PIECE else _sgd_piece  # one task needs no second core to wait for
    run(weight.reshape(-1), grad.reshape(-1), velocity.reshape(-1), *numbers)


def adamw_step(
    weight: np.ndarray, grad: np.ndarray, mean: np.ndarray, square: np.ndarray, **settings: float
) -> None:
    """m, s = running means of grad and grad^2;  w = w - lr (m / root(s) + decay w)."""
    numbers = [weight.dtype.type(number) for number in factors(**settings)]
    run = _adamw if weight.size > PIECE else _adamw_piece
    run(weight.reshape(-1), grad.reshape(-1), mean.reshape(-1), square.reshape(-1), *numbers)


@njit(cache=True)
def _sgd_piece(weight, grad, velocity, lr, momentum, weight_decay):
    for i in range(weight.size):
        along = momentum * velocity[i] + grad[i]
        if weight_decay != 0:
            along += weight_decay * weight[i]
        velocity[i] = along
        weight[i] -= lr * along


@njit(cache=True, error_model="numpy")  # 0 / 0 is NaN, and no error
def _adamw_piece(weight, grad, mean, square, toward_grad, toward_square, scale, eps, length, keep):
    for i in range(weight.size):
        mean[i] += toward_grad * (grad[i] - mean[i])
        square[i] += toward_square * (grad[i] * grad[i] - square[i])
        root = np.sqrt(square[i]) * scale
        weight[i] = weight[i] * keep - length * (mean[i] / (root + eps))


@njit(parallel=True, cache=True)
def _sgd(weight, grad, velocity, lr, momentum, weight_decay):
    for task in prange((weight.size + PIECE - 1) // PIECE):
        start, end = task * PIECE, min((task + 1) * PIECE, weight.size)
        w, g, v = weight[start:end], grad[start:end], velocity[start:end]
        _sgd_piece(w, g, v, lr, momentum, weight_decay)


@njit(parallel=True, cache=True)
def _adamw(weight, grad, mean, square, toward_grad, toward_square, scale, eps, length, keep):
    for task in prange((weight.size + PIECE - 1) // PIECE):
        start, end = task * PIECE, min((task + 1) * PIECE, weight.size)
        w, g, m, s = weight[start:end], grad[start:end], mean[start:end], square[start:end]
        _adamw_piece(w, g, m, s, toward_grad, toward_square, scale, eps, length, keep)
