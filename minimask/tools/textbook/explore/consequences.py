"""The figure of what the misalignment is and what it costs a mask, by stride."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimask.tools.textbook.explore import mask_bound
from minimask.tools.textbook.explore.mask_bound import Bound
from minimask.tools.textbook.explore.misalignment import BEFORE, Misalignment
from minimask.tools.textbook.explore.operations import OPERATIONS, ROI_ALIGN, ROI_WARP
from minimask.tools.textbook.explore.scene import STRIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(measured: Misalignment, bound: Bound) -> Figure:
    """Draw both: the jitter of the bins, and the best mask IoU for each size of object."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.9), dpi=100, layout="constrained")
    axes = figure.subplots(1, 1 + len(mask_bound.DIAMETERS), width_ratios=(1.5, 1, 1, 1, 1))
    _spread(axes[0], measured)
    for ax, diameter in zip(axes[1:], mask_bound.DIAMETERS, strict=True):
        _ious(ax, bound, diameter)
        ax.set_ylim(0.3, 1.02)
        if ax is not axes[1]:
            ax.set_yticklabels([])
    axes[1].set_ylabel("mask IoU")
    axes[1].legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def _spread(ax: Axes, measured: Misalignment) -> None:
    for operation in OPERATIONS:
        rows = [row for row in measured.rows if row.operation == operation.name]
        # the two RoIAligns lie on each other: both are to be seen
        style = "--" if operation in (ROI_WARP, ROI_ALIGN) else "-"
        stds = [row.std for row in rows]
        ax.plot(STRIDES, stds, style, marker="o", ms=4, color=operation.color, label=operation.name)
        if operation.kind == "pool":
            for stride, std in zip(STRIDES, stds, strict=True):
                ax.annotate(f"{std:.2f}", (stride, std), (6, -12), textcoords="offset points")
    ax.plot(list(BEFORE), list(BEFORE.values()), "x", color="black", ms=7, label="measured before")
    ax.set_title(
        f"misalignment of {measured.size} x {measured.size} bins: std, pixels", fontsize=11
    )
    _finish(ax)
    ax.legend(frameon=False, fontsize=9)


def _ious(ax: Axes, bound: Bound, diameter: int) -> None:
    for operation in mask_bound.OPERATIONS:
        ious = [bound.iou(operation.name, diameter, stride) for stride in STRIDES]
        style = "--" if operation.kind == "warp" else "-"
        ax.plot(STRIDES, ious, style, marker="o", ms=4, color=operation.color, label=operation.name)
    ax.set_title(f"best mask, {diameter} pixels", fontsize=11)
    _finish(ax)


def _finish(ax: Axes) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(STRIDES, [str(stride) for stride in STRIDES])
    ax.set_xlabel("stride")
    ax.grid(alpha=0.25, linewidth=0.6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
