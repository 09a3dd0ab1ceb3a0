"""Everything there is to know about minimask on a GPU, in one command of under 8 minutes.

    python benchmarks/gpu.py [--minutes 8] [--only check,repeat,bench,model,sanitize]
                             [--results FOLDER]

In this order: every GPU rung of every operation against the float64 references; whether five runs
give the same bits; the ladders timed beside torchvision and cuDNN where torch has CUDA; the whole
training step and inference beside torchvision; all rungs under NVIDIA's compute-sanitizer where it
is installed.  What the time does not suffice for is named, not left out.  The result goes to
benchmarks/results/ as JSON and as a page, named by date and GPU, and the tiers passed into
kernels/record.json, from which the pages of the operations are made.

Runs from a bare checkout: python benchmarks/gpu.py, with CuPy, Numba-CUDA and NumPy installed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
for folder in (str(ROOT), str(HERE)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

STAGES = ("check", "repeat", "bench", "model", "sanitize")
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
REPEATS = 5
RESULTS = HERE / "results"
Report = dict[str, Any]


class Clock:
    """How much of the time given is left."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


def machine() -> Report:
    """What was measured on."""
    import cupy

    from minimask.system import environment

    number = cupy.cuda.runtime.driverGetVersion()
    versions = {"python": platform.python_version(), "cupy": cupy.__version__}
    for name in ("numba_cuda", "torch", "torchvision"):
        try:
            versions[name] = __import__(name).__version__
        except ImportError:
            versions[name] = "not installed"
    return {
        "date": datetime.date.today().isoformat(),
        "gpu": environment.cuda_devices()[0][0],
        "driver": f"for CUDA {number // 1000}.{number % 1000 // 10}",
        "versions": versions,
        "commit": commit(),
    }


def commit() -> str:
    """The checkout's commit, marked if files differ from it."""
    try:
        asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: no git here"


def gpu_rungs() -> Iterator[tuple[str, str]]:
    """Operation and name of every rung that runs on a GPU."""
    from minimask.kernels import OPERATIONS
    from minimask.tools.kernel_lab import values

    for op in OPERATIONS:
        yield from ((op, name) for name, v in values.variants(op).items() if v.device == "gpu")


def check(report: Report, clock: Clock) -> None:
    """Every rung against the reference, and into the record."""
    from minimask.tools.kernel_lab import record, tiers

    found, results = {}, []
    for op, name in gpu_rungs():
        if clock.left < 60:
            found[f"{op} {name}"] = "no time left"
            continue
        for result in tiers.check(op, [name], ["gpu"]):
            found[f"{op} {name}"] = f"{'passed' if result.passed else 'FAILED'}: {result.text}"
            results.append((op, result))
            print(f"  {op:12s} {name:24s} {found[f'{op} {name}']}", flush=True)
    record.update(results)
    report["check"] = found
    import gpu_model

    report["parity"] = gpu_model.parity()
    for name, (cpu, gpu) in report["parity"].items():
        print(f"  a small training step, {name}: CPU {cpu:.7g}, GPU {gpu:.7g}", flush=True)


def repeat(report: Report, clock: Clock) -> None:
    """Whether the same call gives the same bits, on the largest case of every function."""
    import numpy as np

    from minimask.tools.kernel_lab import values

    found: Report = {}
    for op, name in gpu_rungs():
        largest: dict[str, Any] = {}
        for case in values.cases(op):
            size = sum(a.nbytes for a in case.arguments if isinstance(a, np.ndarray))
            if values.has(op, name, case.function) and size >= largest.get(case.function, (0,))[0]:
                largest[case.function] = size, case
        for function, (_, case) in largest.items():
            if clock.left < 60:
                return
            runs = [values.compute(case, name, gpu=True) for _ in range(REPEATS)]
            same = all(
                np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
                for run in runs[1:]
                for a, b in zip(runs[0], run, strict=True)
            )
            found[f"{op} {name} {function}"] = same
    report["repeat"] = found
    differing = [key for key, same in found.items() if not same]
    print(f"  {len(found)} checked; differing: {', '.join(differing) or 'none'}", flush=True)


