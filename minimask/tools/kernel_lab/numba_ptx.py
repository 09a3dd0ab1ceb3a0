"""Numba-CUDA kernels to PTX, in a process of its own and without a driver.

The kernels are found by running the rung on its small cases with a launcher that only notes which
kernel was launched with which types of arguments.  Run by `compile_gate.py`.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import json
import sys
import types
from typing import Any

import numpy as np


def main(op: str, variant: str, architectures: list[int]) -> dict[int, dict[str, str]]:
    """For each architecture the PTX of every kernel of a rung, by the kernel's name."""
    from numba import types as nb
    from numba.cuda import compile_ptx

    from minimask.kernels import numba_cuda
    from minimask.tools.kernel_lab import values

    without_a_driver(architectures[0])
    launched: dict[str, tuple[Any, Any]] = {}

    def note(kernel: Any, grid: Any, block: Any, *arguments: Any) -> None:
        signature = nb.void(*(typeof(nb, a) for a in arguments))
        launched[kernel.py_func.__name__] = (kernel, signature)

    numba_cuda.launch = note
    for case in values.cases(op, small=True):
        if values.has(op, variant, case.function):
            module = values.module(op, variant)
            module.launch = note
            values.compute(case, variant)
    made: dict[int, dict[str, str]] = {}
    for architecture in architectures:
        capability = without_a_driver(architecture)
        made[architecture] = {
            name: compile_ptx(kernel.py_func, signature, cc=capability)[0]
            for name, (kernel, signature) in launched.items()
        }
    return made


def without_a_driver(architecture: int) -> tuple[int, int]:
    """Let Numba compile where there is no driver; returns the compute capability.

    Typing a kernel that calls a device function asks the driver which device there is.
    """
    from numba.cuda import dispatcher

    capability = divmod(architecture, 10)
    dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=capability)
    return capability


def typeof(nb: Any, argument: Any) -> Any:
    """The type Numba gives an argument at launch."""
    from numba import typeof as numba_typeof

    if isinstance(argument, np.ndarray):
        return nb.Array(numba_typeof(argument).dtype, argument.ndim, "C")
    return numba_typeof(argument)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], [int(a) for a in sys.argv[3:]])), flush=True)
