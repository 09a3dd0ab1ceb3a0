"""What the optimizers' steps are checked and timed with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.kernels.case import Case, Workload

SHAPES = ((), (0, 3), (1,), (63,), (2, 32), (65,), (257,), (3, 5, 7, 11), (2, 40_001))
SGD = {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-4}
ADAMW = {
    "lr": 1e-3,
    "beta_mean": 0.9,
    "beta_square": 0.999,
    "mean_bias": 1 - 0.9**7,
    "square_bias": 1 - 0.999**7,
    "eps": 1e-8,
    "weight_decay": 0.05,
}


def arrays(seed: int, *shape: int) -> tuple[np.ndarray, ...]:
    """Weight, gradient, mean (or velocity) and mean square, as in the midst of a training run."""
    weight, grad, mean = np.random.default_rng(seed).standard_normal((3, *shape), np.float32)
    return weight, grad, mean / 3, np.abs(mean) * np.abs(grad) + np.float32(0.01)


def both(
    name: str, values: tuple[np.ndarray, ...], small: bool = True, **options: Any
) -> Iterator[Case]:
    """One case for each rule; `options` take the place of the usual ones, atol the default's."""
    atol = options.pop("atol", None)
    for function, settings in (("sgd_step", SGD), ("adamw_step", ADAMW)):
        taken = values[:3] if function == "sgd_step" else values
        writes = tuple(i for i in range(len(taken)) if i != 1)
        mine = {**settings, **{k: v for k, v in options.items() if k in settings}}
        if function == "adamw_step" or not options or options.keys() & settings.keys():
            label = f"{name}, {function}"
            yield Case(label, function, taken, mine, small=small, writes=writes, atol=atol)


def odd_gradients() -> tuple[np.ndarray, ...]:
    """Gradients that are no numbers, zero, large; in the midst of ordinary weights."""
    weight, _, mean, square = arrays(5, 9)
    grad = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e18, -1e18, 1.0, 1e-30], np.float32)
    return weight, grad, mean, square


def denormals() -> tuple[np.ndarray, ...]:
    """Gradients and means below the smallest normal number; their squares are 0."""
    weight = arrays(6, 40)[0]
    tiny = (np.random.default_rng(6).integers(-500, 500, (2, 40)) * 1e-42).astype(np.float32)
    return weight, tiny[0], tiny[1], np.abs(tiny[0])


def cases() -> Iterator[Case]:
    """Sizes around those of blocks; first steps; settings of 0; gradients that are odd."""
    for i, shape in enumerate(SHAPES):
        yield from both(f"{shape}", arrays(i, *shape), math.prod(shape) < 2000)
    weight, grad, mean, square = arrays(20, 7, 13)
    none = np.zeros_like(weight)
    first = {"mean_bias": 1 - 0.9, "square_bias": 1 - 0.999}
    yield from both("first step", (weight, grad, none, none.copy()), **first)
    yield from both("no gradient", (weight, none, mean, square))
    yield from both("never a gradient", (weight, none, none.copy(), none.copy()))
    yield from both("no decay", (weight, grad, mean, square), weight_decay=0.0)
    yield from both("no momentum", (weight, grad, mean, square), momentum=0.0, beta_mean=0.0)
    yield from both("lr 0", (weight, grad, mean, square), lr=0.0)
    yield from both("eps 0 and never a gradient", (weight, none, none, none), eps=0.0)  # 0 / 0
    yield from both("odd gradients", odd_gradients())
    yield from both("denormals", denormals(), atol=1e-44)  # they are 1.4e-45 apart
    infinite = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    yield from both("infinite weights, no decay", (infinite, *arrays(7, 4)[1:]), weight_decay=0.0)


def workloads() -> Iterator[Workload]:
    """The largest layer of Mask R-CNN with ResNet-50: the first of the box head."""
    values = arrays(0, 1024, 12544)
    size = float(values[0].size)
    yield Workload("1024x12544", "sgd_step", values[:3], SGD, 20 * size, 6 * size)
    yield Workload("1024x12544", "adamw_step", values, ADAMW, 28 * size, 14 * size)