def bench(report: Report, clock: Clock) -> None:
    """All ladders, beside what torch has."""
    from minimask.kernels import OPERATIONS
    from minimask.tools.kernel_lab import bench as lab
    from minimask.tools.kernel_lab import timings

    ceiling = lab.ceilings(gpu=True)
    measures = []
    print(f"  copy {ceiling.copy:.0f} GB/s, float32 matrices {ceiling.matrix:.0f} GFLOP/s")
    for op in OPERATIONS:
        if clock.left < 90:
            report["bench: not reached"] = f"from {op} on"
            break
        heading = ""
        for measure in lab.bench(op, gpu=True, seconds=0.2):
            if heading != measure.workload:
                heading = measure.workload
                print(f"  {op}, {measure.function}, {heading}\n    {timings.HEADER}")
            print(f"    {timings.row(measure, ceiling)}", flush=True)
            measures.append(measure)
    report["bench"] = json.loads(timings.as_json(measures, ceiling))


def model(report: Report, clock: Clock) -> None:
    """The whole training step and inference."""
    import gpu_model

    for batch in (1, 2):
        if clock.left < 60:
            return
        found = gpu_model.compare(batch, 800, 1333, rounds=5)
        report.setdefault("model", []).append(found)
        print(gpu_model.markdown(found), flush=True)


