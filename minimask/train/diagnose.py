"""When a loss or a gradient is not a number: where did it start?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.train.step import batch_losses

if TYPE_CHECKING:
    from minimask.data.sample import Sample
    from minimask.nn import Module


class TrainingError(ArithmeticError):
    """A loss or a gradient became NaN or infinite; the message says where it began."""


def explain_nonfinite(
    model: Any, samples: Sequence[Sample], index: int, seed: int, losses: Mapping[str, float]
) -> str:
    """Which losses are bad, the first operation that produced it, and the images.

    The step is run once more on the same images with the same random numbers, this time checking
    every result.

    Args:
        model: the model, with the weights that gave the bad value.
        samples: the batch.
        index: the batch's number, which fixes the random numbers.
        seed: the run's seed.
        losses: the losses' values.
    """
    bad = [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]
    what = ", ".join(bad) or "the losses are finite, their gradients are not"
    images = ", ".join(f"{s.name} (id {s.image_id})" for s in samples)
    return f"{what}. {first_bad_operation(model, samples, index, seed)} Images: {images}."


def first_bad_operation(model: Any, samples: Sequence[Sample], index: int, seed: int) -> str:
    """One sentence about where the first NaN or infinity comes from."""
    from minimask.autograd import AnomalyError, detect_anomaly

    weights = bad_arrays(model)
    if weights:
        return f"Before this step {weights[0]} already held values that are not finite."
    _forget_gradients(model)
    try:
        with detect_anomaly():
            total, _ = batch_losses(model, samples, index, seed)
            total.backward()
    except AnomalyError as error:
        return f"First bad operation: {str(error).rstrip('.')}."
    finally:
        _forget_gradients(model)
    return "Run again with every result checked, the step gave only finite values."


def bad_arrays(model: Module) -> list[str]:
    """Names of the weights that hold a NaN or an infinity."""
    return [n for n, p in model.named_parameters() if not np.isfinite(p.data).all()]


def _forget_gradients(model: Module) -> None:
    for _, parameter in model.named_parameters():
        parameter.grad = None
