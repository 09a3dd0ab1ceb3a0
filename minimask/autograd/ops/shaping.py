"""Shapes, pieces and joins; and the matrix product."""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from minimask.autograd.arrays import Array, array_module, unbroadcast
from minimask.autograd.tensor import Context, Function, Tensor


class MatMul(Function):
    """The matrix product of the last two axes; leading axes broadcast."""

    @staticmethod
    def forward(ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(a, b)
        return a @ b

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # da = dy b^T, db = a^T dy
        a, b = ctx.saved
        return (
            unbroadcast(grad @ b.swapaxes(-1, -2), a.shape) if ctx.needs_grad[0] else None,
            unbroadcast(a.swapaxes(-1, -2) @ grad, b.shape) if ctx.needs_grad[1] else None,
        )


class Reshape(Function):
    """The same values in another shape."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, shape: tuple[int, ...]) -> Array:
        ctx.save(x.shape)
        return x.reshape(shape)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        (shape,) = ctx.saved
        return grad.reshape(shape)


class Transpose(Function):
    """The same values with the axes in another order."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, axes: tuple[int, ...] | None) -> Array:
        ctx.save(axes)
        return x.transpose(axes)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # the inverse order
        (axes,) = ctx.saved
        if axes is None:
            return grad.transpose()
        return grad.transpose(np.argsort([a % grad.ndim for a in axes]).tolist())


class BroadcastTo(Function):
    """Copies along axes of length 1."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, shape: tuple[int, ...]) -> Array:
        ctx.save(x.shape)
        return array_module(x).broadcast_to(x, shape)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # the sum over the copies
        (shape,) = ctx.saved
        return unbroadcast(grad, shape)


class Concatenate(Function):
    """Arrays one after the other along an axis."""

    @staticmethod
    def forward(ctx: Context, *arrays: Array, axis: int) -> Array:
        ctx.save([a.shape[axis] for a in arrays], axis)
        return array_module(*arrays).concatenate(arrays, axis=axis)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # each input's own piece
        lengths, axis = ctx.saved
        return tuple(array_module(grad).split(grad, list(accumulate(lengths))[:-1], axis=axis))


class Stack(Function):
    """Arrays of one shape along a new axis."""

    @staticmethod
    def forward(ctx: Context, *arrays: Array, axis: int) -> Array:
        ctx.save(len(arrays), axis)
        return array_module(*arrays).stack(arrays, axis=axis)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        count, axis = ctx.saved
        return tuple(grad.take(i, axis=axis) for i in range(count))


class Pad(Function):
    """Zeros around an array."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, widths: tuple[tuple[int, int], ...]) -> Array:
        ctx.save(tuple(slice(b, b + n) for (b, _), n in zip(widths, x.shape, strict=True)))
        return array_module(x).pad(x, widths)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        (inside,) = ctx.saved
        return grad[inside]


class GetItem(Function):
    """The elements x[index]: slices, integer arrays, bool masks."""

    @staticmethod
    def forward(ctx: Context, x: Array, *, index: Any) -> Array:
        ctx.save(x.shape, index)
        return x[index]

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # an element taken twice gets both gradients
        shape, index = ctx.saved
        return put_added(shape, index, grad)


def put_added(shape: tuple[int, ...], index: Any, values: Array) -> Array:
    """Zeros of `shape` with `values` added at `index`: the reverse of `x[index]`.

    Slices and masks never name an element twice, so assigning is enough.  Integer arrays may.
    """
    xp = array_module(values)
    out = xp.zeros(shape, values.dtype)
    parts = index if isinstance(index, tuple) else (index,)
    kinds = [p.dtype.kind for p in parts if getattr(p, "ndim", 0)]
    if all(kind == "b" for kind in kinds):
        out[index] = values
    elif len(kinds) == len(parts) and "b" not in kinds:
        lead, width = math.prod(shape[: len(parts)]), math.prod(shape[len(parts) :])
        rows = xp.arange(lead).reshape(shape[: len(parts)])[index].ravel()
        _add_rows(out.reshape(lead, width), rows, values.reshape(len(rows), width))
    else:  # a mixture, e.g. x[:, [0, 0, 1]]
        cells = xp.arange(out.size).reshape(shape)[index].ravel()
        _add_rows(out.reshape(-1, 1), cells, values.reshape(-1, 1))
    return out


def _add_rows(out: Array, rows: Array, values: Array) -> None:
    """Add values[i] to out[rows[i]] for every i, where rows may repeat; out starts as zeros."""
    xp = array_module(out)
    if len(rows) == 0 or out.size == 0:
        return
    if xp is not np:  # atomic: the order of what one row gets is not fixed
        xp.add.at(out, rows, values)
    elif np.bincount(rows).max() <= 1:
        out[rows] = values
    else:  # sums of sorted runs: many times faster than np.add.at on rows
        order = np.argsort(rows, kind="stable")
        starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
        out[rows[order[starts]]] = np.add.reduceat(values[order], starts, axis=0)


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product of (..., m, k) and (..., k, n): (..., m, n).

    Raises:
        ValueError: an input has fewer than two axes, or the inner lengths differ.
    """
    for name, x in (("a", a), ("b", b)):
        if x.ndim < 2:
            raise ValueError(
                f"matmul: `{name}` needs at least two axes, got shape {tuple(x.shape)}; "
                "add one with x[None, :] or x[:, None]"
            )
    return MatMul.apply(a, b)


def reshape(x: Any, *shape: Any) -> Tensor:
    """The same values in another shape, given as a tuple or as numbers; one may be -1.

    The -1 also works without elements, where leading axes stay: (0, 256, 7, 7) to (0, -1).

    Raises:
        ValueError: another number of elements; a -1 that could be any number.
    """
    sizes = _as_tuple(shape)
    if -1 in sizes and math.prod(x.shape) == 0:
        k = sizes.index(-1)
        rest = math.prod(sizes[k + 1 :])
        if sizes[:k] == tuple(x.shape[:k]) and rest:
            sizes = (*sizes[:k], math.prod(x.shape[k:]) // rest, *sizes[k + 1 :])
        elif 0 in sizes:
            raise ValueError(
                f"reshape: without elements the -1 in {sizes} could be any number; write it out"
            )
    return Reshape.apply(x, shape=sizes)


def flatten(x: Any, start: int = 0) -> Tensor:
    """Join all axes from `start` on into one; the batch axis stays with start=1."""
    return Reshape.apply(x, shape=(*x.shape[:start], math.prod(x.shape[start:])))


def transpose(x: Any, *axes: Any) -> Tensor:
    """The axes in the order `axes` (a tuple or numbers); reversed when left out."""
    return Transpose.apply(x, axes=_as_tuple(axes) or None)


def broadcast_to(x: Any, shape: Sequence[int]) -> Tensor:
    """Copy x along axes of length 1 until it has `shape`."""
    return BroadcastTo.apply(x, shape=_as_tuple((shape,)))


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors one after the other along an existing axis."""
    if len(tensors) == 0:
        raise ValueError("concatenate: expected at least one tensor, got none")
    return Concatenate.apply(*tensors, axis=operator.index(axis))


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis."""
    if len(tensors) == 0:
        raise ValueError("stack: expected at least one tensor, got none")
    return Stack.apply(*tensors, axis=operator.index(axis))


def pad(x: Any, widths: Sequence[tuple[int, int]]) -> Tensor:
    """Zeros around x: (before, after) for every axis."""
    pairs = tuple((operator.index(b), operator.index(a)) for b, a in widths)
    if len(pairs) != x.ndim:
        raise ValueError(f"pad: expected {x.ndim} (before, after) pairs, got {len(pairs)}")
    return Pad.apply(x, widths=pairs)


def getitem(x: Any, index: Any) -> Tensor:
    """The elements x[index]; slices, integers, None, integer arrays and bool masks as in NumPy."""
    if isinstance(index, tuple):
        return GetItem.apply(x, index=tuple([_as_index(part) for part in index]))
    return GetItem.apply(x, index=_as_index(index))


def _as_index(part: Any) -> Any:
    """One part of an index, with lists and Tensors as arrays."""
    if isinstance(part, Tensor):
        return part.data
    if isinstance(part, list):
        return np.asarray(part, None if part else np.intp)
    return part


def take(x: Any, indices: Any, axis: int = 0) -> Tensor:
    """The slices of x at integer `indices` along `axis`; indices may repeat.

    Raises:
        IndexError: x has no such axis, or an index is out of range.
    """
    axis = operator.index(axis)
    if not -x.ndim <= axis < x.ndim:
        raise IndexError(f"take: axis {axis} of an array of shape {tuple(x.shape)}")
    return getitem(x, (*(slice(None),) * (axis % x.ndim), indices))


def _as_tuple(values: tuple[Any, ...]) -> tuple[int, ...]:
    """Numbers given one by one or as one sequence."""
    if len(values) == 1 and not isinstance(values[0], int | np.integer):
        values = tuple(values[0]) if values[0] is not None else ()
    return tuple(operator.index(v) for v in values)
