"""Pictures for claims 10 and 57 to 92: what comes out, how it is judged, what it costs."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from minimask.conventions import EXACT
from minimask.evaluate import evaluate_detections
from minimask.models.mask_head import mask_targets
from minimask.models.paste import paste_mask
from minimask.tools.textbook.claims import published
from minimask.tools.textbook.claims.metric import boxes_to_judge
from minimask.tools.textbook.claims.pictures.canvas import (
    BLUE,
    ORANGE,
    RED,
    SERIES,
    bars,
    colored,
    frame,
    legend,
    panels,
    show,
    title,
)
from minimask.tools.textbook.claims.scenes import (
    Listener,
    bent_road,
    disk,
    scene,
    small_network,
    tight_box,
)


def cost_of_cropping() -> Figure:
    """10: backbone once, and once for each region."""
    network, sample = small_network(), scene()
    whole, piece = Listener(), Listener()
    with whole.listen():
        network.predict([sample.image])
    with piece.listen():
        network.predict([np.ascontiguousarray(sample.image[:64, :64])])
    regions = len(whole.rois()[7])
    once, each = whole.flop("ResNet") / 1e6, piece.flop("ResNet") / 1e6
    figure, (a,) = panels(1, width=6.5, height=1.8)
    bars(a, ("image once", f"{regions} regions cut out"), (once, regions * each), "{:.0f} MFLOP")
    title(a, "work of a small backbone, image of 96 x 96, regions of 64 x 64")
    return figure


def curves() -> Figure:
    """57: precision over recall at several IoUs, and the AP of each."""
    truth, results = boxes_to_judge()
    curve = evaluate_detections(truth, results, kinds=("box",)).curves["box"]
    figure, (a, b) = panels(2, width=3.4, height=2.8)
    for i, t in enumerate((0, 2, 4, 6)):
        name = f"IoU {curve.ious[t]:.2f}"
        a.plot(curve.recall, curve.precision[t, :, 0], color=SERIES[i], label=name)
    a.set(xlabel="recall, 101 points", ylabel="precision")
    legend(a)
    aps = curve.precision[:, :, 0].mean(axis=1)
    bars(b, [f"{iou:.2f}" for iou in curve.ious], aps.tolist(), "{:.2f}", [BLUE])
    title(b, f"AP at each IoU; their mean is AP = {aps.mean():.3f}")
    return figure


def published_results() -> Figure:
    """58: mask AP of the paper's table 1."""
    figure, (a,) = panels(1, width=6.5, height=2.6)
    names = [f"{row[0]}, {row[1]}" for row in published.MASK_AP]
    colors = [BLUE if row[0] == "Mask R-CNN" else "#9aa5b6" for row in published.MASK_AP]
    bars(a, names, [row[2] for row in published.MASK_AP], "{:.1f}", colors)
    title(a, "mask AP, test-dev")
    return figure


def adding_and_mixing() -> Figure:
    """59: a dark color added to an image and mixed into it."""
    sample = scene(2)
    mask, color = sample.masks[0], np.array([30, 20, 90])
    added = np.clip(sample.image + 0.5 * mask[:, :, None] * color, 0, 255).astype(np.uint8)
    mixed = np.where(mask[:, :, None], 0.5 * sample.image + 0.5 * color, sample.image)
    figure, (a, b, c) = panels(3)
    show(a, sample.image, "image")
    show(b, added, "half of a dark color added")
    show(c, mixed.astype(np.uint8), "mixed in by half")
    return figure


def road() -> Figure:
    """66: a bend, its box, its mask."""
    mask = bent_road()
    figure, (a, b) = panels(2)
    x0, y0, x1, y1 = tight_box(mask).astype(int)
    share = mask[y0:y1, x0:x1].mean()
    show(a, colored([mask]), f"its box: {share:.0%} of it is road")
    frame(a, (x0, y0, x1, y1), RED, linewidth=2.5)
    show(b, colored([np.zeros_like(mask), np.zeros_like(mask), mask]), "its mask: where to drive")
    return figure


def overflow() -> Figure:
    """71: a full mask pasted into a box with fractions of pixels, in two ways."""
    box = np.array([4.6, 3.3, 13.4, 10.7])
    figure, axes = panels(2, width=3.2, height=2.8)
    for each, way in zip(axes, ("torchvision", "detectron2"), strict=True):
        soft = paste_mask(np.ones((28, 28), np.float32), box, 14, 18, way)
        show(each, soft, f"{way}: probabilities; red from 0.5 on", cmap="Blues", vmin=0, vmax=1.4)
        for row, column in np.argwhere(soft >= 0.5):
            frame(each, (column + 0.15, row + 0.15, column + 0.85, row + 0.85), RED, linewidth=0.8)
        frame(each, box, ORANGE, linewidth=2.2)
    return figure


def cut_at_half() -> Figure:
    """91: a disk as 28 x 28 cells, enlarged, and cut at 0.5."""
    true = disk(120, 120, 60.3, 59.6, 45)
    box = np.array([15.3, 14.6, 105.3, 104.6], np.float32)
    cells = mask_targets(true[None].astype(np.uint8), box[None], np.array([0]), 28, aligned=True)[0]
    soft = paste_mask(cells, box, 120, 120, EXACT.paste)
    figure, (a, b, c) = panels(3)
    show(a, cells, "28 x 28 cells")
    show(b, soft, "resized to the box")
    show(
        c,
        colored([true & (soft >= 0.5), true & (soft < 0.5), ~true & (soft >= 0.5)]),
        "from 0.5 on",
    )
    return figure


def cut_targets() -> Figure:
    """92: an object, three regions, and the targets of their masks."""
    truth = np.zeros((1, 64, 64), np.uint8)
    truth[0] = disk(64, 64, 32, 32, 18)
    boxes = np.array([[13, 13, 51, 51], [32, 14, 64, 46], [4, 30, 40, 62]], np.float32)
    targets = mask_targets(truth, boxes, np.zeros(3, np.int64), 28, target="hard", aligned=True)
    figure, axes = panels(4, width=2.1)
    show(axes[0], colored([truth[0] > 0]), "object and regions")
    for i, box in enumerate(boxes):
        frame(axes[0], box, SERIES[i + 1], linewidth=2.2)
        show(axes[i + 1], targets[i], "its target", cmap="Blues", vmax=1.4)
        frame(axes[i + 1], (0, 0, 28, 28), SERIES[i + 1], linewidth=3)
    return figure


PICTURES = {
    10: cost_of_cropping,
    57: curves,
    58: published_results,
    59: adding_and_mixing,
    66: road,
    71: overflow,
    91: cut_at_half,
    92: cut_targets,
}
