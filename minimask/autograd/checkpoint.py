"""Gradient checkpointing (Chen et al. 2016): memory for time.

The forward pass keeps the inputs and the outputs of a part of the network and nothing in between.
When the backward pass arrives there, the part is computed a second time.

    y = checkpoint(stage, x)        # as y = stage(x), with the same gradients bit for bit

Only what the operations saved is thrown away; the graph they recorded stays.  So the backward pass
walks the same way, adds up in the same order, and hooks see each operation of it.
"""

from __future__ import annotations

import contextvars
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from minimask.autograd import hooks
from minimask.autograd.arrays import array_module
from minimask.autograd.tensor import Context, Tensor, is_recording

_again: contextvars.ContextVar[bool] = contextvars.ContextVar("again", default=False)


def checkpoint(function: Callable[..., Any], *inputs: Any) -> Any:
    """Compute `function(*inputs)`, and let the backward pass compute it again.

    Args:
        function: of Tensors; what it computes must depend on its inputs and on parameters alone,
            not on chance and not on how often it is called (see `recomputing`).  Checkpoints
            inside of it are fine.
        *inputs: Tensors, with or without gradients, or anything else.

    Returns:
        What the function returns.  Under `no_grad`, where nothing is kept anyway, that is all.

    Raises:
        TypeError: the function returns something other than a Tensor or a list of Tensors.
        RuntimeError: in `backward`: the function computed something else the second time.
    """
    if not is_recording():
        return function(*inputs)
    with hooks.hooked(_Watch()) as watch:
        outputs = function(*inputs)
    results = outputs if isinstance(outputs, tuple | list) else [outputs]
    for result in results:
        if not isinstance(result, Tensor):
            raise TypeError(
                "checkpoint: the function must return a Tensor or a list of Tensors, got "
                f"{type(result).__name__}"
            )
    again = _Again(function, inputs, watch.calls)
    for i, ctx in enumerate(watch.contexts):
        ctx._saved = functools.partial(again.take, i)
    _forget_values(watch.contexts, {id(result) for result in results})
    return outputs


def recomputing() -> bool:
    """Whether this is a checkpoint's second pass: what counts or collects must not do so twice."""
    return _again.get()


class _Watch(hooks.Hook):
    """Collects the contexts that a backward pass will need, in the order of their operations."""

    def __init__(self, silent: bool = False) -> None:
        self.silent = silent  # the second pass: what the model records was recorded before
        self.contexts: list[Context] = []
        self.calls: list[tuple[str, tuple[int, ...]]] = []  # operation, shape of its result

    def forward(self, ctx: Any, arrays: list[Any], options: dict[str, Any]) -> Any:
        out = super().forward(ctx, arrays, options)
        if True in ctx.needs_grad:
            self.contexts.append(ctx)
            self.calls.append((ctx.fn.__name__, tuple(out.shape)))
        return out

    def record(self, name: str, value: Any) -> None:
        if not self.silent:
            super().record(name, value)


class _Again:
    """How to get back what the operations of one checkpoint had saved."""

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: tuple[Any, ...],
        calls: list[tuple[str, tuple[int, ...]]],
    ) -> None:
        self.function, self.inputs, self.calls = function, inputs, calls
        self.saved: dict[int, Any] = {}  # computed again and not asked for yet
        self.context = contextvars.copy_context()  # which kernels were wanted, what was checked

    def take(self, i: int) -> Any:
        """What the i-th operation saved."""
        if i not in self.saved:
            self.saved = dict(enumerate(self.context.run(self._compute, hooks.active.get())))
        return self.saved.pop(i)

    def _compute(self, hook: hooks.Hook | None) -> list[Any]:
        """Run the function again; `hook` looks on now, perhaps another than the first time."""
        hooks.active.set(hook)
        _again.set(True)
        with hooks.hooked(_Watch(silent=True)) as watch:
            self.function(*self.inputs)
        if watch.calls != self.calls:
            raise RuntimeError(_difference(self.calls, watch.calls))
        saved = [ctx._saved for ctx in watch.contexts]
        for ctx in watch.contexts:  # the graph of the first pass is the one that counts
            ctx.free()
        return saved


def _difference(first: list[Any], second: list[Any]) -> str:
    """Where two runs of a checkpoint's function part."""
    pairs = zip(first, second, strict=False)
    parted = (i for i, (a, b) in enumerate(pairs) if a != b)
    i = next(parted, min(len(first), len(second)))
    words = [f"{run[i][0]} {run[i][1]}" if i < len(run) else "nothing" for run in (first, second)]
    return (
        f"checkpoint: operation {i + 1} of the function was {words[0]} in the forward pass and "
        f"{words[1]} when it was computed again; it must not depend on chance or on how often it "
        "is called"
    )


def _forget_values(contexts: Sequence[Context], outputs: set[int]) -> None:
    """Let the graph hold no values of the tensors between these operations, only their shapes.

    A tensor that somebody else holds too stays as it is: gradients may arrive there from outside.

    Args:
        contexts: of the checkpoint's operations.
        outputs: `id` of the tensors that the function returned.
    """
    inside = {id(ctx) for ctx in contexts}
    between = {
        id(parent): parent
        for ctx in contexts
        for parent in ctx.parents
        if parent is not None and id(parent._ctx) in inside and id(parent) not in outputs
    }
    without = {key: _without_values(tensor) for key, tensor in between.items()}
    for ctx in contexts:
        ctx.parents = [without.get(id(parent), parent) for parent in ctx.parents]
    held = {id(without[key]): weakref.ref(tensor) for key, tensor in between.items()}
    between.clear()  # now only others hold them
    for ctx in contexts:
        for i, parent in enumerate(ctx.parents):
            original = held[id(parent)]() if id(parent) in held else None
            if original is not None:
                ctx.parents[i] = original


def _without_values(tensor: Tensor) -> Tensor:
    """The same place in the graph; its array has the shape and the type, and no memory."""
    xp = array_module(tensor.data)
    node = Tensor(xp.broadcast_to(xp.zeros((), tensor.dtype), tensor.shape), name=tensor.name)
    node.requires_grad, node._ctx = True, tensor._ctx
    return node
