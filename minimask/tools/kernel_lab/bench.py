"""How long the rungs of an operation take, and how much of the machine that uses.

On the CPU the compiled rungs; where there is a GPU its ladder, timed by the GPU's own events, with
its caches emptied before every run, beside what torch has for the same thing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask import kernels
from minimask.kernels.case import Workload
from minimask.kernels.dispatch import unchecked
from minimask.kernels.sources import ROOT
from minimask.system import environment
from minimask.tools.kernel_lab import values

Call = Callable[[], Any]
SECONDS = 1.0  # for the runs of one variant
MOST_RUNS = 100
FLUSH_BYTES = 256 << 20  # more than any GPU's cache holds


@dataclass(frozen=True)
class Ceilings:
    """What this machine reaches at best, measured."""

    device: str
    copy: float  # GB/s, read and written together
    matrix: float  # GFLOP/s of a float32 matrix product
    matrix_tf32: float | None = None  # the same on tensor cores; GPU only


@dataclass(frozen=True)
class Measure:
    """One variant, or a peer, on one workload."""

    op: str
    function: str
    workload: str
    variant: str
    device: str  # "cpu" or "gpu"
    ms: float  # the median
    best_ms: float
    runs: int
    bytes: float
    operations: float
    peer: bool = False  # a library's function instead of a rung

    @property
    def bandwidth(self) -> float:
        """GB/s of the bytes that must be moved, whatever the variant moves besides."""
        return self.bytes / self.ms / 1e6

    @property
    def rate(self) -> float:
        """GFLOP/s of the operations of the definition."""
        return self.operations / self.ms / 1e6


def bench(
    op: str,
    variants: Sequence[str] = (),
    *,
    gpu: bool | None = None,
    small: bool = False,
    seconds: float = SECONDS,
) -> Iterator[Measure]:
    """Time an operation's rungs, all of one device by default, slowest to fastest.

    Args:
        op: the operation's folder.
        variants: names of rungs; none: all of the device, but not the reference, which is written
            to be read and takes minutes for some workloads.
        gpu: time on the GPU; default: if there is one.
        small: the largest of its cases for each function, instead of a real model's sizes.
        seconds: for the runs of one variant.

    Raises:
        ValueError: no such rung, or none on this device.
    """
    from minimask.tools.kernel_lab.tiers import why_no_gpu

    gpu = why_no_gpu() is None if gpu is None else gpu
    device = "gpu" if gpu else "cpu"
    ladder = values.variants(op)
    for name in variants:
        if name not in ladder or ladder[name].device != device:
            mine = ", ".join(n for n, v in ladder.items() if v.device == device)
            raise ValueError(f"{op}: no {device} variant {name!r} to time here; there is {mine}")
    here = [n for n, v in ladder.items() if v.device == device and (small or n != "reference")]
    names = variants or here
    for work in small_workloads(op) if small else workloads(op):
        if gpu:
            work = dataclasses.replace(work, arguments=values.on_gpu(work.arguments))
        for name in names:
            if values.has(op, name, work.function):
                call: Call = functools.partial(
                    getattr(kernels, work.function), *work.arguments, **work.options, variant=name
                )
                yield measure(op, work, name, call, gpu=gpu, seconds=seconds)
        if gpu:
            for label, call in peers(work).items():
                yield measure(op, work, label, call, gpu=True, seconds=seconds, peer=True)


def workloads(op: str) -> Iterator[Workload]:
    """What a real model asks of an operation."""
    module = importlib.import_module(f"minimask.kernels.{op}.cases")
    yield from module.workloads()


def small_workloads(op: str) -> Iterator[Workload]:
    """For each function the largest of the operation's cases; what it computes is not counted."""
    largest: dict[str, Workload] = {}
    for case in values.cases(op):
        size = float(sum(a.nbytes for a in arrays(case.arguments)))
        if case.function not in largest or size > largest[case.function].bytes:
            largest[case.function] = Workload(
                case.name, case.function, case.arguments, case.options, bytes=size
            )
    yield from largest.values()


