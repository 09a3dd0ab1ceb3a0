# mypy: disable-error-code="import-untyped"
"""Vector registers for compiled loops: what Numba cannot be told is spelled out for LLVM below it.

Functions here are written in LLVM's own terms, as `intrinsic`s that Numba puts into its loops.  In
NumPy they read

    transpose_block:   out[j, i] = x[i, j]
    transpose_to:      out[places[j], i] = x[i, j]
"""

from __future__ import annotations

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

    def load_first(self, pointer: Any, count: Any) -> Any:
        """The first `count` numbers from `pointer` on, and zeros; what follows is not read."""
        builder, number = self.builder, ir.IntType(8 * self.size)
        lanes_of = ir.VectorType(number, self.count)
        nothing = ir.Constant(lanes_of, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), self.count), None)
        limit = builder.insert_element(nothing, builder.trunc(count, number), ir.IntType(32)(0))
        limits = builder.shuffle_vector(limit, nothing, first)
        places = ir.Constant(lanes_of, [number(i) for i in range(self.count)])
        mask = builder.icmp_signed("<", places, limits)
        place = builder.bitcast(pointer, self.type.as_pointer())
        kind = ir.FunctionType(self.type, [place.type, ir.IntType(32), mask.type, self.type])
        name = f"llvm.masked.load.v{self.count}f{8 * self.size}.p0"
        load = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(load, [place, ir.IntType(32)(self.size), mask, self.type(None)])

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
