"""Matrix products inside compiled kernels, on blocks of larger arrays.

`np.dot` in Numba takes whole contiguous matrices.  A tiled convolution multiplies blocks that lie
inside larger arrays and adds the result to another block, which is what BLAS's `gemm` is for:
leading dimensions, a transposition flag for each factor, and `beta`.  The pointer to SciPy's
`sgemm` or `dgemm` is passed to the kernel as a number, so that compiled kernels can be cached.
"""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from minimask.kernels import threads


@functools.cache
def gemm_address(dtype: np.dtype) -> int:
    """Where SciPy's matrix product for float32 or float64 lies in memory, to pass to a kernel."""
    threads.make_kernel_blas_serial()
    name = {"f4": "sgemm", "f8": "dgemm"}[np.dtype(dtype).str[1:]]
    return int(get_cython_function_address("scipy.linalg.cython_blas", name))


@intrinsic
def gemm(
    typingctx: Any,
    address: Any,
    transpose_a: Any,
    transpose_b: Any,
    rows: Any,
    columns: Any,
    inner: Any,
    a: Any,
    a_at: Any,
    a_step: Any,
    b: Any,
    b_at: Any,
    b_step: Any,
    beta: Any,
    c: Any,
    c_at: Any,
    c_step: Any,
) -> Any:
    """C = A B + beta C, row-major blocks: C (rows, columns), A (rows, inner), B (inner, columns).

    Each block starts `_at` elements into its array and its rows lie `_step` elements apart.  With
    `transpose_a` (0 or 1) A is stored as (inner, rows); likewise B.  Nothing is checked.
    """
    element = a.dtype
    if not all(isinstance(t, types.Array) and t.dtype == element for t in (a, b, c)):
        return None
    number = types.intp
    signature = types.void(
        types.intp, number, number, number, number, number,
        a, number, number, b, number, number, element, c, number, number,
    )  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (address, trans_a, trans_b, rows, columns, inner,
         a, a_at, a_step, b, b_at, b_step, beta, c, c_at, c_step) = args  # fmt: skip
        char, integer = ir.IntType(8), ir.IntType(32)
        real = context.get_value_type(element)

        def pointer_to(value: Any) -> Any:
            place = cgutils.alloca_once(builder, value.type)
            builder.store(value, place)
            return place

        def pointer_to_int(value: Any) -> Any:
            return pointer_to(builder.trunc(value, integer))

        def pointer_to_flag(value: Any) -> Any:
            is_set = builder.icmp_signed("!=", value, value.type(0))
            return pointer_to(builder.select(is_set, char(ord("T")), char(ord("N"))))

        def block(array_type: Any, array: Any, at: Any) -> Any:
            data = context.make_array(array_type)(context, builder, array).data
            return builder.gep(data, [at])

        # Fortran reads a row-major matrix as its transpose, so ask it for C' = B' A'
        values = [
            pointer_to_flag(trans_b), pointer_to_flag(trans_a),
            pointer_to_int(columns), pointer_to_int(rows), pointer_to_int(inner),
            pointer_to(real(1.0)),
            block(signature.args[9], b, b_at), pointer_to_int(b_step),
            block(signature.args[6], a, a_at), pointer_to_int(a_step),
            pointer_to(beta),
            block(signature.args[13], c, c_at), pointer_to_int(c_step),
        ]  # fmt: skip
        function = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(address, function.as_pointer()), values)
        return context.get_dummy_value()

    return signature, codegen
