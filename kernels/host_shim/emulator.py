"""Launch a kernel in the host shim, with the very arguments it would get on a GPU.

The order of threads and blocks is drawn by a seed: 0 counts up, 1 counts down, others are random.
A kernel whose result depends on it is wrong, unless it says so.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import functools
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from minimask.kernels.host_shim.build import library

Program: TypeAlias = Any  # that of launch.py, which calls `launch` below
FAILURES = {1: "deadlock", 2: "divergent barriers", 3: "too large"}


class KernelError(RuntimeError):
    """A kernel that a GPU could not run to its end: a deadlock, a barrier not all threads reach."""


@dataclass(frozen=True)
class Launch:
    """One launch as it happened, for whoever watches (see `watching`)."""

    program: Program
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    values: Sequence[Any]
    library: ctypes.CDLL
    run: Callable[[], None]

    @property
    def threads(self) -> int:
        """How many threads it has in all."""
        return math.prod(self.grid) * math.prod(self.block)


Watcher = Callable[[Launch], None]
_seed: contextvars.ContextVar[int] = contextvars.ContextVar("shim_seed", default=0)
_kind: contextvars.ContextVar[str] = contextvars.ContextVar("shim_kind", default="plain")
_watcher: contextvars.ContextVar[Watcher | None] = contextvars.ContextVar("watcher", default=None)


@contextlib.contextmanager
def running(
    *, seed: int | None = None, kind: str | None = None, watcher: Watcher | None = None
) -> Iterator[None]:
    """How kernels run in the block: the order of threads, the kind of build, who watches.

    Args:
        seed: of the order of threads and blocks, 0 to 2**31 - 1.
        kind: a name in `build.KINDS`; the sanitizers need a process prepared for them.
        watcher: called for every launch; it must call `launch.run()`.
    """
    given: list[tuple[contextvars.ContextVar[Any], Any]]
    given = [(_seed, seed), (_kind, kind), (_watcher, watcher)]
    tokens = [(setting, setting.set(value)) for setting, value in given if value is not None]
    try:
        yield
    finally:
        for setting, token in reversed(tokens):
            setting.reset(token)


def launch(
    program: Program,
    kernel: str,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    values: Sequence[Any],
    shared: int,
) -> None:
    """Run a kernel on NumPy arrays; `Program.launch` has checked the arguments.

    Raises:
        KernelError: the kernel deadlocks, or threads wait at different barriers.
    """
    compiled = load(library(program.source(), _kind.get()))
    shape = (ctypes.c_uint * 6)(*grid, *block)
    boxes = [_box(value) for value in values]
    pointers = [ctypes.cast(ctypes.pointer(b), ctypes.c_void_p) for b in boxes]
    arguments = (ctypes.c_void_p * len(boxes))(*pointers)
    entry = getattr(compiled, f"host_{kernel}")

    def run() -> None:
        failed = entry(shape, ctypes.c_size_t(shared), arguments, ctypes.c_uint(_seed.get()))
        if failed:
            raise KernelError(f"{program.path.name}, {kernel}: {compiled.shim_error().decode()}")

    watcher = _watcher.get()
    if watcher is None:
        run()
    else:
        watcher(Launch(program, kernel, grid, block, values, compiled, run))


@functools.cache
def load(path: pathlib.Path) -> ctypes.CDLL:
    """The compiled library, opened once."""
    compiled = ctypes.CDLL(str(path))
    compiled.shim_error.restype = ctypes.c_char_p
    return compiled


def _box(value: Any) -> Any:
    """A ctypes object that holds the argument: the address of an array, or the number."""
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return np.ctypeslib.as_ctypes_type(value.dtype)(value.item())
