# mypy: disable-error-code="import-untyped"
"""The small matrices of Winograd's convolution, and the loop that applies them.

A 3x3 window at 4x4 neighboring positions takes 144 products per channel.  Winograd (1980; for
networks: Lavin & Gray 2016) needs 36: in one dimension, filtering is a product of polynomials, and
a product is determined by its values at enough points, here 0, +-a, +-b and infinity.  With

    y = A [ (G w G') * (B d B') ] A'        d (6, 6) pixels, w (3, 3) weights, y (4, 4) outputs

`*` is elementwise; summed over channels each of the 36 elements is a matrix product of its own.

The textbook's points 1 and 2 make large numbers cancel: an error of 5e-6 of the largest output in
float32.  3/4 and 3/2 keep it near 1e-6, and B and A stay exact in binary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minimask.kernels.vectors import Vectors, data_of, offset

OUT, TILE = 4, 6  # outputs and pixels of a tile, in each direction
ELEMENTS = TILE * TILE


def matrices(a: float, b: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A (4, 6), B (6, 6) and G (6, 3) for the points 0, a, -a, b, -b and infinity."""
    points = [0.0, a, -a, b, -b]
    A = np.zeros((OUT, TILE))
    G = np.zeros((TILE, 3))
    B = np.zeros((TILE, TILE))
    for k, p in enumerate(points):
        others = [q for q in points if q != p]
        A[:, k] = p ** np.arange(OUT)
        G[k] = p ** np.arange(3) / np.prod([p - q for q in others])
        B[k, :5] = np.poly(others)[::-1]  # the polynomial that is 0 at all other points
    A[-1, -1] = G[-1, -1] = 1
    B[-1] = np.poly(points)[::-1]
    return A, B, G


A, B, G = matrices(3 / 4, 3 / 2)


def _sandwich(matrix: np.ndarray) -> Callable[..., Any]:
    """A compiled `out = M x M'` for a vector register full of small matrices at once.

    Element (r, s) of x starts at `x_at + r x_row + s x_column` and is as long as a register; in the
    same way (i, j) of out.
    """

    def apply(builder: Any, vec: Vectors, values: list[Any]) -> list[Any]:
        results = []
        for row in matrix:
            total = None
            for factor, value in zip(row, values, strict=True):
                if factor:
                    number = ir.Constant(vec.type, [vec.type.element(float(factor))] * vec.count)
                    term = value if factor == 1 else builder.fmul(value, number, ("contract",))
                    total = term if total is None else builder.fadd(total, term, ("contract",))
            results.append(total)
        return results

    @intrinsic
    def sandwich(
        typingctx: Any,
        x: Any,
        x_at: Any,
        x_row: Any,
        x_column: Any,
        out: Any,
        out_at: Any,
        out_row: Any,
        out_column: Any,
    ) -> Any:
        n = types.intp
        signature = types.void(x, n, n, n, out, n, n, n)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, x_at, x_row, x_column, out, out_at, out_row, out_column = args
            vec = Vectors(context, builder, signature.args[0].dtype)
            x = offset(builder, data_of(context, builder, signature.args[0], x), x_at)
            out = offset(builder, data_of(context, builder, signature.args[4], out), out_at)

            def place(pointer: Any, row: Any, column: Any, i: int, j: int) -> Any:
                index = row.type
                down = builder.mul(row, index(i))
                return offset(builder, pointer, down, builder.mul(column, index(j)))

            size = matrix.shape[1]
            columns = [
                apply(
                    builder,
                    vec,
                    [vec.load(place(x, x_row, x_column, r, s)) for r in range(size)],
                )
                for s in range(size)
            ]
            for i in range(matrix.shape[0]):
                row = apply(builder, vec, [column[i] for column in columns])
                for j, value in enumerate(row):
                    vec.store(value, place(out, out_row, out_column, i, j))
            return context.get_dummy_value()

        return signature, codegen

    return sandwich


pixels_in = _sandwich(B)  # d -> B d B'
filter_in = _sandwich(G)  # w -> G w G'
sums_out = _sandwich(A)  # m -> A m A'
grad_in = _sandwich(A.T)  # dy -> A' dy A, the adjoint of `sums_out`
filter_out = _sandwich(G.T)  # du -> G' du G, the adjoint of `filter_in`
