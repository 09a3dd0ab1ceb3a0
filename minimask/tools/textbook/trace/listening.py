"""Listening at a model's doors: what its functions are given and return, and its losses' terms.

Nothing is computed a second time.  While somebody listens, every call of the named functions is
noted with its arguments and its result, and the operations at the end of each loss are noted with
the value of every term before these are summed.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minimask.autograd.hooks import Hook, hooked
from minimask.tools.profile.stages import REST, STAGE_OF_MODULE

if TYPE_CHECKING:
    from minimask.autograd import Context

LOSSES = ("CrossEntropy", "BinaryCrossEntropyWithLogits", "SmoothL1")
_one_listener = threading.Lock()  # functions are replaced for everybody, so one listens at a time


@dataclass(frozen=True)
class Call:
    """One call of a function: its arguments by their names, and what it returned."""

    arguments: dict[str, Any]
    result: Any


@dataclass(frozen=True)
class LossCall:
    """One operation at the end of a loss, in the stage of the figure where it ran."""

    stage: str
    operation: str
    prediction: Any  # array
    target: Any  # array
    options: dict[str, Any]
    output: Any  # array: a term each, or for CrossEntropy the mean


class Stopwatch(Hook):
    """A hook that takes the time of every stage and notes the operations of the losses.

    Args:
        model: whose modules belong to stages.

    Attributes:
        seconds: for each stage the time in it, without that in stages inside it.
        losses: the operations at the end of the losses, in the order they ran.
    """

    def __init__(self, model: Any) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.losses: list[LossCall] = []
        self._stage_of = {
            id(module): STAGE_OF_MODULE[name]
            for name, module in model.named_modules()
            if name in STAGE_OF_MODULE
        }
        self._stack = [REST]
        self._since = time.perf_counter()

    def forward(self, ctx: Context, arrays: list[Any], options: dict[str, Any]) -> Any:
        """Run an operation; keep those of the losses."""
        out = super().forward(ctx, arrays, options)
        if ctx.fn.__name__ in LOSSES:
            name, stage = ctx.fn.__name__, self._stack[-1]
            self.losses.append(LossCall(stage, name, arrays[0], arrays[1], dict(options), out))
        return out

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


@contextlib.contextmanager
def timing(model: Any) -> Iterator[Stopwatch]:
    """Take the times of a model's stages inside the block."""
    with hooked(Stopwatch(model)) as stopwatch:
        yield stopwatch


@contextlib.contextmanager
def listening(doors: Sequence[tuple[Any, str]]) -> Iterator[dict[str, list[Call]]]:
    """Note every call of some functions inside the block; one block at a time in a process.

    Args:
        doors: where a function is looked up when it is called, and its name there: a module or a
            class.

    Yields:
        For each name its calls, in order; filled while the block runs.
    """
    calls: dict[str, list[Call]] = {name: [] for _, name in doors}
    with _one_listener, contextlib.ExitStack() as restore:
        for home, name in doors:
            original = getattr(home, name)
            restore.callback(setattr, home, name, original)
            setattr(home, name, _noting(original, calls[name]))
        yield calls


def _noting(function: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    """The function, which leaves a note of each of its calls."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def noted(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        result = function(*args, **options)
        calls.append(Call(dict(bound.arguments), result))
        return result

    return noted
