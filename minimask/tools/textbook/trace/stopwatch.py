"""The hook of a trace: when what was recorded, the time of every stage, the terms of the losses."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from minimask.autograd.hooks import Recorder
from minimask.tools.profile.stages import REST, STAGE_OF_MODULE

LOSSES = ("CrossEntropy", "BinaryCrossEntropyWithLogits", "SmoothL1")


@dataclass(frozen=True)
class LossCall:
    """One operation at the end of a loss, in the stage of the figure where it ran."""

    stage: str
    operation: str
    prediction: Any  # array
    target: Any  # array
    options: dict[str, Any]
    output: Any  # array: a term each, or for CrossEntropy the mean


class Stopwatch(Recorder):
    """Keeps what is recorded, takes the time of every stage, and notes the losses' operations.

    Args:
        model: whose modules belong to stages.

    Attributes:
        seconds: for each stage the time in it, without that in stages inside it.
        steps: for each recorded name the time since what was recorded before it.
        losses: the operations at the end of the losses, in the order they ran.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps: dict[str, float] = {}
        self.losses: list[LossCall] = []
        self._stage_of = {
            id(module): STAGE_OF_MODULE[name]
            for name, module in model.named_modules()
            if name in STAGE_OF_MODULE
        }
        self._stack = [REST]
        self._since = self._last = time.perf_counter()

    def forward(self, ctx: Any, arrays: list[Any], options: dict[str, Any]) -> Any:
        """Run an operation; keep those of the losses."""
        out = super().forward(ctx, arrays, options)
        if ctx.fn.__name__ in LOSSES:
            name, stage = ctx.fn.__name__, self._stack[-1]
            self.losses.append(LossCall(stage, name, arrays[0], arrays[1], dict(options), out))
        return out

    def record(self, name: str, value: Any) -> None:
        """Keep it, and the time it took."""
        self.steps[name] = time.perf_counter() - self._last
        super().record(name, value)
        self._last = time.perf_counter()

    def one(self, name: str) -> Any:
        """What was recorded by that name last, of one image; None if nothing was."""
        values = self.values(name)
        if not values:
            return None
        return values[-1][0] if isinstance(values[-1], list) else values[-1]

    def enter(self, stage: str | None, module: Any = None) -> None:
        """A stage begins, or the forward pass of a module, which may be one."""
        self._stop()
        self._stack.append(stage or self._stage_of.get(id(module), self._stack[-1]))
        super().enter(stage, module)

    def leave(self) -> None:
        """What was entered last has ended."""
        self._stop()
        self._stack.pop()
        super().leave()

    def _stop(self) -> None:
        """Give the time since the last change to the stage that it was spent in."""
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now
