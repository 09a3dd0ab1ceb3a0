"""The update rules as the formulas say."""

from __future__ import annotations

import math

import numpy as np


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
    velocity[...] = momentum * velocity + grad
    if weight_decay:  # 0 times an infinite weight would be NaN
        velocity += weight_decay * weight
    weight -= lr * velocity


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
) -> None:
    """M = beta m + (1 - beta) grad, s likewise of grad^2;  w = w - lr (m / root(s) + decay w)."""
    mean += (1 - beta_mean) * (grad - mean)
    square += (1 - beta_square) * (grad * grad - square)
    root = np.sqrt(square) * (1 / math.sqrt(square_bias))
    weight *= 1 - lr * weight_decay
    weight -= lr / mean_bias * (mean / (root + eps))
