"""Curves of a run and of an evaluation, as PNG files."""

# T IoU thresholds   Q recall points   K classes

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.draw.fonts import drawable, families
from minimask.system.files import write_whole

if TYPE_CHECKING:
    from minimask.evaluate import Curve, Results

# column of the log -> name in the legend, index into LINES
LOSSES = {
    "loss": ("total", 0),
    "loss_objectness": ("objectness: is there something", 1),
    "loss_rpn_box_reg": ("proposals' boxes", 2),
    "loss_classifier": ("class", 3),
    "loss_box_reg": ("final boxes", 4),
    "loss_mask": ("mask", 5),
    "loss_keypoint": ("keypoints", 6),
    "loss_pixels": ("pixels' classes", 6),
}
LONGEST = 22  # characters of a class's name in a legend
# Okabe and Ito as they are, for lines on white; black first
LINES = ("black", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c7a00")


def loss_curves(
    csv_path: str | os.PathLike[str],
    png_path: str | os.PathLike[str],
    validation_path: str | os.PathLike[str] | None = None,
) -> None:
    """Draw the losses, the learning rate and the gradient's length over the steps of a run.

    Args:
        csv_path: the run's log; columns it lacks are left out, lines half-written too.
        png_path: the picture; replaced when it exists.
        validation_path: losses on validation images, drawn as dots in the same colors; or None.

    Raises:
        FileNotFoundError: no log.
        ValueError: the log has no column "step".
    """
    table = _read(csv_path)
    figure = _figure(11, 6.4)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1))
    axes = figure.add_subplot(grid[0, :])
    steps = table["step"]
    for column, (name, line) in LOSSES.items():
        if column in table:
            _line(axes, steps, table[column], name, LINES[line], 2.2 if column == "loss" else 1.5)
    if validation_path is not None:
        _dots(axes, _read(validation_path))
    axes.set_yscale("log")
    dots = "; dots: validation" if validation_path is not None else ""
    axes.set_ylabel(f"loss (faint: each step; bold: smoothed{dots})")
    _finish(axes, legend=True)
    for i, (column, name) in enumerate((("lr", "learning rate"), ("grad_norm", "gradient norm"))):
        small = figure.add_subplot(grid[1, i])
        if column in table:
            _line(small, steps, table[column], name, LINES[1], 1.5, smooth=column != "lr")
        small.set_ylabel(name)
        small.set_xlabel("step")
        small.set_ylim(bottom=0)
        _finish(small)
    _save(figure, png_path)


def ap_curves(csv_path: str | os.PathLike[str], png_path: str | os.PathLike[str]) -> None:
    """Draw AP, AP50 and AP75 of keypoints, masks and boxes over the steps of a run.

    Args:
        csv_path: the run's evaluations, with columns such as step, mask_AP, box_AP50.
        png_path: the picture; replaced when it exists.
    """
    table = _read(csv_path)
    figure = _figure(9, 4.6)
    axes = figure.add_subplot()
    for kind, style in (("keypoints", ":"), ("mask", "-"), ("box", "--")):
        for metric, color in (("AP", LINES[0]), ("AP50", LINES[1]), ("AP75", LINES[5])):
            values = table.get(f"{kind}_{metric}")
            if values is None:
                continue
            values = np.where(values < 0, np.nan, values)  # -1: nothing to measure
            if kind == "keypoints" and not np.isfinite(values).any():
                continue
            label = f"{kind} {metric}"
            if np.isfinite(values).any():
                label += f" ({values[np.isfinite(values)][-1]:.3f})"
            axes.plot(
                table["step"], values, style, color=color, marker="o", markersize=3.5, label=label
            )
    axes.set_xlabel("step")
    axes.set_ylabel("average precision")
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    _finish(axes, legend=True)
    _save(figure, png_path)


def iou_curves(csv_path: str | os.PathLike[str], png_path: str | os.PathLike[str]) -> None:
    """Draw the pixel measures of a semantic segmenter over the steps of a run.

    Args:
        csv_path: the run's evaluations: step, mean_iou, foreground_iou, pixel_accuracy.
        png_path: the picture; replaced when it exists.
    """
    table = _read(csv_path)
    figure = _figure(9, 4.6)
    axes = figure.add_subplot()
    for column, color in (("mean_iou", 0), ("foreground_iou", 1), ("pixel_accuracy", 5)):
        values = np.where(table[column] < 0, np.nan, table[column])  # -1: nothing to measure
        label = column.replace("_", " ").replace("iou", "IoU")
        if np.isfinite(values).any():
            label += f" ({values[np.isfinite(values)][-1]:.3f})"
        axes.plot(
            table["step"], values, color=LINES[color], marker="o", markersize=3.5, label=label
        )
    axes.set_xlabel("step")
    axes.set_ylabel("share of pixels")
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    _finish(axes, legend=True)
    _save(figure, png_path)


