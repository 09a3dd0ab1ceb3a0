"""ReLU in Numba-CUDA, twin of rung_1_naive.cu: one thread a value."""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from numba import float32

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.numba_cuda import cuda, jit, launch


@jit
def relu_forward_kernel(x, residual, add, y):
    """Flat arrays; `residual` is read only if `add` is not 0."""
    t = cuda.grid(1)
    if t >= y.size:
        return
    value = x[t] + residual[t] if add else x[t]
    y[t] = float32(0) if value < float32(0) else value  # NaN is not less


@jit
def relu_backward_kernel(grad, y, dx):
    """Flat arrays."""
    t = cuda.grid(1)
    if t < dx.size:
        dx[t] = grad[t] if y[t] > float32(0) else float32(0)


def relu(x: Any, residual: Any) -> Any:
    """max(x + residual, 0)."""
    require_float32(x=x)
    values, y = contiguous("x", x).reshape(-1), empty(x.shape, x.dtype, x)
    other = values if residual is None else contiguous("residual", residual).reshape(-1)
    add = int(residual is not None)
    launch(relu_forward_kernel, blocks(y.size, 64), 64, values, other, add, y.reshape(-1))
    return y


def relu_backward(grad: Any, y: Any) -> Any:
    """Grad where the output is positive."""
    require_float32(grad=grad)
    values, outputs = contiguous("grad", grad).reshape(-1), contiguous("y", y).reshape(-1)
    dx = empty(grad.shape, grad.dtype, grad)
    launch(relu_backward_kernel, blocks(dx.size, 64), 64, values, outputs, dx.reshape(-1))
    return dx
