"""One step of an optimizer in Numba-CUDA, twin of rung_1_naive.cu: one thread a weight.

Numba fuses a product and the sum it goes into, so that the last bit may differ from its twin's.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32

from minimask.kernels.launch import blocks, require_float32
from minimask.kernels.numba_cuda import cuda, jit, launch
from minimask.kernels.optimizer.factors import factors


@jit
def sgd_step_kernel(grad, lr, momentum, weight_decay, weight, velocity):
    """Flat arrays and float32 numbers."""
    t = cuda.grid(1)
    if t >= weight.size:
        return
    along = momentum * velocity[t] + grad[t]
    if weight_decay != float32(0):
        along += weight_decay * weight[t]
    velocity[t] = along
    weight[t] -= lr * along


@jit
def adamw_step_kernel(
    grad, toward_grad, toward_square, root_scale, eps, length, keep, weight, mean, square
):
    """Flat arrays and the numbers of factors.py in float32."""
    t = cuda.grid(1)
    if t >= weight.size:
        return
    g = grad[t]
    m = mean[t] + toward_grad * (g - mean[t])
    s = square[t] + toward_square * (g * g - square[t])
    root = float32(math.sqrt(s)) * root_scale
    mean[t] = m
    square[t] = s
    weight[t] = weight[t] * keep - length * (m / (root + eps))


def sgd_step(
    weight: Any, grad: Any, velocity: Any, *, lr: float, momentum: float, weight_decay: float
) -> None:
    """V = momentum v + grad + decay w;  w = w - lr v."""
    require_float32(weight=weight)
    numbers = [np.float32(number) for number in (lr, momentum, weight_decay)]
    arrays = weight.reshape(-1), velocity.reshape(-1)
    launch(sgd_step_kernel, blocks(weight.size, 64), 64, grad.reshape(-1), *numbers, *arrays)


def adamw_step(weight: Any, grad: Any, mean: Any, square: Any, **settings: float) -> None:
    """m, s = running means of grad and grad^2;  w = w - lr (m / root(s) + decay w)."""
    require_float32(weight=weight)
    numbers = [np.float32(number) for number in factors(**settings)]
    arrays = weight.reshape(-1), mean.reshape(-1), square.reshape(-1)
    launch(adamw_step_kernel, blocks(weight.size, 64), 64, grad.reshape(-1), *numbers, *arrays)
