"""What `growth.py` shows: a table, and a picture with a panel per curve, all axes logarithmic."""

from __future__ import annotations

import io
import os
import statistics
from typing import Any

import numpy as np
from growth_curves import CURVES, OURS, Curve, count, images_per_second

from minimask.system.files import write_whole

# Okabe and Ito: far apart for every kind of eye, and dark against light in print without color
MANY, ONE, OTHER = "#0072b2", "#e69f00", "#777777"
DARK = {ONE: "#8a5f00", OTHER: "#555555"}  # text needs more contrast than a line
GRAY = "#444444"  # of reference lines
COLUMNS = 3


def table(content: dict[str, Any]) -> str:
    """All points in Markdown; the last column is the gain of all threads over one."""
    lines = content["lines"]
    columns = list(dict.fromkeys((line["side"], line["threads"]) for line in lines))
    names = [f"{'' if side == OURS else side + ', '}{count(n)}" for side, n in columns]
    gain = {(OURS, 1), (OURS, content["cores"])} <= set(columns) and content["cores"] > 1
    rows = [
        f"| images per second | | {' | '.join(names)} |" + (" gain |" if gain else ""),
        "|---|---:|" + "---:|" * (len(names) + gain),
    ]
    for name in dict.fromkeys(line["curve"] for line in lines):
        speeds = {
            (line["side"], line["threads"], point["x"]): images_per_second(point)
            for line in lines
            if line["curve"] == name
            for point in line["points"]
        }
        for x in sorted({x for *_, x in speeds}):
            there = [speeds.get((*column, x)) for column in columns]
            cells = ["" if speed is None else f"{speed:.3g}" for speed in there]
            if gain:
                few, all_ = (speeds.get((OURS, n, x)) for n in (1, content["cores"]))
                cells.append(f"{all_ / few:.2f}" if few and all_ else "")
            rows.append(f"| {name} | {x} | {' | '.join(cells)} |")
    return "\n".join(rows)


