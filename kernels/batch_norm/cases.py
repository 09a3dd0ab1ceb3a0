"""What batch normalization is checked and timed with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minimask.kernels.case import Case, Workload

# name: shape, small enough for the simulator and the sanitizers
SHAPES: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "even planes": ((2, 3, 4, 6), True),
    "odd planes": ((3, 2, 5, 7), True),
    "one value a plane": ((5, 3, 1, 1), True),
    "one value": ((1, 1, 1, 1), True),
    "more than a slice": ((1, 1, 64, 65), True),
    "odd, more than a slice": ((3, 5, 41, 37), False),
    "several slices": ((2, 7, 72, 60), False),
    "many small planes": ((100, 19, 7, 7), False),
}


def normal(seed: int, *shape: int) -> np.ndarray:
    """float32 numbers around 0."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def backward_arguments(shape: tuple[int, int, int, int]) -> tuple[np.ndarray, ...]:
    """Grad, x, weight, and the mean and rstd of x itself."""
    grad, x, weight = normal(0, *shape), normal(1, *shape) * 3 + 2, normal(2, shape[1])
    mean, var = x.mean((0, 2, 3), dtype="f8"), x.var((0, 2, 3), dtype="f8")
    return grad, x, weight, mean.astype("f4"), (1 / np.sqrt(var + 0.1)).astype("f4")


def outlier(shape: tuple[int, int, int, int]) -> np.ndarray:
    """Channels whose first value is far from all others."""
    x = normal(4, *shape)
    x[0, :, 0, 0] = 1000
    return x


def cases() -> Iterator[Case]:
    """Every function at every shape; moments of large means and of an outlier; no images."""
    for name, (shape, small) in SHAPES.items():
        count = shape[0] * shape[2] * shape[3]
        x = normal(0, *shape) * 3 + 2
        yield Case(name, "channel_moments", (x,), small=small)
        vectors = (normal(1, shape[1]), normal(2, shape[1]))
        few = small and x.size < 1000  # a thread a value
        yield Case(name, "scale_shift", (x, *vectors), terms=2, small=few)
        arguments = backward_arguments(shape)
        # dx of a single value is the difference of two equal numbers around 1: 0 but for rounding
        atol = 1e-6 if count == 1 else None
        yield Case(name, "batch_norm_backward", arguments, terms=count, small=few, atol=atol)
    yield Case("large mean", "channel_moments", (normal(3, 4, 2, 9, 9) + 10000,), small=True)
    yield Case("large mean, slices", "channel_moments", (normal(3, 4, 2, 64, 64) + 10000,))
    yield Case("outlier first", "channel_moments", (outlier((2, 3, 50, 50)),))
    constant = np.full((2, 2, 5, 4), 0.1, np.float32)
    yield Case("constant", "channel_moments", (constant,), small=True, atol=1e-12)
    holed = normal(6, 2, 3, 4, 4)
    holed[1, 1, 2, 2] = np.nan
    yield Case("NaN in one channel", "channel_moments", (holed,), small=True)
    none, one = np.zeros((0, 3, 4, 4), np.float32), np.ones(3, np.float32)
    yield Case("no images", "scale_shift", (none, one, one), small=True)
    yield Case("no images", "batch_norm_backward", (none, none, one, one, one), small=True)


def workloads() -> Iterator[Workload]:
    """A stage of a residual network, two images of 800 x 1088."""
    shape = (2, 256, 200, 272)
    grad, x, weight, mean, rstd = backward_arguments(shape)
    moved = 4.0 * x.size
    name = "2 x 256 x 200 x 272"
    yield Workload(name, "channel_moments", (x,), {}, moved, 4.0 * x.size, "channel_moments")
    yield Workload(
        name, "scale_shift", (x, weight, mean), {}, 2 * moved, 2.0 * x.size, "scale_shift"
    )
    yield Workload(
        name,
        "batch_norm_backward",
        (grad, x, weight, mean, rstd),
        {},
        3 * moved,
        8.0 * x.size,
        "batch_norm_backward",
    )
