"""Tiers 1s and 2: kernels under the sanitizers and in Numba's simulator, in their own processes.

A sanitizer's runtime must be loaded before Python itself, and the simulator must be chosen before
Numba is imported; neither can be done in the process that asks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minimask.kernels.host_shim.build import compiler
from minimask.tools.kernel_lab.mutants import Mutant

SECONDS = 900
WORKER = "minimask.tools.kernel_lab.worker"
_RUNTIMES = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
_SETTINGS = {
    "address": {
        "ASAN_OPTIONS": "detect_leaks=0:exitcode=66",
        "UBSAN_OPTIONS": "print_stacktrace=0:halt_on_error=0:exitcode=66",
    },
    "thread": {"TSAN_OPTIONS": "exitcode=66:history_size=7:halt_on_error=0:report_thread_leaks=0"},
}


@dataclass(frozen=True)
class Outcome:
    """What such a process found out about one variant."""

    cases: int  # that ran and were right
    wrong: str | None  # the first wrong value
    findings: tuple[str, ...]  # of the sanitizer, one line each; first those in a kernel file

    @property
    def passed(self) -> bool:
        """Whether there is nothing to complain about, and something ran."""
        return self.cases > 0 and self.wrong is None and not self.findings


def sanitize(
    op: str,
    variants: Sequence[str],
    kind: str,
    *,
    seeds: Sequence[int] = (0, 7),
    cases: Sequence[str] | None = None,
    mutant: Mutant | None = None,
) -> dict[str, Outcome]:
    """Run CUDA C++ variants in the host shim under a sanitizer.

    Args:
        op: the operation's folder.
        variants: names of CUDA C++ rungs.
        kind: "address" or "thread".
        seeds: orders of the threads.
        cases: names of small cases; default: all.
        mutant: a mistake to put in.
    """
    environment = environment_for(kind)
    request: dict[str, Any] = {"op": op, "kind": kind, "seeds": list(seeds)}
    request["cases"] = list(cases) if cases else None
    request["mutant"] = dataclasses.asdict(mutant) if mutant else None
    outcomes = {}
    for variant in variants:  # one process each, so that a finding has an owner
        done = run_worker(WORKER, {**request, "variants": [variant]}, environment)
        outcomes[variant] = _outcome(done, variant)
    return outcomes


def simulate(op: str, variants: Sequence[str]) -> dict[str, Outcome]:
    """Run Numba-CUDA variants of one operation on its small cases in Numba's simulator."""
    request = {"op": op, "kind": "", "seeds": [0], "variants": list(variants)}
    done = run_worker(WORKER, request, environment_for("simulator"))
    return {variant: _outcome(done, variant) for variant in variants}


def environment_for(kind: str) -> dict[str, str]:
    """The environment of a process for a kind of the shim's build, or for the "simulator"."""
    if kind == "simulator":
        return {
            **os.environ,
            "NUMBA_ENABLE_CUDASIM": "1",
            "NUMBA_DISABLE_PERFORMANCE_WARNINGS": "1",
        }
    if kind not in _RUNTIMES:
        return dict(os.environ)
    return {**os.environ, **_SETTINGS[kind], "LD_PRELOAD": ":".join(_runtimes(kind))}


def _runtimes(kind: str) -> list[str]:
    """The sanitizer's libraries, as g++ knows them."""
    paths = []
    for name in _RUNTIMES[kind]:
        asked = [compiler(), f"-print-file-name={name}"]
        path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        if not os.path.isabs(path):
            raise FileNotFoundError(f"g++ has no {name}: install its sanitizer libraries")
        paths.append(path)
    return paths


def run_worker(
    module: str, request: Any, environment: dict[str, str], seconds: float = SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a module with a request in a process of its own, and wait for it.

    Raises:
        subprocess.TimeoutExpired: it took longer than `seconds`.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, json.dumps(request)]
    if "LD_PRELOAD" in environment and shutil.which("setarch"):
        command = ["setarch", "-R", *command]  # older sanitizers fail with random addresses
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


def _outcome(done: subprocess.CompletedProcess[str], variant: str) -> Outcome:
    found = findings(done.stderr)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:  # it did not get to its end
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return Outcome(0, None if found else last[0], found)
    report = json.loads(lines[-1])[variant]
    return Outcome(report["cases"], report["wrong"], found)


_UNDEFINED = re.compile(r"([\w./]+\.cuh?):(\d+):\d+: runtime error: (.*)")
_HEADLINE = re.compile(r"(?:ERROR: AddressSanitizer|WARNING: ThreadSanitizer): (.*)")
_FRAME = re.compile(r"#\d+ (?:0x[0-9a-f]+ in )?(\w+).* ([\w./]+\.cuh?):(\d+)")
_ACCESS = re.compile(r"^(READ|WRITE) of size (\d+)", re.MULTILINE)


def findings(text: str) -> tuple[str, ...]:
    """A sanitizer's reports, one line each: what, and the line of the kernel where it happened."""
    found: dict[str, None] = {}
    for block in re.split(r"(?m)^={10,}$", text):
        for match in _UNDEFINED.finditer(block):
            found[f"{os.path.basename(match[1])}:{match[2]}: {match[3]}"] = None
        headline = _HEADLINE.search(block)
        if headline is None:
            continue
        what = re.sub(
            r" on (?:unknown )?address.*|\(pid=\d+\)|0x[0-9a-f]+", "", headline[1]
        ).strip()
        places = [f"{os.path.basename(m[2])}:{m[3]}" for m in _FRAME.finditer(block)]
        where = " and ".join(dict.fromkeys(places[:2])) or "outside the kernel"
        access = _ACCESS.search(block)
        if access is not None and "AddressSanitizer" in block:
            what = f"{access[1].lower()} of {access[2]} bytes outside an array ({what})"
        found[f"{where}: {what}"] = None
    return tuple(found)
