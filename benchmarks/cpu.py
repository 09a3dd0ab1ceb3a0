"""This project beside PyTorch and torchvision on the CPU: operations and whole models.

    python benchmarks/cpu.py --peer-python ENV/bin/python [--only TEXT] [--rounds N] [--json FILE]

Each side is a process of its own; they take turns, so that a machine that slows down slows down
all of them.  The peer runs twice: as installed, and with its best settings (threads bound to cores,
malloc told to keep freed memory, which the command `minimask` does for itself).  Both sides get the
same inputs, and their results are compared before anything is timed.

Prints a table in Markdown.  Exit code 1: a ratio is below its floor, or results differ without a
reason that the case states; such a reason is printed below the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import cpu_cases as cases  # noqa: E402  (found by the line above, from wherever this is started)
from cpu_cases import Case  # noqa: E402

BEST = {
    "OMP_PROC_BIND": "true",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
OURS, INSTALLED, TUNED = "minimask", "torch", "torch, best settings"
SIDES = (OURS, INSTALLED, TUNED)
TOLERANCE = 1e-3  # of the largest value; Winograd's rounding is 3e-6, a wrong result far more
TURN = 0.3  # seconds


# ---- one side


def serve(side: str, threads: int) -> None:
    """Answer the requests on stdin, one JSON line each, until it closes."""
    if side == OURS:
        from minimask import runtime

        runtime.prepare()
        import cpu_minimask as functions
    else:
        import cpu_torch as functions
    functions.set_threads(threads)
    call: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        if "make" in request:
            call = None  # its memory first
            call = make(functions, cases.CASES[request["make"]], request)
            call()
            answer: Any = digest(call())
        elif "seconds" in request:
            answer = turn(call, request["seconds"], request["least"])
        else:
            answer = peak_memory()
        print(json.dumps(answer), flush=True)


def make(functions: Any, case: Case, request: dict[str, Any]) -> Any:
    """The call to time."""
    function = getattr(functions, case.kind)
    if not case.model:
        return function(case.options, case.backward)
    images, weights = map(pathlib.Path, request["files"])
    return function(case.options, case.backward, cases.Files(images, weights))


def digest(arrays: Sequence[Any]) -> list[dict[str, Any]]:
    """What of a result both sides must agree on: shape, largest value, and some sums."""
    import numpy as np

    found = []
    for array in arrays:
        values = np.asarray(array)
        flat = values.reshape(-1).astype(np.float64)
        weights = np.random.default_rng(0).standard_normal(flat.size)
        size = float(np.abs(flat).max(initial=0.0))
        spread = float(np.sqrt((flat**2).sum()))
        whole = values.dtype.kind != "f"
        kept = [int(v) for v in flat[:50]] if whole else []
        found.append(
            {
                "shape": list(values.shape),
                "size": size,
                "spread": spread,
                "sum": float(flat @ weights),
                "whole": whole,
                "first": kept,
            }
        )
    return found


def agree(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    """Whether two results are the same up to rounding; whole numbers exactly."""
    if len(ours) != len(theirs):
        return False
    for a, b in zip(ours, theirs, strict=True):
        if a["shape"] != b["shape"] or a["first"] != b["first"]:
            return False
        if not math.isfinite(a["sum"] + b["sum"]):  # NaN is never too far from anything
            return False
        bound = 0.0 if a["whole"] else TOLERANCE
        if abs(a["size"] - b["size"]) > bound * b["size"]:
            return False
        if abs(a["sum"] - b["sum"]) > bound * max(b["spread"], 1e-30):
            return False
    return True


def turn(call: Any, seconds: float, least: int) -> list[float]:
    """Times of single calls, for about `seconds`; one untimed call wakes threads and caches."""
    if least == 1:
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def peak_memory() -> int:
    """The most memory this process has had, in bytes; 0 where the system does not tell."""
    try:
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


# ---- all sides


class Worker:
    """A process of one side."""

    def __init__(self, side: str, python: str, threads: int) -> None:
        extra = BEST if side == TUNED else {}
        words = [python, __file__, "--serve", side, "--threads", str(threads)]
        self.side = side
        self.process = subprocess.Popen(
            words,
            env={**os.environ, **extra},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> Any:
        """Send a request and wait for its answer."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SystemExit(f"{self.side} does not run (see above); {request}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


@dataclasses.dataclass
class Line:
    """The measurements of one case."""

    case: Case
    seconds: dict[str, list[float]]
    memory: dict[str, int]
    same: bool

    def median(self, side: str) -> float:
        """Median seconds."""
        return statistics.median(self.seconds[side])

    def ratio(self, side: str) -> float:
        """How many times as long as we another side takes."""
        return self.median(side) / self.median(OURS)


