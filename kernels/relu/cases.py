"""What relu is checked and timed with."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from minimask.kernels.case import Case, Workload

SHAPES = ((0, 3), (1,), (63,), (2, 32), (65,), (3, 5, 7, 11), (2, 40_000))


def values(seed: int, *shape: int) -> np.ndarray:
    """Small whole numbers, so that sums of zero occur, some of them -0."""
    x = np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)
    x[x == 1] = -0.0
    return x


def odd_values() -> np.ndarray:
    """Numbers that are none, and those next to zero."""
    tiny = np.float32(1e-45)
    return np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, 1.0, -1.0], np.float32)


def cases() -> Iterator[Case]:
    """Sizes around those of blocks, with and without a residual; numbers that are none."""
    for i, shape in enumerate(SHAPES):
        x, other, small = values(i, *shape), values(i + 50, *shape), math.prod(shape) < 2000
        yield Case(f"{shape}", "relu", (x,), small=small)
        yield Case(f"{shape}, residual", "relu", (x, other), small=small)
        yield Case(f"{shape}, backward", "relu_backward", (other, x), small=small)
    odd = odd_values()
    yield Case("odd values", "relu", (odd,), small=True)
    yield Case("odd values, residual", "relu", (odd, odd[::-1].copy()), small=True)
    grad = np.arange(odd.size, dtype=np.float32) + 1
    yield Case("odd outputs, backward", "relu_backward", (grad, odd), small=True)


def workloads() -> Iterator[Workload]:
    """The end of a residual block of ResNet-50's first stage at 800 x 1344."""
    x, other = np.random.default_rng(0).standard_normal((2, 2, 256, 200, 336), np.float32)
    yield Workload("2x256x200x336, residual", "relu", (x, other), {}, 12.0 * x.size, 2.0 * x.size)
    yield Workload("backward", "relu_backward", (x, other), {}, 12.0 * x.size, 1.0 * x.size)
