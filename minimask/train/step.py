"""One training step: the loss of a batch, its gradients, the update."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.autograd.arrays import array_module
from minimask.autograd.hooks import stage
from minimask.system.device import download
from minimask.train import schedule
from minimask.train.optim import EMA, SGD, AdamW, Optimizer, scale_gradients, sum_of_squares
from minimask.train.settings import TrainSettings
from minimask.train.stage_plan import factor_at
from minimask.train.stages import StagedTraining, recompute

if TYPE_CHECKING:
    from minimask.autograd import Tensor
    from minimask.data.sample import Sample


class NonFinite(ArithmeticError):
    """A loss or a gradient is NaN or infinite; the weights are unchanged.

    Attributes:
        batch: which of the step's batches it is.
        index: that batch's number in the run, which fixes its random numbers.
        losses: the values of its losses.
    """

    def __init__(self, batch: int, index: int, losses: dict[str, float]) -> None:
        super().__init__(f"batch {index}: losses {losses}")
        self.batch, self.index, self.losses = batch, index, losses


def batch_losses(
    model: Any, samples: Sequence[Sample], index: int, seed: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch: the sum, and its parts, which carry no gradient any more.

    Args:
        model: in training mode.
        samples: the images; crowd regions are no training targets.
        index: the batch's number: with `seed` it fixes which anchors and boxes are sampled.
        seed: the run's seed.
    """
    rng = np.random.default_rng([seed, index])
    images, targets = [s.image for s in samples], [s.target for s in samples]
    losses = model.losses(images, targets, rng=rng)
    first, *others = losses.values()
    total = first
    for loss in others:
        total = total + loss
    return total, {name: loss.detach() for name, loss in losses.items()}


@stage("optimizer")
def read_numbers(
    batches: Sequence[dict[str, Tensor]], parameters: Sequence[tuple[str, Tensor]]
) -> tuple[list[dict[str, float]], float]:
    """The losses of every batch and the length of the gradient, as Python numbers.

    On a GPU this is where a step waits for its own result, and all are read at once.
    """
    losses = [loss.data for batch in batches for loss in batch.values()]
    xp = array_module(*losses)
    both = xp.concatenate([xp.stack(losses), sum_of_squares(parameters)])
    found = download(both, "losses and gradient norm").astype(np.float64)
    numbers, squares = iter(found[: len(losses)]), math.fsum(found[len(losses) :])
    read = [{name: float(next(numbers)) for name in batch} for batch in batches]
    return read, math.sqrt(squares) if math.isfinite(squares) else squares


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The rate of step `step`, counted from 0."""
    if settings.schedule == "cosine":
        factor = schedule.warmup_cosine(
            step, total_steps=settings.steps, warmup_steps=settings.warmup
        )
    elif settings.schedule == "step":
        milestones = settings.milestones or (settings.steps * 2 // 3, settings.steps * 8 // 9)
        factor = schedule.warmup_step(step, warmup_steps=settings.warmup, milestones=milestones)
    else:
        factor = schedule.warmup(step, settings.warmup)
    return settings.lr * factor * factor_at(settings.stages, step)


def make_optimizer(model: Any, settings: TrainSettings) -> Optimizer:
    """The optimizer that the settings ask for."""
    parameters = list(model.named_parameters())
    if settings.optimizer == "sgd":
        return SGD(parameters, settings.lr, settings.momentum, settings.weight_decay)
    return AdamW(parameters, settings.lr, weight_decay=settings.weight_decay)


class Trainer:
    """The model with all that changes while it is trained."""

    def __init__(self, model: Any, settings: TrainSettings) -> None:
        self.model, self.settings = model, settings
        recompute(model, settings.checkpoint_stages)
        self.stages = StagedTraining(model, settings.stages) if settings.stages else None
        self.optimizer = make_optimizer(model, settings)
        self.ema = EMA(model, settings.ema) if settings.ema else None
        self.step = 0  # steps done

    def enter_stage(self) -> str | None:
        """Freeze what the next step does not train; a sentence where that is not what it was."""
        return self.stages.enter(self.step, self.optimizer) if self.stages else None

    def advance(self, batches: Sequence[Sequence[Sample]]) -> dict[str, float]:
        """Do one step on `accumulate` batches.

        Returns:
            The losses (means over the batches), the rate, and the gradient's length.

        Raises:
            NonFinite: a loss or a gradient is not finite; the weights are unchanged.
        """
        settings, count = self.settings, len(batches)
        self.enter_stage()
        self.model.train()
        self.optimizer.zero_grad()
        parts = []
        first = self.step * settings.accumulate  # number of the first batch
        for i, samples in enumerate(batches):
            total, losses = batch_losses(self.model, samples, first + i, settings.seed)
            (total if count == 1 else total * (1 / count)).backward()
            parts.append(losses)
            del total  # and with it the recorded graph, before the next batch needs the memory
        read, norm = read_numbers(parts, self.optimizer.parameters)
        for i, numbers in enumerate(read):
            values = [*numbers.values(), norm if i == count - 1 else 0.0]
            if not all(map(math.isfinite, values)):
                raise NonFinite(i, first + i, numbers)
        if settings.clip:
            scale_gradients(self.optimizer.parameters, norm, settings.clip)
        sums = {name: sum(numbers[name] for numbers in read) / count for name in read[0]}
        rate = learning_rate(settings, self.step)
        self.optimizer.step(rate)
        if self.ema:
            self.ema.update()
        self.step += 1
        return {"loss": sum(sums.values()), **sums, "lr": rate, "grad_norm": norm}

    def arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """What a checkpoint holds."""
        files = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.ema:
            files["ema"] = self.ema.state_dict()
        return files

    def restore(self, step: int, arrays: dict[str, dict[str, np.ndarray]]) -> None:
        """Continue from the arrays of a checkpoint.

        Raises:
            ValueError: they belong to another model or optimizer.
        """
        self.model.load_state_dict(arrays["model"])
        self.optimizer.load_state_dict(arrays["optimizer"])
        if self.ema:
            self.ema.load_state_dict(arrays.get("ema", {}))
        self.step = step

    def weights_to_evaluate(self) -> contextlib.AbstractContextManager[None]:
        """Inside the block the model holds the averaged weights, if there are any."""
        return self.ema.applied() if self.ema else contextlib.nullcontext()

    def final_weights(self) -> dict[str, np.ndarray]:
        """The weights to evaluate and to keep: the averaged ones if there are any."""
        return self.ema.weights() if self.ema else self.model.state_dict()
