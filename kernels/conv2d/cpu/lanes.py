# mypy: disable-error-code="import-untyped"
"""The innermost loops of the grouped convolution: pixels in the lanes of the vector registers.

In `registers` a vector holds the same pixel under several filters.  A group of a few filters, or
of one, would leave most of such a vector empty; so here a vector holds neighboring pixels, and a
block of some filters times some vectors of pixels stays in registers.  In NumPy they read

    convolve:   out[f, t] = start[f] + sum over s of weights[s, f] * x[steps[s] + t]
    correlate:  sums[f, s] += sum over t of grad[f, t] * x[steps[s] + t]

with f the filters of a block, t its pixels, and s the taps of the window.  Rows are moved with

    copy:    out[i] = x[i], i < count; `copy_row` also writes zeros up to a whole vector
    split:   out[i] = x[2 i], other[i] = x[2 i + 1], for one vector of each
    merge:   out[2 i] = x[i], out[2 i + 1] = other[i], for one vector of each
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minimask.kernels.vectors import Vectors, data_of, offset


def _convolve(filters: int, vectors: int) -> Callable[..., Any]:
    """`convolve` for a block of `filters` times `vectors` vectors of pixels."""

    @intrinsic
    def convolve(
        typingctx: Any,
        x: Any,
        x_at: Any,
        steps: Any,
        first_step: Any,
        count: Any,
        weights: Any,
        weights_at: Any,
        starts: Any,
        starts_at: Any,
        out: Any,
        out_at: Any,
        out_step: Any,
    ) -> Any:
        n = types.intp
        signature = types.void(x, n, steps, n, n, weights, n, starts, n, out, n, n)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (x, x_at, steps, first_step, count, weights, weights_at, starts, starts_at,
             out, out_at, out_step) = args  # fmt: skip
            vec = Vectors(context, builder, signature.args[0].dtype)
            index = x_at.type
            x, steps, weights, starts, out = (
                offset(builder, data_of(context, builder, signature.args[i], array), at)
                for i, array, at in (
                    (0, x, x_at),
                    (2, steps, first_step),
                    (5, weights, weights_at),
                    (7, starts, starts_at),
                    (9, out, out_at),
                )
            )
            sums = [cgutils.alloca_once(builder, vec.type) for _ in range(filters * vectors)]
            for f in range(filters):
                start = vec.repeat(builder.load(offset(builder, starts, index(f))))
                for total in sums[f * vectors : (f + 1) * vectors]:
                    builder.store(start, total)
            with cgutils.for_range(builder, count) as loop:
                pixels = offset(builder, x, builder.load(offset(builder, steps, loop.index)))
                values = [
                    vec.load(offset(builder, pixels, index(p * vec.count))) for p in range(vectors)
                ]
                here = offset(builder, weights, builder.mul(loop.index, index(filters)))
                for f in range(filters):
                    factor = vec.repeat(builder.load(offset(builder, here, index(f))))
                    for p in range(vectors):
                        add_product(builder, sums[f * vectors + p], factor, values[p])
            for f in range(filters):
                here = offset(builder, out, builder.mul(out_step, index(f)))
                for p in range(vectors):
                    total = builder.load(sums[f * vectors + p])
                    vec.store(total, offset(builder, here, index(p * vec.count)))
            return context.get_dummy_value()

        return signature, codegen

    return convolve


def _correlate(filters: int, taps: int) -> Callable[..., Any]:
    """`correlate` for a block of `filters` times `taps` sums; `count` vectors of pixels."""

    @intrinsic
    def correlate(
        typingctx: Any,
        x: Any,
        x_at: Any,
        steps: Any,
        first_step: Any,
        grad: Any,
        grad_at: Any,
        grad_step: Any,
        count: Any,
        sums: Any,
        sums_at: Any,
        sums_step: Any,
    ) -> Any:
        n = types.intp
        signature = types.void(x, n, steps, n, grad, n, n, n, sums, n, n)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (x, x_at, steps, first_step, grad, grad_at, grad_step, count,
             sums, sums_at, sums_step) = args  # fmt: skip
            vec = Vectors(context, builder, signature.args[0].dtype)
            index = x_at.type
            x, steps, grad, sums = (
                offset(builder, data_of(context, builder, signature.args[i], array), at)
                for i, array, at in (
                    (0, x, x_at), (2, steps, first_step), (4, grad, grad_at), (8, sums, sums_at),
                )
            )  # fmt: skip
            totals = [cgutils.alloca_once(builder, vec.type) for _ in range(filters * taps)]
            for total in totals:
                builder.store(vec.type(None), total)
            pixels = [
                offset(builder, x, builder.load(offset(builder, steps, index(s))))
                for s in range(taps)
            ]
            rows = [offset(builder, grad, builder.mul(grad_step, index(f))) for f in range(filters)]
            with cgutils.for_range(builder, count) as loop:
                at = builder.mul(loop.index, index(vec.count))
                # of both factors' vectors the fewer stay in registers: 12 + 3 + 1 are sixteen
                if taps < filters:
                    values = [vec.load(offset(builder, place, at)) for place in pixels]
                    for f in range(filters):
                        factor = vec.load(offset(builder, rows[f], at))
                        for s in range(taps):
                            add_product(builder, totals[f * taps + s], factor, values[s])
                else:
                    factors = [vec.load(offset(builder, row, at)) for row in rows]
                    for s in range(taps):
                        value = vec.load(offset(builder, pixels[s], at))
                        for f in range(filters):
                            add_product(builder, totals[f * taps + s], factors[f], value)
            for f in range(filters):
                here = offset(builder, sums, builder.mul(sums_step, index(f)))
                for s in range(taps):
                    place = offset(builder, here, index(s))
                    total = added_up(vec, builder.load(totals[f * taps + s]))
                    builder.store(builder.fadd(builder.load(place), total), place)
            return context.get_dummy_value()

        return signature, codegen

    return correlate


def add_product(builder: Any, total: Any, a: Any, b: Any) -> None:
    """Total += a * b, in one instruction where the machine has it."""
    product = builder.fmul(a, b, flags=("contract",))
    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)


def added_up(vec: Vectors, value: Any) -> Any:
    """The sum of a register's numbers, halves onto halves."""
    half = vec.count // 2
    while half:
        order = [(i + half) % vec.count for i in range(vec.count)]
        value = vec.builder.fadd(value, vec.shuffle(value, value, order))
        half //= 2
    return vec.builder.extract_element(value, ir.IntType(32)(0))


