"""Means over seeds, how sure they are, and whether a difference has the expected sign.

n seeds
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
ENUMERATED = 6  # up to so many seeds all n^n samples with replacement are gone through
DRAWS = 20_000  # of more seeds so many are drawn


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; of one seed there is no interval (NaN)."""

    values: tuple[float, ...]
    mean: float
    low: float
    high: float

    def overlaps(self, other: Estimate) -> bool:
        """Whether the two intervals have a point in common; NaN: nobody knows, so yes."""
        return not (self.high < other.low or other.high < self.low)


def resampled_means(values: Sequence[float]) -> np.ndarray:
    """The means of samples with replacement, as many values in each as there are.

    Args:
        values: (n,) one per seed.

    Returns:
        All n^n means for up to six seeds, so that nothing is left to chance, else 20 000 drawn.
    """
    given = np.asarray(values, np.float64)
    n = len(given)
    if n <= ENUMERATED:
        drawn = np.indices((n,) * n).reshape(n, -1)
        return given[drawn].mean(axis=0)
    rng = np.random.default_rng(0)  # the same interval each time the report is made
    return given[rng.integers(0, n, (DRAWS, n))].mean(axis=1)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean and its percentile bootstrap interval of 95 % (Efron 1979).

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("values: expected at least one, got none")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Estimate(tuple(values), mean, math.nan, math.nan)
    outside = (1 - LEVEL) / 2
    means = resampled_means(values)
    low, high = np.quantile(means, [outside, 1 - outside], method="inverted_cdf")
    return Estimate(tuple(values), mean, float(low), float(high))


def paired_difference(ours: dict[int, float], baseline: dict[int, float]) -> Estimate | None:
    """Ours minus the baseline, seed by seed: what both share, data above all, drops out.

    Args:
        ours: the metric by seed.
        baseline: likewise.

    Returns:
        The estimate over the seeds that both have; None without any.
    """
    shared = sorted(ours.keys() & baseline.keys())
    return estimate([ours[seed] - baseline[seed] for seed in shared]) if shared else None


REPRODUCED, REVERSED, UNDECIDED = "reproduced", "reversed", "undecided"


def verdict(difference: Estimate, expected: float) -> str:
    """Whether the difference has the sign that the paper's has.

    Args:
        difference: measured; its interval decides.
        expected: anything with the paper's sign.

    Returns:
        "reproduced": the whole interval is on the paper's side of zero; "reversed": all of it is
        on the other; "undecided": zero is in it, or there is none.
    """
    low, high = difference.low, difference.high
    if expected < 0:
        low, high = -high, -low
    if low > 0:
        return REPRODUCED
    return REVERSED if high < 0 else UNDECIDED
