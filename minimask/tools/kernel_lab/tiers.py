"""Every tier that a machine can run, for the rungs of one operation.

python -m minimask.tools.kernel_lab.tiers roi_align [RUNG ...] [--only values,address] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minimask.kernels import OPERATIONS
from minimask.kernels.dispatch import Variant
from minimask.kernels.host_shim import build, emulator
from minimask.kernels.launch import Program
from minimask.system import environment
from minimask.tools.kernel_lab import compile_gate, counting, processes, values

SEEDS = (0, 1, 7)
CUDA_TIERS = ("values", "address", "thread", "compiled", "gpu")
NUMBA_TIERS = ("simulator", "compiled", "gpu")
CPU_TIERS = ("values",)


@dataclass(frozen=True)
class Result:
    """How one rung did in one tier."""

    variant: str
    tier: str
    passed: bool | None  # None: this machine cannot run it
    text: str  # what was checked, or what is wrong, or why it cannot be run


def tiers_of(variant: Variant) -> tuple[str, ...]:
    """The tiers a rung has to pass."""
    if variant.device == "cpu":
        return CPU_TIERS
    if not variant.emulated:
        return ("gpu",)
    return NUMBA_TIERS if variant.folder == "numba" else CUDA_TIERS


def check(op: str, names: Sequence[str] = (), only: Sequence[str] = ()) -> Iterator[Result]:
    """Run the tiers of some rungs, all by default, and say how each did.

    Args:
        op: the operation's folder.
        names: of rungs; none: all but the reference.
        only: tiers; none: all that a rung has.
    """
    variants = values.variants(op)
    for name in names or [n for n in variants if n != "reference"]:
        for tier in tiers_of(variants[name]):
            if not only or tier in only:
                yield _run(op, name, tier)


def _run(op: str, name: str, tier: str) -> Result:
    variant = values.variants(op)[name]
    cannot = _why_not(variant, tier)
    if cannot:
        return Result(name, tier, None, cannot)
    if tier == "values":
        return _values(op, name, SEEDS if variant.emulated else (0,))
    if tier == "compiled":
        return _compiled(op, name)
    if tier == "gpu":
        return _gpu(op, name)
    if tier == "simulator":
        outcome = processes.simulate(op, [name])[name]
    else:
        outcome = processes.sanitize(op, [name], tier)[name]
    problems = [*outcome.findings, *([outcome.wrong] if outcome.wrong else [])]
    if tier == "thread" and outcome.passed:  # a sanitizer sees the threads of one block
        problems += dict.fromkeys(counting.conflicts(op, name))
        return Result(name, tier, not problems, "; ".join(problems) or f"{outcome.cases} cases")
    text = "; ".join(problems) or f"{outcome.cases} cases"
    return Result(name, tier, outcome.passed, text)


def _why_not(variant: Variant, tier: str) -> str | None:
    if variant.device == "cpu":
        return None
    if tier == "gpu":
        return why_no_gpu()
    if tier == "compiled":
        numba = variant.folder == "numba"
        return compile_gate.why_not_numba() if numba else compile_gate.why_not()
    return None if tier == "simulator" else build.why_not()


def why_no_gpu() -> str | None:
    """Why no kernel runs on a GPU here, in a sentence; None if it can."""
    from minimask.system.device import DeviceError, find

    devices, reason = environment.cuda_devices()
    if not devices:
        return reason
    try:
        find("cuda")
    except DeviceError as error:
        return str(error)
    return None


def _gpu(op: str, name: str) -> Result:
    count, rounding = 0, values.rounding(op, name)
    for case in values.cases(op):
        if values.has(op, name, case.function):
            try:
                found = values.compute(case, name, gpu=True)
                values.compare(case, found, values.expected(case), rounding)
            except values.Wrong as error:
                return Result(name, "gpu", False, str(error))
            except Exception as error:  # whatever a driver or a compiler says
                where = f"{case.function}, {case.name!r}"
                return Result(name, "gpu", False, f"{where}: {type(error).__name__}: {error}")
            count += 1
    return Result(name, "gpu", count > 0, f"{count} cases, {environment.cuda_devices()[0][0]}")


def _values(op: str, name: str, seeds: Sequence[int]) -> Result:
    count, rounding = 0, values.rounding(op, name)
    for case in values.cases(op):
        if not values.has(op, name, case.function):
            continue
        wanted = values.expected(case)
        for seed in seeds:
            try:
                with emulator.running(seed=seed):
                    values.compare(case, values.compute(case, name), wanted, rounding)
            except (values.Wrong, emulator.KernelError) as error:
                return Result(name, "values", False, f"order {seed}: {error}")
        count += 1
    return Result(name, "values", count > 0, f"{count} cases, {len(seeds)} orders of threads")


def programs(op: str, name: str) -> list[Program]:
    """The `.cu` files a CUDA rung launches: those its small cases launch a kernel of."""
    found: dict[Program, None] = {}

    def note(launch: emulator.Launch) -> None:
        found[launch.program] = None
        launch.run()

    with emulator.running(watcher=note):
        for case in values.cases(op, small=True):
            if values.has(op, name, case.function):
                values.compute(case, name)
    return list(found)


def _compiled(op: str, name: str) -> Result:
    numba = values.variants(op)[name].folder == "numba"
    try:
        made = compile_gate.compile_numba(op, name) if numba else _compile_cuda(op, name)
    except ValueError as error:
        return Result(name, "compiled", False, str(error))
    most = compile_gate.MOST_REGISTERS  # a student's kernel may have more
    problems = [problem for kernel in made for problem in kernel.problems]
    problems += [
        f"{kernel.kernel} for sm_{kernel.architecture}: {kernel.registers} registers, limit {most}"
        for kernel in made
        if kernel.registers > most
    ]
    worst = max((kernel.registers for kernel in made), default=0)
    text = "; ".join(problems) or f"{len(made)} kernels, at most {worst} registers"
    return Result(name, "compiled", bool(made) and not problems, text)


def _compile_cuda(op: str, name: str) -> list[compile_gate.Compiled]:
    return [
        kernel
        for program in programs(op, name)
        for architecture in compile_gate.architectures()
        if program.oldest <= architecture
        for kernel in compile_gate.compile_cuda(program, architecture)
    ]


def main() -> None:
    """Print how every rung did; exit with 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("op", choices=OPERATIONS)
    parser.add_argument("rungs", nargs="*")
    parser.add_argument("--only", default="")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    failed, start = False, time.perf_counter()
    for result in check(given.op, given.rungs, [t for t in given.only.split(",") if t]):
        if given.json:
            print(json.dumps(dataclasses.asdict(result)), flush=True)
            continue
        mark = {True: "passed", False: "FAILED", None: "not run"}[result.passed]
        now = time.perf_counter()
        print(
            f"{result.variant:24s} {result.tier:10s} {mark:8s} {now - start:5.1f} s  {result.text}",
            flush=True,
        )
        failed, start = failed or result.passed is False, now
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
