"""The walk back through the graph: from a loss to the gradient of every leaf.

`Tensor.backward` calls `run`.  Arrays are freed as soon as they were used, so that a training
step never holds all activations and all gradients at once.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from minimask.autograd import hooks
from minimask.autograd.arrays import Array, array_module

# `Tensor` and `Context` of tensor.py, which calls `run`; here it is enough that they have
# data, grad, shape, dtype, requires_grad and _ctx; parents, fn, saved and free().
Tensor: TypeAlias = Any
Context: TypeAlias = Any


@hooks.stage("backward")
def run(root: Tensor, grad: Array | None, retain_graph: bool) -> None:
    """Add to `.grad` of every leaf that `root` depends on; `grad` is where the walk starts."""
    order = topological_order(root)
    pending = {id(root): _first_gradient(root, grad)}  # gradients of tensors not yet reached
    summed: set[int] = set()  # of these, the sums made here: nobody else holds them
    if not order:
        _accumulate(root, pending[id(root)], keep=False)
    while order:
        tensor = order.pop()
        ctx = tensor._ctx
        assert ctx is not None
        arrived = pending.pop(id(tensor))
        gradients = _gradients(ctx, arrived)
        for i, (parent, g) in enumerate(zip(ctx.parents, gradients, strict=True)):
            if parent is None:
                continue
            key = id(parent)
            if parent._ctx is None:
                _accumulate(parent, g, keep=_is_unshared(i, gradients, arrived, ctx))
            elif key in summed:
                pending[key] += g
            elif key in pending:
                pending[key] = pending[key] + g
                summed.add(key)
            else:
                pending[key] = g
        if not retain_graph:
            ctx.free()
        del tensor, arrived, gradients, parent, g  # before the next step allocates


def topological_order(root: Tensor) -> list[Tensor]:
    """Every recorded tensor that `root` depends on, inputs before outputs.

    Why the order matters, in three lines:

        a = 2 * x
        b = a + 1
        y = a * b

    `a` is used twice: its gradient is complete only when both the product and, through `b`, the
    sum have sent their part.  Walking back from `y` straight to `a` would pass half of it on.

    A stack, not recursion: ResNet-101 is deeper than Python's recursion limit.
    """
    order: list[Tensor] = []
    seen: set[int] = set()
    stack: list[tuple[Tensor, bool]] = [(root, False)]
    while stack:
        tensor, expanded = stack.pop()
        if expanded:
            order.append(tensor)
        elif tensor._ctx is not None and id(tensor) not in seen:
            seen.add(id(tensor))
            stack.append((tensor, True))
            stack.extend([(p, False) for p in tensor._ctx.parents if p is not None])
    return order


def _first_gradient(tensor: Tensor, grad: Array | None) -> Array:
    """The gradient that `backward` starts from, checked."""
    if not tensor.requires_grad:
        raise RuntimeError(
            "backward() on a tensor that does not require gradients: no input had "
            "requires_grad=True, or it was computed under no_grad()"
        )
    xp = array_module(tensor.data)
    if grad is None:
        if tensor.data.size != 1:
            raise RuntimeError(
                f"backward() without an argument needs a scalar, got shape {tensor.shape}; "
                "reduce it first (loss.mean()) or pass the output gradient"
            )
        return xp.ones_like(tensor.data)
    grad = xp.asarray(grad, tensor.dtype)
    if grad.shape != tensor.shape:
        raise ValueError(
            f"backward(grad): expected the tensor's shape {tensor.shape}, got {grad.shape}"
        )
    return grad


def _is_unshared(i: int, gradients: tuple[Any, ...], arrived: Array, ctx: Context) -> bool:
    """Whether nobody else can hold `gradients[i]`, so that a leaf may keep it without a copy.

    `Add` hands one array to both its inputs and `Sum` a read-only view: without a copy, clipping
    one gradient in place would change another.
    """
    g = gradients[i]
    return (
        not isinstance(g, np.generic)
        and g.base is None
        and g is not arrived
        and not any(g is other for j, other in enumerate(gradients) if j != i)
        and not any(g is value for value in ctx.saved)
    )


def _accumulate(leaf: Tensor, g: Array, keep: bool) -> None:
    """Add `g` to a leaf's gradient, in place if it has one."""
    if leaf.grad is not None:
        leaf.grad += g
    else:
        leaf.grad = g if keep else array_module(g).array(g)


def _gradients(ctx: Context, grad: Array) -> tuple[Any, ...]:
    """Call `backward` and check what it returned: one gradient per input, of the input's shape."""
    ctx.saved  # noqa: B018  a clear error when an earlier backward freed the arrays
    hook = hooks.active.get()
    out = ctx.fn.backward(ctx, grad) if hook is None else hook.backward(ctx, grad)
    gradients = out if isinstance(out, tuple) else (out,)
    if len(gradients) != len(ctx.parents):
        names = ", ".join(ctx.fn.input_names(len(ctx.parents)))
        raise TypeError(
            f"{ctx.fn.__name__}.backward returned {len(gradients)} gradients for "
            f"{len(ctx.parents)} inputs ({names})"
        )
    for i, (parent, g) in enumerate(zip(ctx.parents, gradients, strict=True)):
        if parent is None:
            continue
        if g is None or g.shape != parent.data.shape or g.dtype != parent.data.dtype:
            raise TypeError(_wrong_gradient(ctx, i, g))
    return gradients


def _wrong_gradient(ctx: Context, i: int, g: Array | None) -> str:
    """What is wrong with gradient `i` that a backward returned."""
    name, parent, fn = ctx.fn.input_names(i + 1)[i], ctx.parents[i], ctx.fn.__name__
    assert parent is not None
    if g is None:
        return f"{fn}.backward returned None for `{name}`, which requires a gradient"
    if g.shape != parent.shape:
        return (
            f"{fn}.backward: the gradient of `{name}` has shape {g.shape}, but `{name}` has "
            f"shape {parent.shape}"
        )
    return f"{fn}.backward: the gradient of `{name}` is {g.dtype}, but `{name}` is {parent.dtype}"
