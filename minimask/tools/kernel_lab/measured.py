"""What a page says about speed, made from the files in `benchmarks/results/`, never by hand.

`benchmarks/cpu.py` times whole lines (`roi_align 512 RoIs x 256 x 7x7, forward`) of the rung that
is the default on a CPU, beside PyTorch; `benchmarks/gpu.py` times every rung on a GPU.
"""

from __future__ import annotations

import importlib.util
import json
import math
import pathlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.kernels import OPERATIONS
from minimask.kernels.dispatch import choose
from minimask.kernels.sources import ROOT
from minimask.tools.kernel_lab import values

BENCHMARKS = ROOT.resolve().parent / "benchmarks"
CPU_COMMAND = "python benchmarks/cpu.py --peer-python ENV/bin/python --json FILE"
GPU_COMMAND = "python benchmarks/gpu.py"
NEVER = "not yet run on a GPU"
# what the benchmark of the CPU calls its inputs -> the operation and the function that is timed
KINDS = {
    "roi_align": ("roi_align", "roi_align"),
    "roi_pool": ("roi_pool", "roi_pool"),
    "nms": ("nms", "nms"),
    "box_iou": ("box_iou", "box_iou"),
    "matching": ("box_iou", "best_overlaps"),
    "max_pool2d": ("max_pool2d", "max_pool2d"),
    "nearest": ("resize", "resize"),
    "batch_norm": ("batch_norm", "channel_moments"),
    "conv2d": ("conv2d", "conv2d"),
    "conv_transpose2d": ("conv2d", "conv_transpose2d"),
}
Results = Mapping[str, Any]  # a file of results


@dataclass(frozen=True)
class Work:
    """What a line of the benchmark must do at least; 0 where it depends on the values."""

    bytes: float = 0.0
    operations: float = 0.0

    def rate(self, ms: float) -> str:
        """The bytes and operations a second of a time, as a page shows them."""
        if self.operations:
            return f"{self.operations / ms / 1e6:.0f} GFLOP/s"
        return f"{self.bytes / ms / 1e6:.1f} GB/s" if self.bytes else ""


def newest(device: str, folder: pathlib.Path | None = None) -> tuple[str, Results] | None:
    """The newest file of results of a device, "cpu" or "gpu", and its name; None if there is none.

    Names begin with the date.  A GPU's file is one with the ladders of `benchmarks/gpu.py` in it.
    """
    for path in sorted((folder or BENCHMARKS / "results").glob("*.json"), reverse=True):
        found = json.loads(path.read_text(encoding="utf-8"))
        if "bench" in found if device == "gpu" else path.stem.endswith("-cpu"):
            return path.name, found
    return None


def cpu_lines(op: str, results: Results) -> list[tuple[Any, Mapping[str, Any]]]:
    """The lines of an operation in a file of a CPU: the benchmark's case, and what was measured."""
    known = {case.name: case for case in _cpu_cases()}
    pairs = ((known.get(line["name"]), line) for line in results["lines"])
    return [(case, line) for case, line in pairs if case and KINDS.get(case.kind, ("",))[0] == op]


def _cpu_cases() -> list[Any]:
    """`CASES` of benchmarks/cpu_cases.py, which imports nothing that is measured."""
    name, path = "minimask_benchmark_cpu_cases", BENCHMARKS / "cpu_cases.py"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    found: list[Any] = sys.modules[name].CASES
    return found


