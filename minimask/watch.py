"""A slot for somebody who looks on while a model computes; empty, it costs next to nothing.

The engine says here what it does: which operation runs forward or backward, which module calls
which, which kernel runs, which box of the paper's figure begins.  Nobody listens except inside
`with watching(watcher):`.  `minimask.profile` is such a watcher.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from minimask.autograd import Context


class Watcher(Protocol):
    """What a watcher is told.  The first three must run what they are given and return its result.

    A context variable holds the watcher, so threads started elsewhere are not watched.
    """

    def forward(self, ctx: Context, arrays: list[Any], options: dict[str, Any]) -> Any:
        """Run `ctx.fn.forward(ctx, *arrays, **options)`."""

    def backward(self, ctx: Context, grad: Any) -> Any:
        """Run `ctx.fn.backward(ctx, grad)`."""

    def kernel(self, name: str, run: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
        """Run a kernel: `run(*arrays, **options)`; it may be part of an operation."""

    def enter(self, stage: str | None, module: Any = None) -> None:
        """A stage begins, or (stage None) the forward pass of a module."""

    def leave(self) -> None:
        """What was entered last has ended, perhaps with an error."""


active: contextvars.ContextVar[Watcher | None] = contextvars.ContextVar("watcher", default=None)


@contextlib.contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Let `watcher` look on inside the block."""
    token = active.set(watcher)
    try:
        yield
    finally:
        active.reset(token)


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Give a part of the model's work the name of its box in the figure.

    For blocks, `with stage("proposals"):`, and for whole functions, `@stage("proposals")`.
    """
    watcher = active.get()
    if watcher is None:
        yield
        return
    watcher.enter(name)
    try:
        yield
    finally:
        watcher.leave()
