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
    values = weight, grad, mean / 3, np.abs(mean) * np.abs(grad) + np.float32(0.01)
    return tuple(np.asarray(value) for value in values)  # of shape () they are no arrays


def sgd(name: str, values: tuple[np.ndarray, ...], small: bool = True, **settings: Any) -> Case:
    """A case of `sgd_step`; `settings` take the place of the usual ones, atol of the default."""
    atol, options = settings.pop("atol", None), {**SGD, **settings}
    return Case(
        f"{name}, SGD", "sgd_step", values[:3], options, small=small, atol=atol, writes=(0, 2)
    )


def adamw(name: str, values: tuple[np.ndarray, ...], small: bool = True, **settings: Any) -> Case:
    """As `sgd`, of `adamw_step`."""
    atol, options = settings.pop("atol", None), {**ADAMW, **settings}
    return Case(
        f"{name}, AdamW", "adamw_step", values, options, small=small, atol=atol, writes=(0, 2, 3)
    )


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
    """Sizes around those of blocks, then what is special."""
    for i, shape in enumerate(SHAPES):
        values, small = arrays(i, *shape), math.prod(shape) < 2000
        yield sgd(f"{shape}", values, small)
        yield adamw(f"{shape}", values, small)
    yield from special_settings()
    yield from special_values()


def special_settings() -> Iterator[Case]:
    """First steps, and settings of 0."""
    weight, grad, *_ = values = arrays(20, 7, 13)
    none = np.zeros_like(weight)
    yield sgd("first step", (weight, grad, none))
    first: dict[str, Any] = {"mean_bias": 1 - 0.9, "square_bias": 1 - 0.999}
    yield adamw("first step", (weight, grad, none, none), **first)
    yield sgd("no decay", values, weight_decay=0.0)
    yield adamw("no decay", values, weight_decay=0.0)
    yield sgd("no momentum", values, momentum=0.0)
    yield adamw("no memory", values, beta_mean=0.0, beta_square=0.0)
    yield sgd("lr 0", values, lr=0.0)
    yield adamw("lr 0", values, lr=0.0)
    yield adamw("eps 0, never a gradient", (weight, none, none, none), eps=0.0)  # 0 / 0


def special_values() -> Iterator[Case]:
    """No gradients; numbers that are none; numbers next to zero."""
    weight, _, mean, square = arrays(21, 5, 11)
    none = np.zeros_like(weight)
    infinite = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    for rule in (sgd, adamw):
        yield rule("no gradient", (weight, none, mean, square))
        yield rule("never a gradient", (weight, none, none, none))
        yield rule("odd gradients", odd_gradients(), atol=1e-6)  # the default: of the largest
        yield rule("denormals", denormals(), atol=1e-44)  # they are 1.4e-45 apart
        values = (infinite, *arrays(7, 4)[1:])
        yield rule("infinite weights, no decay", values, weight_decay=0.0)


def workloads() -> Iterator[Workload]:
    """The largest layer of Mask R-CNN with ResNet-50: the first of the box head."""
    values = arrays(0, 1024, 12544)
    size = float(values[0].size)
    yield Workload("1024x12544", "sgd_step", values[:3], SGD, 20 * size, 6 * size)
    yield Workload("1024x12544", "adamw_step", values, ADAMW, 28 * size, 14 * size)
