"""The random numbers that weights start from.

A weight's shape is (outputs, inputs, kernel height, kernel width), the last two only for
convolutions.  Fan in is the number of values one output sees; fan out, how many outputs one
input reaches.
"""

from __future__ import annotations

import math

import numpy as np


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan in and fan out of a weight."""
    if len(shape) < 2:
        raise ValueError(f"fans need a weight with at least two axes, got shape {tuple(shape)}")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def normal(shape: tuple[int, ...], rng: np.random.Generator, std: float) -> np.ndarray:
    """Gaussian with mean 0 and standard deviation `std`, float32."""
    return (rng.standard_normal(shape) * std).astype(np.float32)


def uniform(shape: tuple[int, ...], rng: np.random.Generator, bound: float) -> np.ndarray:
    """Uniform in -bound..bound, float32."""
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def kaiming_normal(
    shape: tuple[int, ...], rng: np.random.Generator, mode: str = "fan_out"
) -> np.ndarray:
    """Gaussian that keeps the size of signals through relu layers (He et al. 2015).

    Args:
        shape: the weight's shape.
        rng: the source of numbers.
        mode: "fan_in" keeps the size of activations, "fan_out" that of gradients.
    """
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'mode: expected "fan_in" or "fan_out", got {mode!r}')
    fan_in, fan_out = fans(shape)
    return normal(shape, rng, math.sqrt(2 / (fan_in if mode == "fan_in" else fan_out)))


def kaiming_uniform(shape: tuple[int, ...], rng: np.random.Generator, a: float = 0.0) -> np.ndarray:
    """Uniform with variance 2 / ((1 + a^2) fan in), for leaky relu of slope `a` (He et al. 2015).

    a=0 is for relu, a=1 for no activation; a=sqrt(5) gives the bound 1 / sqrt(fan in).
    """
    fan_in, _ = fans(shape)
    return uniform(shape, rng, math.sqrt(6 / ((1 + a * a) * fan_in)))
