"""What must be set before NumPy loads: BLAS kernels, threads, how memory is kept.

The command `minimask` does this by itself.  A script or notebook asks for it in its first lines:

    import minimask as mm
    mm.runtime.prepare()          # before anything that imports NumPy
    import numpy as np

MINIMASK_KEEP_ENVIRONMENT=1 in the environment leaves everything as it is; a single variable that
is set already, to nothing also, is left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Mapping

KEEP = "MINIMASK_KEEP_ENVIRONMENT"
CORETYPE = "OPENBLAS_CORETYPE"
WIDE_KERNELS = "SkylakeX"  # OpenBLAS's name of its kernels for AVX-512
THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
)
AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

# mallopt's parameters, from glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4

_made: dict[str, str] = {}  # the environment is the process's, and so is what was done to it


def prepare() -> None:
    """Make the settings that every command wants; what the user has set stays.

    Raises:
        RuntimeError: NumPy is loaded already, and has read the environment without them.
    """
    if kept():
        return
    wanted = settings(cpu_flags(), os.environ)  # nothing at a second call
    if wanted and "numpy" in sys.modules:
        raise RuntimeError(
            "runtime.prepare: NumPy is loaded already, and reads its settings only once; call this "
            "first in the program (in a notebook: restart the kernel)"
        )
    os.environ.update(wanted)
    _made.update(wanted)
    keep_memory()


def settings(flags: set[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to set.

    Args:
        flags: the processor's instruction sets, as /proc/cpuinfo names them.
        environment: variables that it has are left out.
    """
    wanted = {
        # OpenMP's threads wait for the next parallel loop by spinning; asleep they leave the core
        # to the thread that loads the next batch.  A step of the laptop model takes 15 % less time.
        "OMP_WAIT_POLICY": "passive",
        # But waking one takes as long as many a loop, so they spin for some ten thousand rounds, a
        # fraction of a millisecond, first (GNU's OpenMP): 8 % less for that step, 30 % for a batch
        # of one image.
        "GOMP_SPINCOUNT": "10000",
        # OpenBLAS's threads spin for 2^28 clock cycles after a matrix product, a tenth of a second
        # in which the kernels' own threads share the cores with them.  After 2^12, a microsecond,
        # they sleep: another quarter of that step.
        "OPENBLAS_THREAD_TIMEOUT": "12",
    }
    if flags >= AVX512:
        # OpenBLAS knows processors by model number and takes its AVX2 kernels on those it does not
        # know, virtual and new ones above all: up to half the speed of matrix products.
        wanted[CORETYPE] = WIDE_KERNELS
    return {name: value for name, value in wanted.items() if name not in environment}


def made() -> dict[str, str]:
    """The variables that `prepare` has set in this process."""
    return dict(_made)


def kept() -> bool:
    """Whether the user wants the environment left as it is."""
    return os.environ.get(KEEP, "") not in ("", "0")


def use_threads(count: int | None) -> None:
    """Let every library use `count` threads (None: as many as it likes).

    Raises:
        RuntimeError: NumPy is loaded already, which reads these variables only once.
    """
    if count is None:
        return
    if "numpy" in sys.modules:
        raise RuntimeError("the number of threads must be set before NumPy is imported")
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)


def cpu_flags() -> set[str]:
    """The processor's instruction sets; empty where the system has no /proc/cpuinfo."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return set()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("flags"):
                return set(line.partition(":")[2].split())
    return set()


def keep_memory() -> None:
    """Let this process keep freed memory for its next arrays (Linux with glibc; else nothing).

    By default large arrays are handed back to the system when freed, and the next one of the same
    size is fetched, and zeroed, page by page again: in every step of training, for every layer.
    """
    if not sys.platform.startswith("linux") or any(n.startswith("MALLOC_") for n in os.environ):
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 64 * 2**20)
