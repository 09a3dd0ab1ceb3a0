"""What the threads of a kernel read and write, and what their warps make of it.

The counts come from the host shim's counting build: every access of every thread, as g++ compiles
the kernel.  A GPU's compiler may keep a value in a register that is read twice here, or the other
way round; the pattern is the same.
"""

from __future__ import annotations

import ctypes
import pathlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.kernels.case import Case
from minimask.kernels.host_shim import emulator
from minimask.tools.kernel_lab import values

SHARED = "shared"


class _Count(ctypes.Structure):
    """`ShimCount` of counting.hpp."""

    _fields_ = tuple(
        (name, ctypes.c_double)
        for name in (
            *("reads", "writes", "atomics", "read_bytes", "write_bytes"),
            *("read_requests", "write_requests", "read_transactions", "write_transactions"),
            *("read_least", "write_least"),
        )
    )


class _Conflict(ctypes.Structure):
    """`ShimConflict` of counting.hpp."""

    _fields_ = (
        ("array", ctypes.c_int),
        ("offset", ctypes.c_size_t),
        ("first_block", ctypes.c_uint),
        ("second_block", ctypes.c_uint),
        ("place", ctypes.c_void_p),
        ("write", ctypes.c_int),
    )


@dataclass(frozen=True)
class Traffic:
    """What happened to one array in one launch, or to shared memory.

    A request is one instruction of the threads of a warp at once.  Of global memory it moves
    sectors of 32 bytes; shared memory answers it in rounds, one word of each of 32 banks a round.
    """

    name: str  # the kernel's parameter, or SHARED
    reads: float  # by single threads
    writes: float
    atomics: float
    read_bytes: float
    write_bytes: float
    read_requests: float
    write_requests: float
    read_transactions: float  # sectors or rounds
    write_transactions: float
    read_least: float  # as many as the same bytes need at best
    write_least: float


@dataclass(frozen=True)
class Counted:
    """One launch."""

    program: str  # the file's name
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    threads: int
    traffic: tuple[Traffic, ...]  # the arrays in the order of the arguments, then shared memory
    conflict: str | None  # two blocks met in one word, which on a GPU is a race


def watch(found: list[Counted]) -> emulator.Watcher:
    """A watcher for `emulator.running(kind="count", watcher=...)` that appends every launch."""

    def watcher(launch: emulator.Launch) -> None:
        names = [p.name for p in launch.program.signature(launch.kernel)]
        arrays = [
            (name, a)
            for name, a in zip(names, launch.values, strict=True)
            if isinstance(a, np.ndarray)
        ]
        _begin(launch.library, [a for _, a in arrays])
        launch.run()
        labels = [*(name for name, _ in arrays), SHARED]
        traffic = tuple(
            Traffic(name, *_result(launch.library, i if name != SHARED else -1))
            for i, name in enumerate(labels)
        )
        where = (launch.program.path.name, launch.kernel, launch.grid, launch.block)
        conflict = _conflict(launch, arrays)
        found.append(Counted(*where, launch.threads, traffic, conflict))

    return watcher


def count(op: str, variant: str, case: Case) -> list[Counted]:
    """Run one case in the counting build: what every launch of it reads and writes.

    Raises:
        NoCompiler: the host shim needs g++.
        ValueError: the variant launches no CUDA C++.
    """
    if not values.variants(op)[variant].folder == "cuda":
        raise ValueError(f"{op}, {variant}: only CUDA C++ can be counted, in the host shim")
    found: list[Counted] = []
    with emulator.running(kind="count", watcher=watch(found)):
        values.compute(case, variant)
    return found


def conflicts(op: str, variant: str) -> Iterator[str]:
    """Blocks that meet in one word, in all small cases: one sentence for each case and kernel."""
    for case in values.cases(op, small=True):
        if values.has(op, variant, case.function):
            for launch in count(op, variant, case):
                if launch.conflict:
                    yield f"{launch.conflict} ({case.name})"


def _begin(library: ctypes.CDLL, arrays: Sequence[np.ndarray]) -> None:
    starts = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    sizes = (ctypes.c_size_t * len(arrays))(*(a.nbytes for a in arrays))
    library.shim_count_begin(ctypes.c_int(len(arrays)), starts, sizes)


def _result(library: ctypes.CDLL, array: int) -> list[float]:
    found = _Count()
    if not library.shim_count_result(ctypes.c_int(array), ctypes.byref(found)):
        raise RuntimeError(f"the counting build knows no array {array}")
    return [getattr(found, field[0]) for field in _Count._fields_]


def _conflict(launch: emulator.Launch, arrays: Sequence[tuple[str, np.ndarray]]) -> str | None:
    found = _Conflict()
    if not launch.library.shim_conflict(ctypes.byref(found)):
        return None
    name, array = arrays[found.array]
    index = np.unravel_index(found.offset // array.itemsize, array.shape)
    where = ", ".join(str(int(i)) for i in index)
    place = source_line(pathlib.Path(launch.library._name), found.place) or launch.kernel
    first, second = (_index(b, launch.grid) for b in (found.first_block, found.second_block))
    return (
        f"{place}: blocks {first} and {second} meet in {name}[{where}], and at least one writes "
        "without an atomic; blocks run in no order"
    )


def _index(block: int, grid: Sequence[int]) -> tuple[int, int, int]:
    return block % grid[0], block // grid[0] % grid[1], block // (grid[0] * grid[1])


def source_line(library: pathlib.Path, address: int) -> str | None:
    """The line of a kernel file, "name.cu:12", that an address inside a loaded library is from."""
    base = _base(library)
    if base is None or shutil.which("addr2line") is None:
        return None
    # one back from where the call returns to, so that it is the call's own line; -i: functions
    # may have been inlined into the kernel, and the innermost line of a kernel file counts
    command = ["addr2line", "-i", "-e", str(library), hex(address - base - 1)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        path, _, number = line.split(" (")[0].rpartition(":")
        if path.endswith((".cu", ".cuh")):
            return f"{pathlib.Path(path).name}:{number}"
    return None


def _base(library: pathlib.Path) -> int | None:
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        words: list[Any] = line.split(maxsplit=5)
        if len(words) == 6 and words[5] == str(library):
            return int(words[0].split("-")[0], 16) - int(words[2], 16)
    return None
