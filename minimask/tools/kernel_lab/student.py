"""Check a kernel somebody wrote: `my_kernel.cu` or `my_kernel.py`, against an operation's cases.

The file runs in processes of its own: it may crash, wait forever or write outside its arrays, and
each of that is to be a sentence.
"""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from minimask.kernels.host_shim import build
from minimask.kernels.launch import Program
from minimask.kernels.sources import read_source
from minimask.tools.kernel_lab import compile_gate, processes
from minimask.tools.kernel_lab import contracts as known
from minimask.tools.kernel_lab.contracts import Contract
from minimask.tools.kernel_lab.tiers import SEEDS, Result

WORKER = "minimask.tools.kernel_lab.student_worker"
SECONDS = 120.0
# the tiers of a file, and the kind of the shim's build that each runs
CUDA_TIERS = {"values": "plain", "address": "address", "thread": "thread", "blocks": "count"}
TIERS = {".cu": (*CUDA_TIERS, "compiled"), ".py": ("simulator", "thread", "compiled")}


def find(file: pathlib.Path, name: str | None) -> Contract:
    """The contract a file is held to.

    Raises:
        ValueError: no operation named, or none that a kernel can be tried for.
        FileNotFoundError: no such file.
    """
    names = ", ".join(known.contracts())
    if name is None:
        raise ValueError(f"{file}: say what it computes with --op, one of {names}")
    if name not in known.contracts():
        raise ValueError(f"--op {name}: there is {names}")
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; `minimask kernels start` writes one")
    if file.suffix not in TIERS:
        raise ValueError(f"{file}: expected a file .cu (CUDA C++) or .py (Numba-CUDA)")
    return known.contracts()[name]


def check(
    file: pathlib.Path, contract: Contract, only: Sequence[str] = (), seconds: float = SECONDS
) -> Iterator[Result]:
    """Run every tier this machine can run, and say how each went.

    A tier that shows that nothing further can be learned, for example an endless loop, is the last.

    Args:
        file: `.cu` or `.py`.
        contract: what it is to compute.
        only: tiers; none: all.
        seconds: a process that takes longer is ended.
    """
    file = file.resolve()
    read_source.cache_clear()  # the file may have been edited since this process last read it
    tiers = [t for t in TIERS[file.suffix] if not only or t in only]
    if file.suffix == ".cu":
        known.check(contract, Program(file).source())
    for tier in tiers:
        result, stop = _run(file, contract, tier, seconds)
        yield result
        if stop:
            return


def _run(file: pathlib.Path, contract: Contract, tier: str, seconds: float) -> tuple[Result, bool]:
    cannot = _why_not(file, tier)
    if cannot:
        return Result(file.name, tier, None, cannot), False
    if tier == "compiled":
        return _compiled(file, contract, seconds), False
    kind = "simulator" if tier == "simulator" else CUDA_TIERS[tier]
    seeds = list(SEEDS) if kind == "plain" else [0, 7] if kind in ("address", "thread") else [0]
    request = {"kind": kind, "seeds": seeds}
    try:
        done = _start(file, contract, request, seconds)
    except subprocess.TimeoutExpired as ended:
        return Result(file.name, tier, False, _endless(ended, seconds)), True
    outcome = _last(done.stdout)
    found = processes.findings(done.stderr)
    problems = list(found)
    if "cases" not in outcome:
        problems = problems or [_crash(done, outcome)]
        return Result(file.name, tier, False, "; ".join(problems)), False
    if outcome["wrong"]:
        problems.append(outcome["wrong"])
    text = "; ".join(problems) or f"{outcome['cases']} cases"
    passed = not problems and outcome["cases"] > 0
    return Result(file.name, tier, passed, text), outcome["stop"]


def _why_not(file: pathlib.Path, tier: str) -> str | None:
    if file.suffix == ".py":
        if tier == "thread":
            return "Numba's simulator shows no races; CUDA C++ is checked for them"
        return compile_gate.why_not_numba() if tier == "compiled" else None
    return compile_gate.why_not() if tier == "compiled" else build.why_not()


def _start(
    file: pathlib.Path, contract: Contract, request: dict[str, Any], seconds: float
) -> subprocess.CompletedProcess[str]:
    whole = {**request, "file": str(file), "contract": contract.name}
    environment = processes.environment_for(request["kind"])
    if request["kind"] == "ptx":
        environment["NUMBA_ENABLE_CUDASIM"] = "0"
    return processes.run_worker(WORKER, whole, environment, seconds)


def _last(stdout: str) -> dict[str, Any]:
    """The last line a worker printed: its outcome, or the case it had begun."""
    lines = [line for line in stdout.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found


def _endless(ended: subprocess.TimeoutExpired, seconds: float) -> str:
    text = ended.stdout or ""
    case = _last(text.decode() if isinstance(text, bytes) else text).get("case")
    where = f"in case {case!r}" if case else "before the first case"
    return f"not done after {seconds:g} s, {where}: a loop that never ends?"


def _crash(done: subprocess.CompletedProcess[str], outcome: dict[str, Any]) -> str:
    case = f" in case {outcome['case']!r}" if "case" in outcome else ""
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        hint = "; the check of addresses names the line" if name in ("SIGSEGV", "SIGBUS") else ""
        return f"the process died{case} ({name}){hint}"
    last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    return f"the process ended{case}: {last[0]}"


def _compiled(file: pathlib.Path, contract: Contract, seconds: float) -> Result:
    problems: list[str] = []
    worst = 0
    for architecture in compile_gate.ARCHITECTURES:
        try:
            if file.suffix == ".cu":
                compiled = compile_gate.compile_cuda(Program(file), architecture)
            else:
                compiled = list(_compile_numba(file, contract, architecture, seconds))
        except ValueError as error:
            return Result(file.name, "compiled", False, str(error))
        problems += [problem for kernel in compiled for problem in kernel.problems]
        worst = max([worst, *(kernel.registers for kernel in compiled)])
    names = ", ".join(f"sm_{a}" for a in compile_gate.ARCHITECTURES)
    text = "; ".join(problems) or f"{names}, at most {worst} registers"
    return Result(file.name, "compiled", not problems, text)


def _compile_numba(
    file: pathlib.Path, contract: Contract, architecture: int, seconds: float
) -> Iterator[compile_gate.Compiled]:
    request = {"kind": "ptx", "architecture": architecture}
    try:
        done = _start(file, contract, request, seconds)
    except subprocess.TimeoutExpired:
        raise ValueError(f"Numba did not compile it within {seconds:g} s") from None
    if done.returncode:
        raise ValueError(f"Numba cannot compile it:\n{done.stderr.strip()[-1500:]}")
    for kernel, ptx in _last(done.stdout).items():
        yield from compile_gate.assemble(kernel, ptx, architecture)
