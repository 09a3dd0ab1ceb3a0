# mypy: disable-error-code="import-untyped"
"""Weighted sums of whole vectors, spelled out for the compiler below Numba (LLVM).

Numba makes vector instructions of such loops by itself, but asks before each whether its arrays
overlap, which costs more than a sum of sixteen numbers.  In NumPy, for stretches of flat arrays:

    add_four:   out (+)= w0 x0 + w1 x1 + w2 x2 + w3 x3
    add_one:    out += w x
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minimask.kernels.vectors import Vectors, data_of, offset


def _sum(builder: Any, total: Any, weight: Any, value: Any) -> Any:
    """Total + weight value, which may be one instruction."""
    product = builder.fmul(weight, value, flags=("contract",))
    return product if total is None else builder.fadd(total, product, flags=("contract",))


@intrinsic
def add_four(
    typingctx: Any,
    x: Any,
    at0: Any,
    at1: Any,
    at2: Any,
    at3: Any,
    w0: Any,
    w1: Any,
    w2: Any,
    w3: Any,
    out: Any,
    to: Any,
    count: Any,
    add: Any,
) -> Any:
    """Four weighted stretches of x, to a stretch of out, or added to it.

    `count` is a multiple of the lanes of a vector.
    """
    n, w = types.intp, x.dtype
    signature = types.void(x, n, n, n, n, w, w, w, w, out, n, n, types.boolean)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, places, weights, (out, to, count, add) = args[0], args[1:5], args[5:9], args[9:]
        vec = Vectors(context, builder, signature.args[0].dtype)
        source = data_of(context, builder, signature.args[0], x)
        target = offset(builder, data_of(context, builder, signature.args[9], out), to)
        starts = [offset(builder, source, place) for place in places]
        factors = [vec.repeat(weight) for weight in weights]
        later = context.is_true(builder, types.boolean, add)
        zero = vec.type(None)
        step = count.type(vec.count)
        with cgutils.for_range_slice(builder, count.type(0), count, step) as (i, _):
            place = offset(builder, target, i)
            total = None
            for start, factor in zip(starts, factors, strict=True):
                total = _sum(builder, total, factor, vec.load(offset(builder, start, i)))
            before = builder.select(later, vec.load(place), zero)
            vec.store(builder.fadd(total, before), place)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_one(typingctx: Any, x: Any, at: Any, weight: Any, out: Any, to: Any, count: Any) -> Any:
    """One weighted stretch of x, added to a stretch of out; `count` as in `add_four`."""
    n = types.intp
    signature = types.void(x, n, x.dtype, out, n, n)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, at, weight, out, to, count = args
        vec = Vectors(context, builder, signature.args[0].dtype)
        start = offset(builder, data_of(context, builder, signature.args[0], x), at)
        target = offset(builder, data_of(context, builder, signature.args[3], out), to)
        factor, step = vec.repeat(weight), count.type(vec.count)
        with cgutils.for_range_slice(builder, count.type(0), count, step) as (i, _):
            place = offset(builder, target, i)
            total = _sum(builder, vec.load(place), factor, vec.load(offset(builder, start, i)))
            vec.store(total, place)
        return context.get_dummy_value()

    return signature, codegen
