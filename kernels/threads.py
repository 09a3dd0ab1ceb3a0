"""Which threads work when: one pool at a time, or they fight for the same cores.

Two pools of threads live in the process: Numba's, which runs the parallel loops of the compiled
kernels, and that of the matrix library (BLAS) behind NumPy's `@`.  They never need to run at once:
compiled kernels do their own arithmetic and never call BLAS, and `@` is only used outside of them.
(Measured on two cores: a product of 64 x 576 x 1024 inside a parallel loop reached 70 GFLOP/s
when BLAS split it again over its own threads, and 110 when it did not.)

What remains is code that starts threads of its own and multiplies matrices in them: it wraps the
work in `single_threaded_blas`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import threadpoolctl


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
    """Handles on the loaded matrix libraries; finding them takes milliseconds, hence the cache."""
    import numpy as np  # noqa: F401  (loads the one that matters)

    return threadpoolctl.ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Inside the block `@` runs on the calling thread alone, in every thread of the process.

    About 10 microseconds to enter and leave, after the first time.
    """
    with _blas().limit(limits=1):
        yield


def limit(count: int) -> None:
    """Let compiled kernels and matrix products use at most `count` threads from now on.

    Args:
        count: at least 1 and at most the number that Numba started with (its
            `NUMBA_NUM_THREADS`, by default the number of cores).

    Raises:
        ValueError: a count out of that range.
    """
    import numba

    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if not 1 <= count <= most:
        raise ValueError(
            f"count: expected 1 to {most} threads, got {count}; "
            "set NUMBA_NUM_THREADS in the environment to start with more"
        )
    numba.set_num_threads(count)
    for library in _blas().lib_controllers:
        library.set_num_threads(count)