def measure(case: Case, workers: dict[str, Worker], files: list[str], rounds: int) -> Line:
    """Make the case on all sides, compare results, time in turns."""
    index = cases.CASES.index(case)
    order = sorted(workers, key=lambda side: side == OURS)  # the peer writes the weights
    found = {side: workers[side].ask(make=index, files=files) for side in order}
    same = all(agree(found[OURS], found[side]) for side in workers)
    seconds: dict[str, list[float]] = {side: [] for side in workers}
    for _ in range(rounds):
        for side, worker in workers.items():
            time.sleep(0.02)  # the other side's threads have gone to sleep by then
            seconds[side] += worker.ask(seconds=TURN, least=2 if case.model else 1)
    memory = {side: workers[side].ask(memory=True) for side in workers}
    return Line(case, seconds, memory, same)


def run(options: argparse.Namespace, chosen: list[Case]) -> Iterator[Line]:
    """All chosen cases; operations share processes, models have their own."""
    pythons = {side: sys.executable if side == OURS else options.peer_python for side in SIDES}

    def start() -> dict[str, Worker]:
        return {side: Worker(side, pythons[side], options.threads) for side in SIDES}

    with tempfile.TemporaryDirectory() as folder:
        images = pathlib.Path(folder) / "images.npz"
        if any(case.model for case in chosen):
            cases.write_images(images)
        shared: dict[str, Worker] = {}
        for case in chosen:
            shared = {} if case.model else shared or start()
            workers = start() if case.model else shared
            weights = pathlib.Path(folder) / f"{case.kind}.npz"
            yield measure(case, workers, [str(images), str(weights)], options.rounds)
            if case.model or case is chosen[-1] or chosen[chosen.index(case) + 1].model:
                for worker in workers.values():
                    worker.close()


# ---- the table


def geometric_mean(values: Sequence[float]) -> float:
    """The n-th root of the product."""
    return statistics.geometric_mean(values)


def row(line: Line) -> str:
    """One line of the table."""
    ms = [f"{line.median(side) * 1e3:.4g}" for side in SIDES]
    gib = ""
    if line.case.model:
        gib = " / ".join(f"{line.memory[side] / 1e9:.2f}" for side in SIDES)
    wrong = "" if line.same else " (results differ, see below)"
    goal = goal_text(line.case.name) if not line.case.group else ""
    return (
        f"| {line.case.name}{wrong} | {ms[0]} | {ms[1]} | {ms[2]} | {line.ratio(INSTALLED):.2f} | "
        f"{line.ratio(TUNED):.2f} | {goal} | {gib} |"
    )


def goal_text(name: str) -> str:
    """The goal of a line or group, or nothing."""
    goal = cases.RATIOS.get(name, (None, None))[0]
    return "" if goal is None else f"{goal:g}"


def summaries(lines: Sequence[Line]) -> dict[str, tuple[float, float]]:
    """Ratio to both settings of the peer for every line without a group, and for every group."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.case.in_group, []).append(line)
    return {
        name: (
            geometric_mean([line.ratio(INSTALLED) for line in members]),
            geometric_mean([line.ratio(TUNED) for line in members]),
        )
        for name, members in groups.items()
    }


def below_floor(ratios: dict[str, tuple[float, float]]) -> list[str]:
    """Sentences on every line or group that is below its floor."""
    found = []
    for name, both in ratios.items():
        floor = cases.RATIOS.get(name, (None, None))[1]
        if floor is not None and min(both) < floor:
            found.append(f"{name}: {min(both):.2f} times the peer's speed, the floor is {floor:g}")
    return found


def machine() -> str:
    """The processor and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name}, {cores()} cores"


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def save(path: pathlib.Path, lines: Sequence[Line], threads: int) -> None:
    """All times as JSON, whole or not at all."""
    content = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "threads": threads,
        "lines": [
            {
                "name": line.case.name,
                "group": line.case.group,
                "seconds": line.seconds,
                "memory": line.memory,
                "same": line.same,
            }
            for line in lines
        ],
        "ratios": summaries(lines),
    }
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1))
    part.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable, help="where torchvision is")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every side")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--json", type=pathlib.Path, help="write all times there")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.threads)
        return 0
    chosen = [case for case in cases.CASES if options.only in case.name]
    if not chosen:
        names = "\n  ".join(case.name for case in cases.CASES)
        raise SystemExit(f"--only {options.only!r}: no such case; there are\n  {names}")
    print(f"{machine()}, {options.threads} threads; medians in ms; ratio: how many times faster.\n")
    print(
        "| what | minimask | torch | torch, best settings | ratio | ratio to best | goal | "
        "peak memory GB |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    lines = []
    for line in run(options, chosen):
        lines.append(line)
        print(row(line), flush=True)
    ratios = summaries(lines)
    for name in dict.fromkeys(line.case.group for line in lines if line.case.group):
        first, best = ratios[name]
        goal = goal_text(name)
        print(f"| **{name}**, geometric mean | | | | {first:.2f} | {best:.2f} | {goal} | |")
    if options.json:
        save(options.json, lines, options.threads)
    problems = below_floor(ratios)
    different = [line.case for line in lines if not line.same]
    for reason in dict.fromkeys(case.differs for case in different if case.differs):
        names = "; ".join(case.name for case in different if case.differs == reason)
        print(f"\nResults differ: {names}: {reason}.")
    problems += [f"{case.name}: results differ" for case in different if not case.differs]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
