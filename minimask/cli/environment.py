"""What must be set before NumPy loads: threads, BLAS kernels, how memory is kept."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys

THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
)
AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

# mallopt's parameters, from glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def prepare() -> None:
    """Settings that every command wants; what the user has set in the environment stays."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # pictures go to files; no window system needed
    if AVX512 <= cpu_flags():
        # OpenBLAS knows processors by model number and takes its AVX2 kernels on those it does
        # not know, virtual ones above all, which halves the speed of matrix products.
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
    # OpenMP's threads wait for the next parallel loop by spinning; asleep they leave the core to
    # the thread that loads the next batch.  A step of the laptop model takes 15 % less time.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_memory()


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