def sanitize(report: Report, clock: Clock) -> None:
    """All rungs under compute-sanitizer, on their small cases."""
    tool = sanitizer()
    if tool is None:
        report["sanitize"] = "not run: no compute-sanitizer here"
        print(f"  {report['sanitize']}")
        return
    found: Report = {}
    report["sanitize"] = found
    for kind in TOOLS:
        for op, name in gpu_rungs():
            if clock.left < 30:
                found[kind + " ended"] = f"no time left from {op} {name} on"
                return
            request = {"op": op, "variants": [name], "kind": "gpu", "seeds": [0], "cases": None}
            words = [tool, "--tool", kind, "--error-exitcode", "66", "--print-limit", "3"]
            words += [sys.executable, "-m", "minimask.tools.kernel_lab.worker", json.dumps(request)]
            paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
            try:
                done = subprocess.run(
                    words,
                    env={**os.environ, "PYTHONPATH": paths},
                    capture_output=True,
                    text=True,
                    timeout=max(20.0, min(90.0, clock.left)),
                )
            except subprocess.TimeoutExpired:
                found[f"{kind} {op} {name}"] = "not finished in 90 s"
                continue
            text = done.stdout + done.stderr
            errors = re.findall(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard", text)
            clean = done.returncode == 0 and '"wrong": null' in done.stdout
            found[f"{kind} {op} {name}"] = "clean" if clean else f"FAILED {errors}: {text[-600:]}"
            print(f"  {kind} {op} {name}: {'clean' if clean else 'FAILED'}", flush=True)


def sanitizer() -> str | None:
    """The tool: on the PATH, of a toolkit, or of the package nvidia-cuda-sanitizer-api."""
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    for place in [None, *(f"{home}/bin" for home in homes if home)]:
        if path := shutil.which("compute-sanitizer", path=place):
            return path
    from importlib.metadata import PackageNotFoundError, files

    try:
        packaged = files("nvidia-cuda-sanitizer-api") or []
    except PackageNotFoundError:
        return None
    return next((str(f.locate()) for f in packaged if f.name == "compute-sanitizer"), None)


def page(report: Report) -> str:
    """The report in Markdown."""
    about = report["machine"]
    lines = [
        f"# minimask on {about['gpu']}",
        "",
        f"{about['date']}, commit {about['commit']}, driver {about['driver']}, "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        "",
        "Made by `python benchmarks/gpu.py`.",
    ]
    lines += ["", "## Right", "", "| rung | against the float64 reference |", "|---|---|"]
    lines += [f"| {rung} | {text} |" for rung, text in report.get("check", {}).items()]
    parity = report.get("parity", {})
    if parity:
        lines += ["", "| one small training step | CPU | GPU |", "|---|---:|---:|"]
        lines += [f"| {name} | {cpu:.7g} | {gpu:.7g} |" for name, (cpu, gpu) in parity.items()]
    repeats = report.get("repeat", {})
    differing = [key for key, same in repeats.items() if not same]
    lines += [
        "",
        f"{len(repeats)} functions run {REPEATS} times: not the same bits in "
        f"{', '.join(differing) or 'none'}.",
    ]
    measured = report.get("bench")
    if measured:
        ceiling = measured["ceilings"]
        lines += [
            "",
            "## Fast",
            "",
            f"Measured ceilings: copy {ceiling['copy']:.0f} GB/s, float32 matrix product "
            f"{ceiling['matrix']:.0f} GFLOP/s.",
            "",
            "| operation | workload | variant | ms | GB/s | of copy | GFLOP/s | of matrix |",
            "|---|---|---|---:|---:|---:|---:|---:|",
        ]
        lines += [_bench_row(m, ceiling) for m in measured["measures"]]
    import gpu_model

    for found in report.get("model", []):
        lines += ["", "## Whole model", "", gpu_model.markdown(found)]
    lines += ["", "## compute-sanitizer", ""]
    clean = report.get("sanitize", "not run")
    lines += [clean] if isinstance(clean, str) else [f"- {k}: {v}" for k, v in clean.items()]
    failures = report.get("failures", {})
    lines += ["", *(f"Stage {stage} failed: {text}" for stage, text in failures.items())]
    return "\n".join(lines).rstrip() + "\n"


def _bench_row(m: dict[str, Any], ceiling: dict[str, float]) -> str:
    bandwidth, rate = m["gb_per_s"], m["gflop_per_s"]
    cells = [
        f"{m['function']}",
        m["workload"],
        m["variant"],
        f"{m['ms']:.4g}",
        f"{bandwidth:.0f}",
        f"{bandwidth / ceiling['copy']:.0%}",
        f"{rate:.0f}",
        f"{rate / ceiling['matrix']:.0%}",
    ]
    return "| " + " | ".join(cells) + " |"


def save(report: Report, results: pathlib.Path) -> None:
    """Write what there is; called after every stage, so that nothing is lost."""
    from minimask.system.files import write_whole
    from minimask.tools.kernel_lab import record

    gpu = re.sub(r"\W+", "-", report["machine"]["gpu"].split(",")[0]).strip("-").lower()
    stem = results / f"{report['machine']['date']}-{gpu}"
    write_whole(stem.with_suffix(".json"), (json.dumps(report, indent=1) + "\n").encode())
    write_whole(stem.with_suffix(".md"), page(report).encode())
    if record.FILE.exists() and results != RESULTS:  # all that is new, in one place
        shutil.copy(record.FILE, results / record.FILE.name)
    print(f"  written: {stem}.md and .json", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--only", default=",".join(STAGES), help="stages, with commas")
    parser.add_argument(
        "--results", type=pathlib.Path, default=RESULTS, help="folder for both files"
    )
    given = parser.parse_args()
    wanted = given.only.split(",")
    if unknown := set(wanted) - set(STAGES):
        parser.error(f"--only: no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    from minimask.tools.kernel_lab.tiers import why_no_gpu

    if problem := why_no_gpu():
        raise SystemExit(f"nothing to measure: {problem}")
    clock = Clock(given.minutes)
    report: Report = {"machine": machine()}
    stages: dict[str, Callable[[Report, Clock], None]] = {
        "check": check,
        "repeat": repeat,
        "bench": bench,
        "model": model,
        "sanitize": sanitize,
    }
    for name in STAGES:
        if name not in wanted:
            continue
        print(f"{name} ({clock.left:.0f} s left)", flush=True)
        try:
            stages[name](report, clock)
        except Exception:  # one stage that fails must not cost the others
            report.setdefault("failures", {})[name] = traceback.format_exc()
            traceback.print_exc()
        save(report, given.results)


if __name__ == "__main__":
    main()
