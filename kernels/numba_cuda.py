"""The one place that imports Numba's CUDA target: `cuda`, and `jit` for kernels.

Kernels get no signature: with one, Numba compiles at import, which fails where there is no driver.
In a process started with NUMBA_ENABLE_CUDASIM=1 the same kernels run in Numba's simulator, one
Python thread per CUDA thread, on NumPy arrays; elsewhere they run on CuPy arrays on a GPU.

Numba computes `i * x[0]`, with an index `i` and a float32 `x`, in float64, and the simulator does
not: write `float32(i) * x[0]`.  The compile gate looks for float64 in what Numba makes of a kernel.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import os
from typing import Any

# Without this Numba waits for the GPU at every launch that gets a CuPy array.  Launches go to
# CuPy's own stream, where the order is right by itself.
os.environ.setdefault("NUMBA_CUDA_ARRAY_INTERFACE_SYNC", "0")

from numba import config
from numba import cuda as numba_cuda

from minimask.kernels.launch import check_shape

cuda: Any = numba_cuda  # inside a kernel its names mean other things than type checkers see
SIMULATED = bool(getattr(config, "ENABLE_CUDASIM", False))


class NotSimulated(RuntimeError):
    """NumPy arrays came to a Numba-CUDA kernel outside the simulator."""


def jit(kernel: Any) -> Any:
    """A kernel, compiled when first launched."""
    return cuda.jit(kernel)


def device(function: Any) -> Any:
    """A function that kernels call; compiled into them, so that no driver is asked for it."""
    return (
        cuda.jit(function, device=True)
        if SIMULATED
        else cuda.jit(function, device=True, inline="always")
    )


def launch(kernel: Any, grid: Any, block: Any, *arguments: Any) -> None:
    """Run `kernel` with `grid` blocks of `block` threads on CuPy arrays, or simulate it.

    Raises:
        NotSimulated: NumPy arrays, and the process was not started for the simulator.
        ValueError: a grid or block no GPU could launch.
    """
    blocks, threads = check_shape(kernel.__name__, grid, block, 0)
    if 0 in blocks:
        return
    arrays = [a for a in arguments if hasattr(a, "dtype") and hasattr(a, "flags")]
    if all(hasattr(a, "__cuda_array_interface__") for a in arrays):
        import cupy

        stream = cuda.external_stream(cupy.cuda.get_current_stream().ptr)
        kernel[blocks, threads, stream](*arguments)
        return
    if not SIMULATED:
        raise NotSimulated(
            f"{kernel.__name__}: a Numba-CUDA kernel runs on NumPy arrays only in Numba's "
            "simulator; start Python with NUMBA_ENABLE_CUDASIM=1"
        )
    kernel[blocks, threads](*arguments)
