# mypy: disable-error-code="import-untyped"
"""The innermost loop of the compiled forward pass, written as vector instructions.

A lane is a channel.  The largest value so far and its place stay in two vector registers while the
loop walks over a bin's cells, which Numba cannot be told, so it is spelled out for the compiler
below it (LLVM).  In NumPy, with the channels of a cell side by side:

    here = cells[top:bottom, left:right].reshape(-1, lanes)
    places[:] = first + here.argmax(0)
    pooled[:] = here.max(0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minimask.kernels.vectors import Vectors, data_of, offset

PLACE = ir.IntType(32)


def _repeat(vec: Vectors, place: Any) -> Any:
    """A place in all lanes."""
    builder, place = vec.builder, vec.builder.trunc(place, PLACE)
    nothing = ir.Constant(ir.VectorType(PLACE, vec.count), ir.Undefined)
    first = builder.insert_element(nothing, place, ir.IntType(32)(0))
    return vec.shuffle(first, nothing, [0] * vec.count)


def _wins(builder: Any, value: Any, held: Any, nan: bool) -> Any:
    """Whether a value takes the place of the largest so far: it is larger, or the first NaN."""
    if not nan:
        return builder.fcmp_ordered(">", value, held)
    larger = builder.fcmp_unordered(">", value, held)  # true if either is NaN
    return builder.and_(larger, builder.fcmp_ordered("ord", held, held))


def _largest(nan: bool) -> Callable[..., Any]:
    """`largest` for cells that may hold a NaN, or, in half the time, for cells that do not."""

    @intrinsic
    def largest(
        typingctx: Any,
        cells: Any,
        first: Any,
        height: Any,
        width: Any,
        row: Any,
        place: Any,
        place_row: Any,
        pooled: Any,
        places: Any,
        to: Any,
    ) -> Any:
        n = types.intp
        signature = types.void(cells, n, n, n, n, n, n, pooled, places, n)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            cells, first, height, width, row, place, place_row, pooled, places, to = args
            vec, types_of = Vectors(context, builder, signature.args[0].dtype), signature.args
            start = offset(builder, data_of(context, builder, types_of[0], cells), first)
            pooled = offset(builder, data_of(context, builder, types_of[7], pooled), to)
            places = offset(builder, data_of(context, builder, types_of[8], places), to)
            best = cgutils.alloca_once_value(builder, vec.load(start))
            here = cgutils.alloca_once_value(builder, _repeat(vec, place))
            winner = cgutils.alloca_once_value(builder, builder.load(here))
            one = _repeat(vec, place.type(1))
            to_next_row = _repeat(vec, builder.sub(place_row, width))
            with cgutils.for_range(builder, height) as y:
                line = offset(builder, start, builder.mul(y.index, row))
                with cgutils.for_range(builder, width) as x:
                    at = builder.mul(x.index, x.index.type(vec.count))
                    value, held = vec.load(offset(builder, line, at)), builder.load(best)
                    now, wins = builder.load(here), _wins(builder, value, held, nan)
                    builder.store(builder.select(wins, value, held), best)
                    builder.store(builder.select(wins, now, builder.load(winner)), winner)
                    builder.store(builder.add(now, one), here)
                builder.store(builder.add(builder.load(here), to_next_row), here)
            vec.store(builder.load(best), pooled)
            places = builder.bitcast(places, one.type.as_pointer())
            builder.store(builder.load(winner), places).align = PLACE.width // 8
            return context.get_dummy_value()

        return signature, codegen

    return largest


largest = _largest(nan=False)
largest_or_nan = _largest(nan=True)
