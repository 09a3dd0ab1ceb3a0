"""Training in stages: first the new heads, then more and more of the body below them.

    --stages heads:200,4+:200,all:100:0.1

are 200 steps in which the body stays as it is, 200 in which its stages from the fourth on learn
too, and 100 of everything at a tenth of the rate.  Stages are counted from the image on, as in
C1 .. C5 of a ResNet: 1 is the stem, 2 the first stage of blocks.  "Heads" are all that is no body:
the pyramid, the proposal network, the branches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

HEADS, ALL = "heads", "all"
WRITTEN = re.compile(r"(heads|all|[1-9]\d?\+):(\d{1,9})(?::(\d*\.?\d+(?:e-?\d+)?))?")


@dataclass(frozen=True)
class Stage:
    """Steps in which the same parts learn."""

    name: str  # "heads", "all" or such as "4+"
    steps: int
    factor: float = 1.0  # of the learning rate

    def sections(self, count: int) -> int:
        """How many of the body's `count` sections learn, counted from the last.

        Raises:
            ValueError: there is no such section.
        """
        if self.name in (HEADS, ALL):
            return 0 if self.name == HEADS else count
        first = int(self.name[:-1])
        if first > count:
            raise ValueError(
                f"--stages: {self.name} begins with stage {first}, but this network's body has "
                f"{count} (1 is the stem)"
            )
        return count - first + 1


def parse(texts: Sequence[str]) -> tuple[Stage, ...]:
    """Stages as they are written: ("heads:200", "all:100:0.1").

    Raises:
        ValueError: something else.
    """
    stages = []
    for text in texts:
        found = WRITTEN.fullmatch(text)
        if found is None or not int(found[2]):
            raise ValueError(
                "--stages: expected WHAT:STEPS or WHAT:STEPS:FACTOR with commas, where WHAT is "
                f"heads, all, or the first stage that learns, such as 4+; got {text!r}"
            )
        stages.append(Stage(found[1], int(found[2]), float(found[3] or 1)))
    return tuple(stages)


def total(texts: Sequence[str]) -> int:
    """Steps of all stages."""
    return sum(stage.steps for stage in parse(texts))


def check_total(texts: Sequence[str], steps: int) -> None:
    """Raise ValueError unless the stages have just as many steps as the run, or there are none."""
    stages = parse(texts)
    if stages and total(texts) != steps:
        parts = " + ".join(str(stage.steps) for stage in stages)
        parts = parts if len(stages) == 1 else f"{parts} = {total(texts)}"
        raise ValueError(f"--stages has {parts} steps, but --steps is {steps}: make them equal")


def number_at(stages: Sequence[Stage], step: int) -> int:
    """Which stage step `step` (counted from 0) belongs to; after the last one, still the last."""
    for i, stage in enumerate(stages):
        if step < stage.steps:
            return i
        step -= stage.steps
    return len(stages) - 1


def factor_at(texts: Sequence[str], step: int) -> float:
    """What the learning rate of this step is multiplied with."""
    stages = parse(texts)
    return stages[number_at(stages, step)].factor if stages else 1.0


def agree_until(a: Sequence[str], b: Sequence[str], step: int) -> bool:
    """Whether two plans are the same in all steps before `step`."""
    first, second = parse(a), parse(b)
    edges = {0, step}
    for plan in (first, second):
        edges |= {sum(s.steps for s in plan[:i]) for i in range(len(plan))}
    return all(_what(first, edge) == _what(second, edge) for edge in edges if edge < step)


def _what(stages: Sequence[Stage], step: int) -> tuple[str, float]:
    stage = stages[number_at(stages, step)] if stages else Stage(ALL, 1)
    return stage.name, stage.factor