def pr_curves(results: Results, png_path: str | os.PathLike[str]) -> None:
    """Draw precision over recall: at several IoU thresholds, and for each class at IoU 0.5.

    Args:
        results: of an evaluation.
        png_path: the picture; replaced when it exists.
    """
    kinds = list(results.curves)
    classes = len(next(iter(results.curves.values())).classes) if kinds else 0
    rows = 2 if classes > 1 else 1
    figure = _figure(6.6 * max(len(kinds), 1) + 0.4, 4.2 * rows)
    grid = figure.add_gridspec(rows, max(len(kinds), 1))
    for column, kind in enumerate(kinds):
        curve = results.curves[kind]
        title = {"box": "boxes", "mask": "masks", "keypoints": "keypoints"}[kind]
        axes = figure.add_subplot(grid[0, column])
        measure = "OKS" if kind == "keypoints" else "IoU"
        _by_threshold(axes, curve, measure)
        _precision_axes(axes, f"{title}, mean over classes" if rows == 2 else title)
        if rows == 2:
            axes = figure.add_subplot(grid[1, column])
            _by_class(axes, curve)
            _precision_axes(axes, f"{title}, each class at {measure} 0.5")
    _save(figure, png_path)


def _by_threshold(axes: Any, curve: Curve, measure: str) -> None:
    from matplotlib import colormaps

    shades = colormaps["viridis"]
    for t, iou in enumerate(curve.ious):
        if round(float(iou), 2) not in (0.5, 0.6, 0.7, 0.75, 0.8, 0.9):
            continue
        precision = _mean(curve.precision[t])
        if precision is not None:
            color = shades(0.9 * t / (len(curve.ious) - 1))
            label = f"{measure} {iou:.2f}: AP {precision.mean():.3f}"
            axes.plot(curve.recall, precision, color=color, label=label)


def _by_class(axes: Any, curve: Curve) -> None:
    for k, name in enumerate(curve.classes):
        precision = _mean(curve.precision[0, :, k : k + 1])
        if precision is None:
            continue
        color, style = LINES[1 + k % 7], ("-", "--", ":")[k // 7 % 3]
        short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "\u2026"
        text = f"{drawable(short)}: {precision.mean():.3f}".replace("$", r"\$")
        label = text if k < 21 else None
        axes.plot(curve.recall, precision, style, color=color, label=label)


def _mean(precision: np.ndarray) -> np.ndarray | None:
    """Over the classes (Q, K) -> (Q,) that have ground truth; None if none has."""
    counted = precision[:, (precision > -1).all(axis=0)]
    return counted.mean(axis=1) if counted.shape[1] else None


def _precision_axes(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("recall: share of objects found")
    axes.set_ylabel("precision: share of detections right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)
    _finish(axes, legend=True)


def _line(
    axes: Any,
    steps: np.ndarray,
    values: np.ndarray,
    name: str,
    color: str,
    width: float,
    smooth: bool = True,
) -> None:
    """Every value faintly, and a bold line through their running mean."""
    window = max(1, len(values) // 40)
    if smooth and window > 1:
        axes.plot(steps, values, color=color, alpha=0.18, linewidth=0.8)
        values = _running_mean(values, window)
    axes.plot(steps, values, color=color, linewidth=width, label=name)


def _dots(axes: Any, table: dict[str, np.ndarray]) -> None:
    """The losses on validation images, joined by thin lines."""
    style: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linewidth": 0.7, "linestyle": ":"}
    for column, (_, line) in LOSSES.items():
        if column in table:
            axes.plot(table["step"], table[column], color=LINES[line], **style)


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of the last `window` values at each step; of fewer at the start; gaps left out."""
    known = np.isfinite(values)
    totals = np.concatenate([[0], np.cumsum(np.where(known, values, 0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    count = counts[ends] - counts[starts]
    return np.where(count > 0, (totals[ends] - totals[starts]) / np.maximum(count, 1), np.nan)


def _read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The columns of a CSV file as floats; empty and broken entries are NaN."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
        names = [name for name in (rows[0] if rows else {}) if name]
    if rows and "step" not in names:
        raise ValueError(f"{path}: expected a column 'step', got {names}")
    columns = {name: np.array([_number(row[name]) for row in rows]) for name in names}
    return columns or {"step": np.zeros(0)}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _finish(axes: Any, legend: bool = False) -> None:
    """Grid and frame; the legend beside the axes, where no curve can run through it."""
    axes.grid(alpha=0.25, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if legend and axes.get_legend_handles_labels()[0]:
        placed = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
        written: Any = axes.legend(frameon=False, fontsize=9, **placed)
        for text in written.get_texts():
            text.set_family(families(text.get_text()))


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    write_whole(path, content.getvalue())
