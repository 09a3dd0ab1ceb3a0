"""What was timed, for people and for programs: a line each, JSON, a roofline."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from minimask.tools.kernel_lab.bench import Ceilings, Measure

NAME_WIDTH = 24
HEADER = (
    f"{'variant':{NAME_WIDTH}} {'ms':>9} {'GB/s':>8} {'of copy':>8} {'GFLOP/s':>8} "
    f"{'of matrix':>9} {'runs':>5}"
)


def row(m: Measure, ceiling: Ceilings) -> str:
    """One measure as a line below HEADER."""
    bandwidth = _number(m.bandwidth), _share(m.bandwidth, ceiling.copy)
    rate = _number(m.rate), _share(m.rate, ceiling.matrix)
    return (
        f"{m.variant:{NAME_WIDTH}} {m.ms:>9.4g} {bandwidth[0]:>8} {bandwidth[1]:>8} "
        f"{rate[0]:>8} {rate[1]:>9} {m.runs:>5}"
    )


def _number(value: float) -> str:
    return f"{value:.3g}" if 0 < value < 999.5 else f"{value:.0f}" if value else "-"


def _share(value: float, most: float) -> str:
    return f"{value / most:.1%}" if value else "-"


def as_json(measures: Sequence[Measure], ceiling: Ceilings) -> str:
    """Everything measured, with the date and the machine."""
    rows = [
        {**dataclasses.asdict(m), "gb_per_s": m.bandwidth, "gflop_per_s": m.rate} for m in measures
    ]
    content = {
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "ceilings": dataclasses.asdict(ceiling),
        "measures": rows,
    }
    return json.dumps(content, indent=1) + "\n"


def picture(path: pathlib.Path, measures: Sequence[Measure], ceiling: Ceilings) -> None:
    """A roofline: each measure's rate over its operations a byte, below what the machine can do."""
    from matplotlib.figure import Figure

    shown = [m for m in measures if m.operations and m.bytes]
    if not shown:
        raise ValueError(
            "a roofline needs workloads whose operations are counted: leave out --small"
        )
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    intensity = [m.operations / m.bytes for m in shown]
    x = np.geomspace(min(intensity) / 4, max([*intensity, ceiling.matrix / ceiling.copy]) * 4)
    axes.plot(x, np.minimum(x * ceiling.copy, ceiling.matrix), color="0.3", label="measured limits")
    for name in dict.fromkeys(m.variant for m in shown):
        mine = [m for m in shown if m.variant == name]
        points = [m.operations / m.bytes for m in mine], [m.rate for m in mine]
        axes.plot(*points, "x" if mine[0].peer else "o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="GFLOP/s")
    axes.set_title(f"{shown[0].op} on {ceiling.device}")
    axes.grid(which="major", color="0.9")
    axes.legend()
    figure.savefig(path, dpi=120)
