"""Tiers of many rungs at once, each rung in a process of its own.

A kernel that takes its process with it takes no more than its own rung along.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from minimask.kernels import OPERATIONS
from minimask.system import environment
from minimask.tools.kernel_lab import values
from minimask.tools.kernel_lab.tiers import Result, tiers_of

Rung = tuple[str, str]  # operation, variant


def with_cases(ops: Sequence[str] = tuple(OPERATIONS)) -> list[str]:
    """The operations that can be checked: those with cases of their own."""
    return [op for op in ops if (values.folder(op) / "cases.py").is_file()]


def rungs(ops: Sequence[str]) -> list[Rung]:
    """Every rung of some operations but the references; first those on a GPU, the slow ones."""
    found = [(op, n) for op in ops for n in values.variants(op) if n != "reference"]
    return sorted(found, key=lambda rung: values.variants(rung[0])[rung[1]].device == "cpu")


def check(
    chosen: Sequence[Rung], only: Sequence[str] = (), jobs: int | None = None
) -> Iterator[tuple[str, Result]]:
    """Run tiers of several rungs; yields operation and result as they come.

    Args:
        chosen: operation and variant of each.
        only: tiers; none: all that a rung has.
        jobs: how many processes at once; default: one for each core.
    """
    results: queue.Queue[tuple[str, Result] | BaseException | None] = queue.Queue()

    def run(rung: Rung) -> None:
        try:
            for result in _run(*rung, only):
                results.put((rung[0], result))
        except BaseException as error:
            results.put(error)
        finally:
            results.put(None)

    with ThreadPoolExecutor(jobs or environment.usable_cores()) as pool:
        for rung in chosen:
            pool.submit(run, rung)
        running = len(chosen)
        try:
            while running:
                item = results.get()
                if item is None:
                    running -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item
        finally:
            pool.shutdown(cancel_futures=True)


def _run(op: str, name: str, only: Sequence[str]) -> Iterator[Result]:
    command = [sys.executable, "-W", "ignore", "-m", "minimask.tools.kernel_lab.tiers", op, name]
    command += ["--json", "--only", ",".join(only)]
    expected = [t for t in tiers_of(values.variants(op)[name]) if not only or t in only]
    # one rung a core: the compiled CPU kernels need not start a thread for every core each
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if line.startswith("{"):
                result = Result(**json.loads(line))
                expected.remove(result.tier)
                yield result
        last = process.stderr.read().strip().splitlines()[-1:]
    if expected:
        code = process.returncode
        how = signal.Signals(-code).name if code < 0 else (last or [f"exit status {code}"])[0]
        yield Result(name, expected[0], False, f"the process ended: {how}")
