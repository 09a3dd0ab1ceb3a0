"""Where others look on while a model computes; with nobody there it costs next to nothing.

The engine says here what it does: which operation runs forward or backward, which module calls
which, which kernel runs.  The model says which box of the paper's figure begins (`stage`) and what
it computed there (`record`).  Whoever wants to know subclasses `Hook` and looks on inside
`with hooked(hook):`.  The profile, anomaly mode, `model.stages` and the trace are such hooks.

A context variable holds the hook, so what other threads compute is not seen.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

H = TypeVar("H", bound="Hook")


class Hook:
    """Somebody who looks on.  Override what is of interest, and call `super()` there.

    What a hook does not override goes on to `inner`, the hook that was there before it.
    """

    inner: Hook | None = None

    def forward(self, ctx: Any, arrays: list[Any], options: dict[str, Any]) -> Any:
        """An operation runs: `ctx` is its `Context`; returns its output."""
        if self.inner is not None:
            return self.inner.forward(ctx, arrays, options)
        return ctx.fn.forward(ctx, *arrays, **options)

    def backward(self, ctx: Any, grad: Any) -> Any:
        """The backward pass of an operation runs; returns the gradients of its inputs."""
        if self.inner is not None:
            return self.inner.backward(ctx, grad)
        return ctx.fn.backward(ctx, grad)

    def kernel(self, name: str, run: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
        """A kernel runs, perhaps as a part of an operation; returns `run(*arrays, **options)`."""
        if self.inner is not None:
            return self.inner.kernel(name, run, *arrays, **options)
        return run(*arrays, **options)

    def enter(self, stage: str | None, module: Any = None) -> None:
        """A stage begins, or (stage None) the forward pass of a module."""
        if self.inner is not None:
            self.inner.enter(stage, module)

    def leave(self) -> None:
        """What was entered last has ended, perhaps with an error."""
        if self.inner is not None:
            self.inner.leave()

    def record(self, name: str, value: Any) -> None:
        """The model computed something; a function gives it when called, see `record`."""
        if self.inner is not None:
            self.inner.record(name, value)


class Recorder(Hook):
    """Keeps what is recorded.

    Attributes:
        entries: pairs of name and value, in the order they were computed.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[str, Any]] = []

    def record(self, name: str, value: Any) -> None:
        """Keep it."""
        value = value() if callable(value) else value
        self.entries.append((name, value))
        super().record(name, value)

    def values(self, name: str) -> list[Any]:
        """Every value of that name, in order."""
        return [value for known, value in self.entries if known == name]


active: contextvars.ContextVar[Hook | None] = contextvars.ContextVar("hook", default=None)


@contextlib.contextmanager
def hooked(hook: H) -> Iterator[H]:
    """Let `hook` look on inside the block, beside those that do already."""
    hook.inner = active.get()
    token = active.set(hook)
    try:
        yield hook
    finally:
        active.reset(token)
        hook.inner = None


Watcher, watching = Hook, hooked  # their names before they could be several


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Give a part of the model's work the name of its box in the figure.

    For blocks, `with stage("proposals"):`, and for whole functions, `@stage("proposals")`.
    """
    hook = active.get()
    if hook is None:
        yield
        return
    hook.enter(name)
    try:
        yield
    finally:
        hook.leave()


@contextlib.contextmanager
def inside(module: Any) -> Iterator[None]:
    """What is computed in the block counts as the work of a module that is not called itself."""
    hook = active.get()
    if hook is None:
        yield
        return
    hook.enter(None, module)
    try:
        yield
    finally:
        hook.leave()


def record(name: str, value: Any) -> None:
    """Say what was computed: `record("rpn/proposals", boxes)`.

    Args:
        name: "box of the figure/what it is".
        value: an array, a Tensor or any other object that nobody changes afterwards; or, where it
            would have to be computed for this, a function without arguments that does so.
    """
    hook = active.get()
    if hook is not None:
        hook.record(name, value)
