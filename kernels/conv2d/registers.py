# mypy: disable-error-code="import-untyped"
"""The two innermost loops of the compiled convolution, written as vector instructions.

A core's arithmetic is fastest when its vector registers hold a small block of the result and stay
there: every number that is loaded is then used several times.  Numba cannot say "keep these
sixteen vectors in registers", so these two functions are spelled out for the compiler below it
(LLVM).  In NumPy they read

    multiply:   c[i, j] (+)= start[j] + sum over s of x[rows[i] + steps[s]] * b[s, j]
    transpose:  out[j, i] = x[i, j]

`multiply` is a matrix product whose left factor is not stored: its element (i, s) is looked up at
`rows[i] + steps[s]`.  With the offsets of output pixels as rows and the offsets of a window's
pixels as steps, that factor is the matrix of all windows, and nothing has been copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _machine() -> tuple[int, int]:
    """Bytes per vector register, and rows of a block such that all its vectors fit."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 8  # 32 registers: 8 rows x 2 vectors, their factors, and room
    if features.get("avx"):
        return 32, 6  # 16 registers
    return 16, 8 if "aarch64" in llvmlite.binding.get_default_triple() else 6


BYTES, ROWS = _machine()


def lanes(itemsize: int) -> int:
    """Numbers of `itemsize` bytes in one vector register."""
    return BYTES // itemsize


def data_of(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """The pointer to an array's first number."""
    return context.make_array(array_type)(context, builder, array).data


def offset(builder: Any, pointer: Any, *terms: Any) -> Any:
    """The pointer so many numbers further on."""
    for term in terms:
        pointer = builder.gep(pointer, [term])
    return pointer


class Vectors:
    """Loads and stores of vectors of one element type at any address."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.builder, self.size = builder, dtype.bitwidth // 8
        self.count = lanes(self.size)
        self.type = ir.VectorType(context.get_value_type(dtype), self.count)

    def load(self, pointer: Any) -> Any:
        """A register full of the numbers from `pointer` on."""
        value = self.builder.load(self.builder.bitcast(pointer, self.type.as_pointer()))
        value.align = self.size
        return value

    def store(self, value: Any, pointer: Any) -> None:
        """Write a register's numbers from `pointer` on."""
        place = self.builder.bitcast(pointer, self.type.as_pointer())
        self.builder.store(value, place).align = self.size

    def shuffle(self, a: Any, b: Any, order: list[int]) -> Any:
        """Numbers picked from a and, counting on, from b."""
        number = ir.IntType(32)
        mask = ir.Constant(ir.VectorType(number, len(order)), [number(i) for i in order])
        return self.builder.shuffle_vector(a, b, mask)

    def repeat(self, value: Any) -> Any:
        """One number in all lanes."""
        nothing = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(nothing, value, ir.IntType(32)(0))
        return self.shuffle(first, nothing, [0] * self.count)


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


def _turned(vec: Vectors, x: Any, x_step: Any) -> list[Any]:
    """The columns of a square as wide as a register, whose rows lie `x_step` numbers apart."""
    builder, index, count = vec.builder, x_step.type, vec.count
    values = [vec.load(offset(builder, x, builder.mul(x_step, index(i)))) for i in range(count)]
    # swap the off-diagonal halves of ever smaller squares: count, count / 2, ... 2
    half = count // 2
    while half:
        low = [j if not j & half else j - half + count for j in range(count)]
        high = [j + half if not j & half else j + count for j in range(count)]
        for i in range(count):
            if not i & half:
                a, b = values[i], values[i + half]
                values[i], values[i + half] = vec.shuffle(a, b, low), vec.shuffle(a, b, high)
        half //= 2
    return values


@intrinsic
def transpose_block(
    typingctx: Any, x: Any, x_at: Any, x_step: Any, out: Any, out_at: Any, out_step: Any
) -> Any:
    """Transpose a square as wide as a vector register."""
    n = types.intp
    signature = types.void(x, n, n, out, n, n)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_at, x_step, out, out_at, out_step = args
        vec = Vectors(context, builder, signature.args[0].dtype)
        x = offset(builder, data_of(context, builder, signature.args[0], x), x_at)
        out = offset(builder, data_of(context, builder, signature.args[3], out), out_at)
        for i, value in enumerate(_turned(vec, x, x_step)):
            vec.store(value, offset(builder, out, builder.mul(out_step, out_step.type(i))))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def transpose_to(
    typingctx: Any, x: Any, x_at: Any, x_step: Any, out: Any, out_at: Any, places: Any, first: Any
) -> Any:
    """Transpose a square; row i of the result goes to `out_at + places[first + i]`."""
    n = types.intp
    signature = types.void(x, n, n, out, n, places, n)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_at, x_step, out, out_at, places, first = args
        vec = Vectors(context, builder, signature.args[0].dtype)
        x = offset(builder, data_of(context, builder, signature.args[0], x), x_at)
        out = offset(builder, data_of(context, builder, signature.args[3], out), out_at)
        places = offset(builder, data_of(context, builder, signature.args[5], places), first)
        for i, value in enumerate(_turned(vec, x, x_step)):
            place = builder.load(offset(builder, places, first.type(i)))
            vec.store(value, offset(builder, out, place))
        return context.get_dummy_value()

    return signature, codegen