@intrinsic
def copy(typingctx: Any, x: Any, x_at: Any, out: Any, out_at: Any, count: Any) -> Any:
    """A row's numbers, by the library's own loop."""
    n = types.intp
    signature = types.void(x, n, out, n, n)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_at, out, out_at, count = args
        x = offset(builder, data_of(context, builder, signature.args[0], x), x_at)
        out = offset(builder, data_of(context, builder, signature.args[2], out), out_at)
        cgutils.raw_memcpy(builder, out, x, count, signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def copy_row(typingctx: Any, x: Any, x_at: Any, out: Any, out_at: Any, count: Any) -> Any:
    """As `copy`, without a call, which takes longer than a short row; nothing else of x is read."""
    n = types.intp
    signature = types.void(x, n, out, n, n)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_at, out, out_at, count = args
        vec = Vectors(context, builder, signature.args[0].dtype)
        x = offset(builder, data_of(context, builder, signature.args[0], x), x_at)
        out = offset(builder, data_of(context, builder, signature.args[2], out), out_at)
        width = count.type(vec.count)
        whole = builder.sdiv(count, width)
        with cgutils.for_range(builder, whole) as loop:
            at = builder.mul(loop.index, width)
            vec.store(vec.load(offset(builder, x, at)), offset(builder, out, at))
        done = builder.mul(whole, width)
        rest = builder.sub(count, done)
        with builder.if_then(builder.icmp_signed(">", rest, count.type(0))):
            value = vec.load_first(offset(builder, x, done), rest)
            vec.store(value, offset(builder, out, done))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def split(typingctx: Any, x: Any, x_at: Any, out: Any, out_at: Any, other_at: Any) -> Any:
    """Two vectors of neighbors to one of every second number and one of those between."""
    n = types.intp
    signature = types.void(x, n, out, n, n)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_at, out, out_at, other_at = args
        vec = Vectors(context, builder, signature.args[0].dtype)
        x = offset(builder, data_of(context, builder, signature.args[0], x), x_at)
        out = data_of(context, builder, signature.args[2], out)
        a, b = vec.load(x), vec.load(offset(builder, x, x_at.type(vec.count)))
        for first, at in ((0, out_at), (1, other_at)):
            order = list(range(first, 2 * vec.count, 2))
            vec.store(vec.shuffle(a, b, order), offset(builder, out, at))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def merge(typingctx: Any, x: Any, x_at: Any, other_at: Any, out: Any, out_at: Any) -> Any:
    """`split`, the other way round."""
    n = types.intp
    signature = types.void(x, n, n, out, n)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_at, other_at, out, out_at = args
        vec = Vectors(context, builder, signature.args[0].dtype)
        x = data_of(context, builder, signature.args[0], x)
        out = offset(builder, data_of(context, builder, signature.args[3], out), out_at)
        a, b = vec.load(offset(builder, x, x_at)), vec.load(offset(builder, x, other_at))
        half = vec.count // 2
        for first in (0, half):
            pairs = [i + j * vec.count for i in range(first, first + half) for j in (0, 1)]
            place = offset(builder, out, out_at.type(2 * first))
            vec.store(vec.shuffle(a, b, pairs), place)
        return context.get_dummy_value()

    return signature, codegen


# Twelve sums, or as many as their taps fill, leave room for their factors in sixteen registers.
convolve_4x3 = _convolve(4, 3)
convolve_2x6 = _convolve(2, 6)
convolve_1x8 = _convolve(1, 8)
convolve_1x1 = _convolve(1, 1)
correlate_4x3 = _correlate(4, 3)
correlate_2x6 = _correlate(2, 6)
correlate_1x9 = _correlate(1, 9)
