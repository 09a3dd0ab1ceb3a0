# mypy: disable-error-code="import-untyped"
"""The innermost loop of the compiled convolution, written as vector instructions.

A core's arithmetic is fastest when its vector registers hold a small block of the result and stay
there: every number that is loaded is then used several times.  Numba cannot say "keep these
sixteen vectors in registers", so this function is spelled out for the compiler below it (LLVM).
In NumPy it reads

    multiply:   c[i, j] (+)= start[j] + sum over s of x[rows[i] + steps[s]] * b[s, j]

`multiply` is a matrix product whose left factor is not stored: its element (i, s) is looked up at
`rows[i] + steps[s]`.  With the offsets of output pixels as rows and the offsets of a window's
pixels as steps, that factor is the matrix of all windows, and nothing has been copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minimask.kernels.vectors import ROWS, Vectors, data_of, offset


def _multiply(vectors: int) -> Callable[..., Any]:
    """`multiply` for a block of `ROWS` rows and `vectors` vectors of columns."""

    @intrinsic
    def multiply(
        typingctx: Any,
        x: Any,
        rows: Any,
        first_row: Any,
        steps: Any,
        first_step: Any,
        count: Any,
        b: Any,
        b_at: Any,
        start: Any,
        start_at: Any,
        c: Any,
        c_at: Any,
        c_step: Any,
        add: Any,
    ) -> Any:
        n = types.intp
        signature = types.void(x, rows, n, steps, n, n, b, n, start, n, c, n, n, types.boolean)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (x, rows, first_row, steps, first_step, count, b, b_at, start, start_at,
             c, c_at, c_step, add) = args  # fmt: skip
            vec = Vectors(context, builder, signature.args[0].dtype)
            index = first_row.type
            x, rows, steps, b, start, c = (
                data_of(context, builder, signature.args[i], array)
                for i, array in ((0, x), (1, rows), (3, steps), (6, b), (8, start), (10, c))
            )
            first = [
                vec.load(offset(builder, start, start_at, index(v * vec.count)))
                for v in range(vectors)
            ]
            pointers, cells, sums = [], [], []
            for i in range(ROWS):
                row = builder.load(offset(builder, rows, first_row, index(i)))
                pointers.append(offset(builder, x, row))
                here = offset(builder, c, c_at, builder.mul(c_step, index(i)))
                for v in range(vectors):
                    cells.append(offset(builder, here, index(v * vec.count)))
                    sums.append(cgutils.alloca_once(builder, vec.type))
                    builder.store(first[v], sums[-1])
            b, steps = offset(builder, b, b_at), offset(builder, steps, first_step)
            with cgutils.for_range(builder, count) as loop:
                step = builder.load(offset(builder, steps, loop.index))
                here = offset(builder, b, builder.mul(loop.index, index(vectors * vec.count)))
                factors = [
                    vec.load(offset(builder, here, index(v * vec.count))) for v in range(vectors)
                ]
                for i in range(ROWS):
                    value = vec.repeat(builder.load(offset(builder, pointers[i], step)))
                    for v in range(vectors):
                        total = sums[i * vectors + v]
                        product = builder.fmul(value, factors[v], flags=("contract",))
                        builder.store(
                            builder.fadd(builder.load(total), product, flags=("contract",)), total
                        )
            # what was there is added last: short sums of short sums lose fewer digits
            with builder.if_then(context.is_true(builder, types.boolean, add)):
                for cell, total in zip(cells, sums, strict=True):
                    builder.store(builder.fadd(builder.load(total), vec.load(cell)), total)
            for cell, total in zip(cells, sums, strict=True):
                vec.store(builder.load(total), cell)
            return context.get_dummy_value()

        return signature, codegen

    return multiply


multiply_1 = _multiply(1)
multiply_2 = _multiply(2)
