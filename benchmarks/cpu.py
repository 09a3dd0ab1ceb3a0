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
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import cpu_cases as cases  # noqa: E402  (found by the line above, from wherever this is started)
from cpu_cases import Case  # noqa: E402
from cpu_report import (  # noqa: E402
    OURS,
    SIDES,
    TUNED,
    Line,
    agree,
    cores,
    digest,
    machine,
    problems_of,
    reasons,
    save,
    table,
)

BEST = {
    "OMP_PROC_BIND": "true",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
TURN = 0.3  # seconds


# ---- one side


def serve(side: str, threads: int) -> None:
    """Answer the requests on stdin, one JSON line each, until it closes."""
    if side == OURS:
        from minimask.system import runtime

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


def problem_of_peer(python: str) -> str | None:
    """Why there is nothing to compare with, in a sentence; None where torchvision is there.

    Asked first, so that it is said now, not after minutes of measuring.
    """
    try:
        found = subprocess.run([python, "-c", "import torchvision"], capture_output=True, text=True)
    except OSError as error:
        return f"--peer-python {python}: {error.strerror}"
    if not found.returncode:
        return None
    last = (found.stderr.strip().splitlines() or ["it failed"])[-1]
    return (
        f"--peer-python {python}: torchvision cannot be imported ({last}); name the Python of an "
        "environment that has torch and torchvision"
    )


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
    if problem := problem_of_peer(options.peer_python):
        parser.error(problem)
    print(f"{machine()}, {options.threads} threads; medians in ms; ratio: how many times faster.\n")
    lines: list[Line] = []

    def measured() -> Iterator[Line]:
        for line in run(options, chosen):
            lines.append(line)
            yield line

    for text in table(measured()):
        print(text, flush=True)
    for text in reasons(lines):
        print(f"\n{text}")
    if options.json:
        save(options.json, lines, options.threads)
    problems = problems_of(lines)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
