"""Which thread pool works when: one pool at a time, or they fight for the same cores.

Three pools live in one process: Numba's (parallel loops), the BLAS that NumPy brings (`@`), and
the BLAS that SciPy brings (what compiled kernels call).  A kernel splits its work over Numba's
pool and lets every worker call BLAS on its own block; if that BLAS were to split the block
again, two pools of threads would wait for each other's cores (measured on two cores: 70 instead
of 110 GFLOP/s).  So SciPy's copy is set to one thread, once, when the first kernel is loaded:
nothing else in the package uses it.  NumPy's copy keeps its threads, as `@` runs outside kernels.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController


@functools.cache
def _controllers() -> dict[str, ThreadpoolController]:
    """Handles on the loaded BLAS libraries by who brought them: "scipy" or "numpy".

    Finding them reads the process's list of libraries (milliseconds), hence the cache.  SciPy's is
    loaded here so that it is among them.
    """
    import scipy.linalg.blas  # noqa: F401

    everything = ThreadpoolController()
    found = {}
    for owner in ("scipy", "numpy"):
        paths = [
            info["filepath"]
            for info in everything.info()
            if info["user_api"] == "blas" and _brought_by(owner, info["filepath"])
        ]
        found[owner] = everything.select(filepath=paths)
    return found


def _brought_by(owner: str, path: str) -> bool:
    """Whether a library lies in the folder of the wheel `owner`, e.g. `scipy.libs/`."""
    return any(part.partition(".")[0] == owner for part in pathlib.PurePath(path).parts)


@functools.cache
def make_kernel_blas_serial() -> bool:
    """Set the BLAS that compiled kernels call to one thread, for the life of the process.

    Returns whether there is such a library of its own.  Where NumPy and SciPy share one system
    BLAS it is left alone, as that would slow down every `@`: kernels then enter
    `single_threaded_blas` around each call.
    """
    own = _controllers()["scipy"]
    for library in own.lib_controllers:
        library.set_num_threads(1)
    return bool(own.lib_controllers)


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Inside the block every BLAS of the process runs on the calling thread alone.

    For code that brings its own threads: a parallel kernel where NumPy and SciPy share one BLAS,
    or several Python threads that each multiply matrices.  Costs about 10 microseconds.
    """
    with _all_blas().limit(limits=1):
        yield


@functools.cache
def _all_blas() -> ThreadpoolController:
    import scipy.linalg.blas  # noqa: F401

    return ThreadpoolController().select(user_api="blas")
