"""Choosing the few anchors and regions a training step learns from, in a fixed proportion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Samples:
    """The random choices of one training step, recorded so that it can be repeated exactly.

    Every field has one array per image. Anchors are counted over all levels of the pyramid, in
    the order of `AnchorGrid`; regions are counted over the proposals followed by the true boxes.
    """

    anchors_positive: Sequence[np.ndarray]  # int64 indices
    anchors_negative: Sequence[np.ndarray]
    proposals: Sequence[np.ndarray]  # (R, 4) float32, pixels of the resized image
    regions_positive: Sequence[np.ndarray]
    regions_negative: Sequence[np.ndarray]


def sample(
    matches: np.ndarray,
    batch_size: int,
    positive_fraction: float,
    rng: np.random.Generator,
    negatives_per_positive: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positives up to their share of the batch, then fill up with negatives.

    Args:
        matches: (B,) as from `match`: an object's index, -1 for background, -2 for ignored.
        batch_size: how many to draw in all; fewer when there are not enough.
        positive_fraction: the largest share of positives.
        rng: where the choice comes from.
        negatives_per_positive: at most this many negatives for one positive; None for no limit.

    Returns:
        Indices of the positives and of the negatives, int64, each rising.
    """
    positive = np.flatnonzero(matches >= 0)
    negative = np.flatnonzero(matches == -1)
    positive = _draw(positive, int(batch_size * positive_fraction), rng)
    wanted = batch_size - len(positive)
    if negatives_per_positive is not None:
        wanted = min(wanted, int(negatives_per_positive * len(positive)))
    return positive, _draw(negative, wanted, rng)


def _draw(indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of the indices without repetition, in their order; all of them if there are fewer."""
    if len(indices) <= count:
        return indices
    return indices[np.sort(rng.choice(len(indices), count, replace=False, shuffle=False))]