def work_of(case: Any) -> Work:
    """What a line must read, write and compute, as far as its sizes alone say it."""
    o, passes = case.options, 3 if case.backward else 1
    if case.kind == "conv2d":
        (n, c, *size), k, kernel = o["x"], o["filters"], o["window"]
        passes -= case.backward and c == 3  # an image needs no gradient
        pixels = math.prod((side + 2 * o["padding"] - kernel) // o["stride"] + 1 for side in size)
        depth = c // o.get("groups", 1)
        return Work(operations=2.0 * passes * n * k * pixels * depth * kernel**2)
    if case.kind == "conv_transpose2d":  # windows of 2 x 2, 2 apart: each pixel makes four
        n, c, height, width = o["x"]
        return Work(operations=2.0 * passes * n * c * height * width * o["filters"] * 4)
    if case.kind == "box_iou":
        return Work(bytes=4.0 * (4 * o["a"] + 4 * o["b"] + o["a"] * o["b"]))
    if case.kind == "nearest":  # to twice the size: four values for one, backward the same
        return Work(bytes=4.0 * math.prod(o["x"]) * 5 * (2 if case.backward else 1))
    return Work()


def default_rung(op: str, function: str) -> str:
    """The rung that runs a public function on NumPy arrays where nobody chooses."""
    part = values.PARTS.get(function, function)
    return choose(f"minimask.kernels.{op}", values.variants(op), part, np.zeros(1, np.float32))


def cell(op: str, rung: str) -> str:
    """What the table of rungs says of one: milliseconds of the first line that times it."""
    if values.variants(op)[rung].device == "gpu":
        found = newest("gpu")
        mine = [] if found is None else [m for m in _gpu_measures(op, found[1]) if not m["peer"]]
        times = [m["ms"] for m in mine if m["variant"] == rung]
        return f"{times[0]:.4g} ms" if times else NEVER
    found = newest("cpu")
    for case, line in [] if found is None else cpu_lines(op, found[1]):
        if default_rung(op, KINDS[case.kind][1]) == rung:
            return f"{_ms(line):.4g} ms"
    return ""


def _ms(line: Mapping[str, Any], side: str = "minimask") -> float:
    return float(1e3 * line["seconds"][side]["median"])


def section(op: str) -> str:
    """The part of a page about speed: where the numbers are from, and a table for each device."""
    return "\n\n".join([_cpu_section(op, newest("cpu")), _gpu_section(op, newest("gpu"))])


def _cpu_section(op: str, found: tuple[str, Results] | None) -> str:
    lines = [] if found is None else cpu_lines(op, found[1])
    if found is None or not lines:
        functions = " and ".join(OPERATIONS[op])
        return (
            f"On a CPU: `benchmarks/cpu.py` does not time {functions} by itself;\n"
            f"`minimask kernels bench {op}` does."
        )
    name, results = found
    about = (
        f"On a CPU: {results['machine']}; {results['date']}, commit {results['commit']}.\n"
        "Medians; torch as installed / with its best settings.  From "
        f"[`{name}`](../../benchmarks/results/{name}), written by\n`{CPU_COMMAND}`."
    )
    rows = [
        "| measured | rung | ms | rate | torch ms | times as fast |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for case, line in lines:
        mine, torch = _ms(line), _ms(line, "torch")
        best = _ms(line, "torch, best settings")
        cells = (
            line["name"],
            default_rung(op, KINDS[case.kind][1]),
            f"{mine:.4g}",
            work_of(case).rate(mine),
            f"{torch:.4g} / {best:.4g}",
            f"{torch / mine:.2f} / {best / mine:.2f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    note = "Operations are those of the definition: Winograd does with fewer.\n\n"
    return f"{about}\n\n{note if op == 'conv2d' else ''}" + "\n".join(rows)


def _gpu_measures(op: str, results: Results) -> list[Mapping[str, Any]]:
    return [m for m in results["bench"]["measures"] if m["op"] == op]


def _gpu_section(op: str, found: tuple[str, Results] | None) -> str:
    measures = [] if found is None else _gpu_measures(op, found[1])
    if found is None or not measures:
        return f"GPU: {NEVER}; `{GPU_COMMAND}` times every rung."
    name, results = found
    about = results["machine"]
    head = (
        f"On a GPU: {about['gpu']}; {about['date']}, commit {about['commit']}.\n"
        "Medians; times as fast as the peer on the same input.  From "
        f"[`{name}`](../../benchmarks/results/{name}), written by\n`{GPU_COMMAND}`."
    )
    rows = [
        "| function | input | rung | ms | GB/s | GFLOP/s | times as fast |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for m in measures:
        same = (m["function"], m["workload"])
        peers = [p["ms"] for p in measures if p["peer"] and (p["function"], p["workload"]) == same]
        ratio = f"{min(peers) / m['ms']:.2f}" if peers and not m["peer"] else ""
        numbers = (m["ms"], m["gb_per_s"], m["gflop_per_s"])
        texts = [f"{number:.4g}" if number else "" for number in numbers]
        rows.append(f"| {' | '.join((*same, m['variant'], *texts, ratio))} |")
    return f"{head}\n\n" + "\n".join(rows)
