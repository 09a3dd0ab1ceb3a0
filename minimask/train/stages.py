"""What of a network's body learns in which stage, and what of it the backward pass computes again.

`stage_plan.py` has the stages as they are written in the settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minimask.models.bodies import Body
from minimask.train.stage_plan import ALL, HEADS, number_at, parse

if TYPE_CHECKING:
    from minimask.train.optim import Optimizer


def body_of(model: Any, option: str) -> Body:
    """The body of a model.

    Raises:
        ValueError: it has none with stages; names the option that asks for them.
    """
    for module in model.modules():
        if isinstance(module, Body):
            return module
    name = getattr(model, "config", {}).get("backbone") or type(model).__name__
    raise ValueError(
        f"{option}: is about the stages of a network's body, and {name!r} has no stages: derive "
        "its body from minimask.models.bodies.Body, or leave the option out"
    )


def check(model: Any, stages: Sequence[str], recomputed: int | str) -> None:
    """Raise ValueError unless the model has the stages that settings speak of.  Changes nothing."""
    if stages:
        count = len(body_of(model, "--stages").sections())
        for stage in parse(stages):
            stage.sections(count)
    if recomputed:
        body = body_of(model, "--checkpoint-stages")
        marked = [(module, module.recomputed) for module in body.modules()]
        try:
            recompute(model, recomputed)
        finally:
            for module, before in marked:
                module.recomputed = before


def recompute(model: Any, stages: int | str) -> None:
    """Let the backward pass compute the first `stages` stages of the body again, or "all".

    Raises:
        ValueError: the model has not so many.
    """
    if not stages and not any(isinstance(module, Body) for module in model.modules()):
        return
    body = body_of(model, "--checkpoint-stages")
    try:
        body.recompute(None if stages == ALL else int(stages))
    except ValueError as error:
        raise ValueError(f"--checkpoint-stages: {error}") from None


class StagedTraining:
    """Freezes and unfreezes the sections of a model's body as its steps go by.

    Make it before the optimizer, which then knows all parameters that learn in any stage.

    Args:
        model: with a `Body`.
        texts: the stages, as they are written.

    Raises:
        ValueError: the model has no such stages.
    """

    def __init__(self, model: Any, texts: Sequence[str]) -> None:
        self.stages, self.model = parse(texts), model
        self.body = body_of(model, "--stages")
        count = len(self.body.sections())
        self.learning = [stage.sections(count) for stage in self.stages]
        self.number: int | None = None  # of the present stage
        self.body.freeze(max(self.learning))

    def enter(self, step: int, optimizer: Optimizer) -> str | None:
        """Make ready for step `step`, counted from 0; a sentence if another stage begins."""
        number = number_at(self.stages, step)
        if number == self.number:
            return None
        self.number = number
        self.body.freeze(self.learning[number])
        self._tell(optimizer)
        return self._sentence()

    @property
    def name(self) -> str:
        """Of the present stage."""
        assert self.number is not None
        return self.stages[self.number].name

    def _tell(self, optimizer: Optimizer) -> None:
        """What begins to learn now has taken no part in the steps before: Adam's averages do."""
        assert self.number is not None
        sections = self.body.sections()
        names = {id(parameter): name for name, parameter in optimizer.parameters}
        for i, modules in enumerate(sections):
            missed = sum(
                stage.steps
                for stage, learning in zip(
                    self.stages[: self.number], self.learning[: self.number], strict=True
                )
                if i < len(sections) - learning
            )
            for module in modules:
                for parameter in module.parameters():
                    if id(parameter) in names:
                        optimizer.missed[names[id(parameter)]] = missed

    def _sentence(self) -> str:
        assert self.number is not None
        stage, count = self.stages[self.number], len(self.body.sections())
        first = count - self.learning[self.number] + 1
        begin = sum(s.steps for s in self.stages[: self.number])
        what = {HEADS: "the heads alone learn", ALL: "everything learns"}
        upper = f"the heads and the body's stages {first} to {count} learn"
        weights = sum(p.size for p in self.model.parameters() if p.requires_grad)
        rate = "" if math.isclose(stage.factor, 1) else f", learning rate x {stage.factor:g}"
        return (
            f"stage {self.number + 1} of {len(self.stages)} ({stage.name}), steps {begin + 1} to "
            f"{begin + stage.steps}: {what.get(stage.name, upper)} "
            f"({weights / 1e6:.2f} million weights){rate}"
        )
