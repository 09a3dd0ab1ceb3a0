"""Before and after on one picture: boxes and masks, anchors and regions, targets of masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.draw.outlines import mask_paths
from minimask.models.detections import Detections
from minimask.tools.textbook.compare.matching import Change
from minimask.tools.textbook.compare.training import Step, TrainingChange

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE, AFTER = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion
BOTH, OBJECT, RIM = "#b0b0b0", "#ffffff", "#404040"
# also lighter, where lines end and masks are filled; a small palette keeps all of them
COLORS = (BEFORE, AFTER, "#80b8d8", "#eaae80", BOTH, OBJECT, RIM, "#000000")
DASHED: Any = (0, (3, 2))
DOTTED: Any = (0, (1, 1.5))
SIZE = (8.6, 4.5)  # inches
DPI = 100
TARGETS = 4  # mask targets that are drawn
NEAREST = 12.0  # a zoom shows so many times the largest shift
LEAST = 3.0  # pixels of a zoom's side


def draw_change(
    image: np.ndarray, a: Detections, b: Detections, change: Change, names: tuple[str, str]
) -> Figure:
    """Both predictions on the image, and the place where they differ most, enlarged.

    Args:
        image: (H, W, 3) uint8.
        a: the detections before.
        b: and after.
        change: what they have in common.
        names: what the two are called in the legend.
    """
    figure, axes = _panels()
    kept_a = sorted({*change.pairs[:, 0].tolist(), *change.lost.tolist()})
    kept_b = sorted({*change.pairs[:, 1].tolist(), *change.new.tolist()})
    view = _worst_place(a, b, change, image.shape[:2])
    for ax, window in zip(axes, (None, view), strict=True):
        _show(ax, image, window)
        _objects(ax, a, kept_a, BEFORE, "-")
        _objects(ax, b, kept_b, AFTER, DASHED)
    x0, y0, x1, y1 = view
    _box(axes[0], view, OBJECT, "-", 1.0)
    axes[0].set_title(f"{change.before} before, {change.after} after", fontsize=10)
    axes[1].set_title(f"where most changes, {x1 - x0:.0f} x {y1 - y0:.0f} pixels", fontsize=10)
    _classes(axes[1], a, b, change)
    _legend(figure, names)
    return figure


def draw_training(
    before: Step, after: Step, change: TrainingChange, names: tuple[str, str]
) -> Figure:
    """What training compares the network with: anchors or regions, and the targets of masks."""
    figure, axes = _panels()
    one, other = (getattr(step, change.moves) for step in (before, after))
    _show(axes[0], before.shown, None)
    for boxes, style in ((before.gt_boxes, "-"), (before.crowds, DOTTED)):
        for box in boxes:
            _box(axes[0], box, OBJECT, style, 1.4)
    shared = _boxes(axes[0], one, other)
    title = f"{change.moves} with an object: {len(one)} before, {len(other)} after"
    axes[0].set_title(title, fontsize=10)
    if change.cells:
        _targets(axes[1], before, after)
    else:
        _losses(axes[1], before, after)
    more = {"an object's box": (OBJECT, "-")}
    more |= {"a crowd": (OBJECT, DOTTED)} if len(before.crowds) else {}
    more |= {"the same before and after": (BOTH, "-")} if shared else {}
    _legend(figure, names, more)
    return figure


def _panels() -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    return figure, figure.subplots(1, 2)


def _show(ax: Axes, image: np.ndarray, window: tuple[float, float, float, float] | None) -> None:
    height, width = image.shape[:2]
    ax.imshow(image, extent=(0, width, height, 0), interpolation="nearest")
    x0, y0, x1, y1 = window or (0, 0, width, height)
    ax.set_xlim(x0, x1)
    ax.set_ylim(y1, y0)
    ax.set_axis_off()


def _objects(ax: Axes, found: Detections, chosen: list[int], color: str, style: Any) -> None:
    from matplotlib.patches import PathPatch

    for i in chosen:
        _box(ax, found.boxes[i], color, style, 1.6)
        if found.keypoints is not None:
            x, y = found.keypoints[i, :, 0], found.keypoints[i, :, 1]
            marker = "o" if style == "-" else "x"
            ax.scatter(
                x, y, 12, color, marker=marker, linewidths=1.2, path_effects=_rim(color, 1.2)
            )
        if found.mask_probs is None:
            continue
        crop, corner = found.soft_crop(i)
        for path in mask_paths(crop, corner):
            ax.add_patch(PathPatch(path, facecolor=color, alpha=0.18, edgecolor="none"))
            ax.add_patch(PathPatch(path, fill=False, edgecolor=color, linewidth=1.3, ls=style))


def _box(ax: Axes, box: Any, color: str, style: Any, width: float) -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = (float(v) for v in box)
    box = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, ls=style, lw=width)
    box.set_path_effects(_rim(color, width))
    ax.add_patch(box)


def _rim(color: str, width: float) -> list[Any]:
    """A thin rim that sets a line off from whatever is behind it."""
    from matplotlib.patheffects import Normal, Stroke

    rim = RIM if color in (OBJECT, BOTH) else OBJECT
    return [Stroke(linewidth=width + 1.2, foreground=rim), Normal()]


def _worst_place(
    a: Detections, b: Detections, change: Change, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The square that shows the largest change: a corner that moved, or a whole object."""
    if len(change.lost) or len(change.new):
        box = a.boxes[change.lost[0]] if len(change.lost) else b.boxes[change.new[0]]
    elif change.worst is None:
        box = np.array([0, 0, size[1], size[0]], np.float64)
    else:
        i, j = change.pairs[change.worst]
        box = np.concatenate(
            [np.minimum(a.boxes[i, :2], b.boxes[j, :2]), np.maximum(a.boxes[i, 2:], b.boxes[j, 2:])]
        )
        side = float(max(box[2] - box[0], box[3] - box[1]))
        near = max(NEAREST * change.box, LEAST)
        if 0 < change.box and near < side:
            moved = np.abs(a.boxes[i] - b.boxes[j])
            corner = box[[0, 2]][int(moved[2] > moved[0])], box[[1, 3]][int(moved[3] > moved[1])]
            return _square(corner[0], corner[1], near)
    center = (box[:2] + box[2:]) / 2
    return _square(center[0], center[1], 1.3 * float(max(box[2] - box[0], box[3] - box[1], 4)))


