"""A report as a picture: every seed a dot, the mean and its interval beside them."""

from __future__ import annotations

import io
import math
from typing import Any

from minimask.draw.curves import LINES
from minimask.tools.textbook.ablate.report import Report
from minimask.tools.textbook.ablate.statistics import Estimate

MEASURED, PAPER = LINES[1], LINES[5]
PANELS = (("mask_AP", "mask AP"), ("mask_AP75", "mask AP75"), ("box_AP", "box AP"))


def draw(report: Report) -> bytes:
    """PNG: a panel per metric, a line per row; the paper's number as a hollow diamond."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = report.rows()
    measured = {metric: sum(metric in found for _, found in rows) for metric, _ in PANELS}
    panels = [p for p in PANELS if measured[p[0]] == max(measured.values())]  # to be compared
    height = 1.5 + 0.5 * len(rows)
    figure = Figure(figsize=(2.2 + 2.9 * len(panels), height), dpi=130, layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (metric, title) in zip(all_axes, panels, strict=True):
        for place, (row, estimates) in enumerate(rows):
            if metric in estimates:
                _estimate(axes, place, estimates[metric])
            if metric in row.paper:
                axes.plot(
                    row.paper[metric], place, "D", mfc="none", mec=PAPER, ms=6, label="paper, COCO"
                )
        _dress(axes, title)
    all_axes[0].set_yticks(range(len(rows)), [row.title for row, _ in rows])
    all_axes[0].set_ylim(len(rows) - 0.5, -0.5)
    known = {
        label: handle
        for axes in all_axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        known.values(), known, loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    figure.suptitle(f"{report.plan.table.key}: {report.plan.table.title}", fontsize=11)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()


def _estimate(axes: Any, place: int, value: Estimate) -> None:
    """The seeds above the line, the mean with its interval on it."""
    above = [place - 0.22] * len(value.values)
    axes.plot(value.values, above, "o", color=MEASURED, alpha=0.45, ms=4, mew=0, label="one seed")
    if math.isnan(value.low):
        return
    sides = [[value.mean - value.low], [value.high - value.mean]]
    axes.errorbar(
        value.mean,
        place,
        xerr=sides,
        fmt="o",
        color=MEASURED,
        ms=6,
        capsize=3,
        label="mean, 95 % interval",
    )


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("percent")
    axes.grid(alpha=0.25, linewidth=0.6, axis="x")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
