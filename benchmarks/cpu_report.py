"""What `cpu.py` makes of its measurements: agreement, the table, the file, the floors."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cpu_cases as cases
from cpu_cases import Case

OURS, INSTALLED, TUNED = "minimask", "torch", "torch, best settings"
SIDES = (OURS, INSTALLED, TUNED)
TOLERANCE = 1e-3  # of the largest value; Winograd's rounding is 3e-6, a wrong result far more
MORE_MEMORY = 1.05  # peak memory may be so many times the peer's


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


# ---- the same result


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


def spread(times: Sequence[float]) -> dict[str, float]:
    """What is kept of the times of one side: quick operations run thousands of times."""
    return {
        "median": statistics.median(times),
        "min": min(times),
        "max": max(times),
        "runs": len(times),
    }


def save(path: pathlib.Path, lines: Sequence[Line], threads: int) -> None:
    """Medians and spreads as JSON, whole or not at all."""
    content = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "threads": threads,
        "lines": [
            {
                "name": line.case.name,
                "group": line.case.group,
                "seconds": {side: spread(times) for side, times in line.seconds.items()},
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


def table(lines: Iterable[Line]) -> Iterator[str]:
    """The lines of a table in Markdown, each as soon as its case is measured; groups at the end."""
    yield (
        "| what | minimask | torch | torch, best settings | ratio | ratio to best | goal | "
        "peak memory GB |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---|"
    seen = []
    for line in lines:
        seen.append(line)
        yield row(line)
    ratios = summaries(seen)
    for name in dict.fromkeys(line.case.group for line in seen if line.case.group):
        first, best = ratios[name]
        goal = goal_text(name)
        yield f"| **{name}**, geometric mean | | | | {first:.2f} | {best:.2f} | {goal} | |"


def reasons(lines: Sequence[Line]) -> Iterator[str]:
    """Why results differ on purpose, each reason once."""
    different = [line.case for line in lines if not line.same]
    for reason in dict.fromkeys(case.differs for case in different if case.differs):
        names = "; ".join(case.name for case in different if case.differs == reason)
        yield f"Results differ: {names}: {reason}."


def problems_of(lines: Sequence[Line]) -> list[str]:
    """What makes the benchmark fail: floors, memory, results that differ for no stated reason."""
    found = below_floor(summaries(lines))
    for line in lines:
        most = MORE_MEMORY * min(line.memory[INSTALLED], line.memory[TUNED])
        if line.case.model and line.memory[OURS] > most:
            found.append(f"{line.case.name}: more memory than the peer needs")
        if not line.same and not line.case.differs:
            found.append(f"{line.case.name}: results differ")
    return found