def _square(x: float, y: float, side: float) -> tuple[float, float, float, float]:
    return float(x - side / 2), float(y - side / 2), float(x + side / 2), float(y + side / 2)


def _classes(ax: Axes, a: Detections, b: Detections, change: Change) -> None:
    """The names of the object that is shown, where they differ or its score does."""
    if change.worst is None or len(change.lost) or len(change.new):
        return
    i, j = change.pairs[change.worst]
    lines = [f"{found.names[k]} {found.scores[k]:.3f}" for found, k in ((a, i), (b, j))]
    for line, text, color in zip((0.02, 0.085), lines, (BEFORE, AFTER), strict=True):
        ax.text(
            0.02,
            1 - line,
            text,
            color="white",
            fontsize=9,
            va="top",
            transform=ax.transAxes,
            bbox={"facecolor": color, "edgecolor": "none", "pad": 2},
        )


def _boxes(ax: Axes, before: np.ndarray, after: np.ndarray) -> bool:
    """Boxes of both lists in gray, those of one alone in its color; whether there are gray ones."""
    keys = [{tuple(np.round(box, 2).tolist()) for box in boxes} for boxes in (before, after)]
    for box in keys[0] & keys[1]:
        _box(ax, box, BOTH, "-", 0.9)
    for box in keys[0] - keys[1]:
        _box(ax, box, BEFORE, "-", 1.4)
    for box in keys[1] - keys[0]:
        _box(ax, box, AFTER, DASHED, 1.4)
    return bool(keys[0] & keys[1])


def _targets(ax: Axes, before: Step, after: Step) -> None:
    """Targets of masks that differ most: before above, after below."""
    assert before.masks is not None and after.masks is not None
    differs = np.abs(before.masks - after.masks).mean(axis=(1, 2))
    chosen = np.argsort(-differs, kind="stable")[:TARGETS]
    gap = np.full((before.masks.shape[1], 2), np.nan)
    rows = []
    for masks in (before.masks, after.masks):
        tiles = [tile for k in chosen for tile in (masks[k], gap)]
        rows.append(np.concatenate(tiles[:-1], axis=1))
    sheet = np.concatenate([rows[0], np.full((2, rows[0].shape[1]), np.nan), rows[1]])
    ax.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title("targets of masks: before above, after below", fontsize=10)


def _losses(ax: Axes, before: Step, after: Step) -> None:
    """The losses side by side."""
    losses = list(before.losses)
    place = np.arange(len(losses))
    for shift, step, color in ((-0.2, before, BEFORE), (0.2, after, AFTER)):
        values = [step.losses.get(name, 0.0) for name in losses]
        hatch = "" if color == BEFORE else "///"
        bars = ax.barh(place + shift, values, 0.38, color=color, hatch=hatch, edgecolor="white")
        ax.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=8)
    ax.set_yticks(place, [name.removeprefix("loss_") for name in losses], fontsize=9)
    ax.invert_yaxis()
    ax.margins(x=0.2)
    ax.set_title("losses", fontsize=10)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _legend(
    figure: Figure, names: tuple[str, str], more: Mapping[str, tuple[str, Any]] | None = None
) -> None:
    """What the lines are: before, after, and others with their color and dashes."""
    from matplotlib.lines import Line2D

    styles = {names[0]: (BEFORE, "-"), names[1]: (AFTER, DASHED), **(more or {})}
    lines = [
        Line2D([], [], color=color, lw=2, ls=style, path_effects=_rim(color, 2))
        for color, style in styles.values()
    ]
    figure.legend(
        lines, list(styles), loc="outside lower center", ncols=3, frameon=False, fontsize=10
    )