def draw(content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw all curves of a measurement.

    Args:
        content: as `growth.py --json` writes it; curves without lines get no panel.
        path: of the picture, .png or .svg; replaced when it exists.

    Raises:
        ValueError: nothing was measured.
    """
    from matplotlib.figure import Figure

    measured = {line["curve"] for line in content["lines"]}
    curves = [curve for curve in CURVES if curve.name in measured]
    if not curves:
        raise ValueError("nothing to draw: no curve was measured")
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(10, 0.9 + 3.1 * rows), dpi=160, layout="constrained")
    title = "How the cost of minimask grows: images per second, higher is faster"
    figure.suptitle(title, fontsize=12, weight="bold")
    for i, curve in enumerate(curves):
        lines = [line for line in content["lines"] if line["curve"] == curve.name]
        panel(figure.add_subplot(rows, columns, i + 1), curve, lines, first=i % columns == 0)
    figure.supxlabel(footer(content), fontsize=8, color=GRAY)
    save(figure, path)


def footer(content: dict[str, Any]) -> str:
    """Where and how it was measured."""
    calls = [len(p["seconds"]) for line in content["lines"] for p in line["points"]]
    return (
        f"{content['machine']}, {content['date']}. Medians of {min(calls)} or more calls; "
        "bands: fastest to slowest call. python benchmarks/growth.py"
    )


def panel(axes: Any, curve: Curve, lines: list[dict[str, Any]], first: bool) -> None:
    """One curve: its lines with their names, and the reference line."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    spans = [span(line) for line in lines]
    for line, (x, slow, middle, fast) in zip(lines, spans, strict=True):
        color, marker, style = look(line)
        if line["side"] == OURS:
            axes.fill_between(x, slow, fast, color=color, alpha=0.18, linewidth=0)
        axes.plot(x, middle, style, color=color, marker=marker, markersize=4.5, linewidth=1.8)
    limits(axes, spans)
    names = [
        (middle[-1], name(line), DARK.get(look(line)[0], look(line)[0]))
        for line, (_, _, middle, _) in zip(lines, spans, strict=True)
    ]
    ours = max(range(len(lines)), key=lambda i: (lines[i]["side"] == OURS, lines[i]["threads"]))
    names += reference(axes, curve, spans[ours][0], spans[ours][2])
    write_names(axes, max(x[-1] for x, *_ in spans), names)
    ticks(axes, sorted({int(v) for x, *_ in spans for v in x}))
    first_line, _, second_line = curve.title.partition(": ")
    axes.set_title(first_line, fontsize=10, loc="left", weight="bold", pad=18)
    axes.text(0, 1.03, second_line, transform=axes.transAxes, fontsize=9, color=GRAY)
    axes.set_xlabel(curve.axis, fontsize=9)
    if first:
        axes.set_ylabel("images per second", fontsize=9)


def span(line: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Quantity, and images per second of the slowest, the median and the fastest call."""
    points = sorted(line["points"], key=lambda point: point["x"])
    x = np.array([point["x"] for point in points], float)
    of = (max, statistics.median, min)
    slow, middle, fast = (
        np.array([p["images"] / choose(p["seconds"]) for p in points]) for choose in of
    )
    return x, slow, middle, fast


def look(line: dict[str, Any]) -> tuple[str, str, str]:
    """Color, marker and style of a line."""
    one = line["threads"] == 1
    if line["side"] != OURS:
        return OTHER, "o" if one else "s", "--"
    return (ONE, "o", "-") if one else (MANY, "s", "-")


def limits(axes: Any, spans: list[Any]) -> None:
    """All lines, room above, and room on the right for their names."""
    left, right = (choose(x for x, *_ in spans for x in x) for choose in (min, max))
    low, high = min(found[1].min() for found in spans), max(found[3].max() for found in spans)
    wide = np.log2(right / left) if right > left else 1.0
    axes.set_xlim(left * 2 ** (-0.06 * wide), right * 2 ** (0.36 * wide))
    tall = max(np.log2(high / low), 1.0)
    axes.set_ylim(low * 2 ** (-0.12 * tall), high * 2 ** (0.12 * tall))


def name(line: dict[str, Any]) -> str:
    """What is written at the end of a line."""
    threads = count(line["threads"])
    return threads if line["side"] == OURS else f"{line['side']},\n{threads}"


def reference(
    axes: Any, curve: Curve, x: np.ndarray, y: np.ndarray
) -> list[tuple[float, str, str]]:
    """A thin line: the speed if cost were proportional to the quantity.

    It goes through the last point (x, y), where the constant part of the cost weighs least; a level
    one through the first.  The name of a level line is left to be written with the others'.
    """
    if curve.slope == 0:
        axes.plot(x, np.full(len(x), y[0]), ":", color=GRAY, linewidth=1.0, zorder=1)
        return [(y[0], f"proportional\nto {curve.reference}", GRAY)]
    axes.plot(x, y[-1] * (x / x[-1]) ** curve.slope, ":", color=GRAY, linewidth=1.0, zorder=1)
    _, high = axes.get_ylim()
    middle = np.sqrt(y[-1] * high)  # half of the way up, where it is to the right of all lines
    axes.annotate(
        f"proportional\nto {curve.reference}",
        (x[-1] * (middle / y[-1]) ** (1 / curve.slope), middle),
        xytext=(5, 3),
        textcoords="offset points",
        fontsize=8,
        color=GRAY,
        style="italic",
    )
    return []


def write_names(axes: Any, x: float, names: list[tuple[float, str, str]]) -> None:
    """Write each name, (height, text, color), to the right of x; no two over each other."""
    low, high = np.log2(axes.get_ylim())
    line = 0.068 * (high - low)  # the height of a line of text
    top = -np.inf
    for y, text, color in sorted(names):
        tall = line * (1 + text.count("\n"))
        height = max(float(np.log2(y)), top + tall / 2)
        top = height + tall / 2
        axes.annotate(
            text,
            (x, 2.0**height),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=color,
            style="italic" if color == GRAY else "normal",
        )


def ticks(axes: Any, quantities: list[int]) -> None:
    """Numbers as people write them: every measured quantity, and some round speeds."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.xaxis.set_major_locator(FixedLocator(quantities))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(FixedLocator(round_numbers(*axes.get_ylim())))
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def round_numbers(low: float, high: float) -> list[float]:
    """Round numbers between two, at least three where that can be."""
    tens = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1, 2, 5), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8), np.arange(10, 100) / 10):
        found = [float(f"{ten * step:g}") for ten in tens for step in steps]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 3:
            break
    return found[:: max(1, len(found) // 6)]


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write the picture whole or not at all; the name's ending says as what."""
    content = io.BytesIO()
    figure.savefig(content, format=os.fspath(path).rpartition(".")[2])
    write_whole(path, content.getvalue())