def arrays(value: Any) -> Iterator[np.ndarray]:
    """The arrays among arguments, those in tuples included."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from arrays(item)


def measure(
    op: str, work: Workload, name: str, call: Call, *, gpu: bool, seconds: float, peer: bool = False
) -> Measure:
    """Time one call."""
    with unchecked():  # no look at values that waits for the GPU
        times = time_gpu(call, seconds) if gpu else time_cpu(call, seconds)
    where = (op, work.function, work.name, name, "gpu" if gpu else "cpu")
    median, best = statistics.median(times), min(times)
    return Measure(*where, median, best, len(times), work.bytes, work.operations, peer)


def time_cpu(call: Call, seconds: float = SECONDS) -> list[float]:
    """Milliseconds of every run, after one that compiles and warms up.

    A call that takes longer than `seconds` runs once more and no oftener.
    """
    call()
    times: list[float] = []
    while not times or (sum(times) < 1e3 * seconds and len(times) < MOST_RUNS):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def time_gpu(call: Call, seconds: float = SECONDS, *, flush: bool = True) -> list[float]:
    """Milliseconds of every run between two events of the GPU, caches emptied before each.

    Emptying them also gives the CPU time to queue the launches, so that its own time between two
    launches does not count unless it is longer than the kernels.
    """
    import cupy

    for _ in range(3):
        call()
    scratch = cupy.empty(FLUSH_BYTES, cupy.uint8) if flush else None
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    times: list[float] = []
    while not times or (sum(times) < 1e3 * seconds and len(times) < MOST_RUNS):
        if scratch is not None:
            scratch.fill(0)
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end))
    return times


# ---- what the machine reaches


def ceilings(*, gpu: bool, seconds: float = SECONDS) -> Ceilings:
    """Measure how fast this machine copies and multiplies matrices."""
    return _ceilings_gpu(seconds) if gpu else _ceilings_cpu(seconds)


def _ceilings_cpu(seconds: float) -> Ceilings:
    cores = environment.usable_cores()
    parts = [(np.ones(8 << 20, np.float32), np.empty(8 << 20, np.float32)) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))

        copied = min(time_cpu(copy, seconds / 2))
    moved = 2.0 * sum(source.nbytes for source, _ in parts)
    side = 1024
    a = np.ones((side, side), np.float32)
    multiplied = min(time_cpu(lambda: a @ a, seconds / 2))
    name = environment.processor().facts.get("processor", "CPU")
    return Ceilings(
        f"{name}, {cores} cores", moved / copied / 1e6, 2.0 * side**3 / multiplied / 1e6
    )


def _ceilings_gpu(seconds: float) -> Ceilings:
    import cupy

    source, side = cupy.zeros(64 << 20, cupy.float32), 4096
    target, a = cupy.empty_like(source), cupy.ones((side, side), cupy.float32)
    copied = min(time_gpu(lambda: cupy.copyto(target, source), seconds / 2))
    rates = {}
    for tf32 in (False, True):
        with _products(tf32):
            rates[tf32] = 2.0 * side**3 / min(time_gpu(lambda: a @ a, seconds / 2)) / 1e6
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    return Ceilings(name, 2.0 * source.nbytes / copied / 1e6, rates[False], rates[True])


@contextlib.contextmanager
def _products(tf32: bool) -> Iterator[None]:
    """How CuPy multiplies float32 matrices inside the block: as they are, or on tensor cores."""
    import cupy
    from cupy._core import _routines_linalg as rules

    before = rules.get_compute_type(cupy.float32)
    wanted = rules.COMPUTE_TYPE_TF32 if tf32 else rules.COMPUTE_TYPE_FP32
    rules.set_compute_type(cupy.float32, wanted)
    try:
        yield
    finally:
        rules.set_compute_type(cupy.float32, before)


# ---- other libraries


def peers(work: Workload) -> Mapping[str, Call]:
    """What torch has for a workload, by name; empty without torch, a GPU build of it, or a peer."""
    if why_no_peers():
        return {}
    names = (work.peer.removeprefix("torchvision ").replace(" ", "_"), work.function)
    functions = [getattr(_peers(), name) for name in names if name and hasattr(_peers(), name)]
    if not functions:
        return {}
    found: Mapping[str, Call] = functions[0](work)
    return found


@functools.cache
def why_no_peers() -> str | None:
    """Why nothing of torch is timed beside the rungs; None if it is."""
    if _peers() is None:
        return "benchmarks/peers.py is in the source tree only, and this is an installed package"
    try:
        import torch

        if not torch.cuda.is_available():
            return "the torch here has no CUDA"
        import torchvision  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed"
    return None


@functools.cache
def _peers() -> Any:
    path = ROOT.parent / "benchmarks" / "peers.py"
    if not path.is_file():
        return None
    spec = importlib.util.spec_from_file_location("minimask_peers", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
