"""Launches the CUDA C++ rung."""

from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, program, require_float32
from minimask.kernels.optimizer.factors import factors

# no fused operations: memory is the limit, and so a GPU's weights are those of a CPU, bit for bit
NAIVE = program(__file__, "rung_1_naive.cu", fmad=False)


def sgd_step_naive(
    weight: Any, grad: Any, velocity: Any, *, lr: float, momentum: float, weight_decay: float
) -> None:
    """V = momentum v + grad + decay w;  w = w - lr v."""
    require_float32(weight=weight)
    grid, numbers = blocks(weight.size, 256), (lr, momentum, weight_decay)
    NAIVE.launch("sgd_step", grid, 256, grad, weight.size, *numbers, weight, velocity)


def adamw_step_naive(weight: Any, grad: Any, mean: Any, square: Any, **settings: float) -> None:
    """m, s = running means of grad and grad^2;  w = w - lr (m / root(s) + decay w)."""
    require_float32(weight=weight)
    grid, numbers = blocks(weight.size, 256), factors(**settings)
    NAIVE.launch("adamw_step", grid, 256, grad, weight.size, *numbers, weight, mean, square)
