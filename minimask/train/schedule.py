"""The learning rate over a run, as a factor of the base rate: warm up, then fall.

Steps count from 0; the factor of step s belongs to the (s + 1)-th update.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def warmup(step: int, steps: int, start: float = 0.001) -> float:
    """A straight line from `start` at step 0 to 1 at step `steps`; 1 afterwards.

    A new network's first gradients are large and point anywhere; small first steps keep them
    from breaking it.
    """
    if step >= steps:
        return 1.0
    return start + (1 - start) * step / steps


def warmup_step(
    step: int, *, warmup_steps: int, milestones: Sequence[int], gamma: float = 0.1
) -> float:
    """Warm up, then multiply by `gamma` at every milestone: the paper's schedule.

    Args:
        step: the step, from 0.
        warmup_steps: length of the warm-up.
        milestones: the steps from which one more factor `gamma` applies.
        gamma: what the rate is multiplied with.
    """
    return warmup(step, warmup_steps) * gamma ** sum(step >= m for m in milestones)


def warmup_cosine(step: int, *, total_steps: int, warmup_steps: int, end: float = 0.0) -> float:
    """Warm up, then follow half a cosine wave from 1 down to `end` at `total_steps`.

    Args:
        step: the step, from 0.
        total_steps: where the wave ends.
        warmup_steps: length of the warm-up.
        end: the factor at the end.
    """
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    way = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return end + (1 - end) * (1 + math.cos(math.pi * way)) / 2
