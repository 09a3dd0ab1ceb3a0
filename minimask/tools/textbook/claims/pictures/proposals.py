"""Pictures for claims 13 to 29 and 75 to 82: anchors, what they learn, what is proposed."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.conventions import PAPER
from minimask.kernels import box_iou, nms
from minimask.models.anchors import cell_anchors
from minimask.tools.textbook.claims.faster_rcnn import is_inside, recall_of_proposals
from minimask.tools.textbook.claims.learning import OBJECT, as_printed, shifted
from minimask.tools.textbook.claims.pictures.canvas import (
    BLUE,
    GREEN,
    INK,
    LINE,
    ORANGE,
    QUIET,
    RED,
    SERIES,
    bars,
    frame,
    legend,
    panels,
    show,
    title,
)
from minimask.tools.textbook.claims.proposals import PAPER_RATIOS, PAPER_SIZES, funnel, paper_grid
from minimask.tools.textbook.claims.receptive_field import VGG16, footprint
from minimask.tools.textbook.claims.scenes import network_of, scene


def anchors_on_the_map() -> Figure:
    """13: the 38 x 56 cells of the map, with the nine anchors of one of them."""
    anchors = paper_grid(38, 56)
    figure, (a,) = panels(1, width=7, height=4.6)
    centers = anchors.reshape(-1, 9, 4)[:, 0]
    x, y = (centers[:, 0] + centers[:, 2]) / 2, (centers[:, 1] + centers[:, 3]) / 2
    a.plot(x, y, ".", markersize=1.6, color="#9aa5b6")
    cell = anchors.reshape(38, 56, 9, 4)[19, 28]
    for i, box in enumerate(cell):
        frame(a, box, SERIES[i // 3])
    a.add_patch(Rectangle((0, 0), 896, 608, fill=False, edgecolor=INK))
    a.set(xlim=(-60, 956), ylim=(668, -60), aspect="equal", xlabel="pixels", ylabel="pixels")
    title(a, f"38 x 56 = {38 * 56} cells, 9 anchors each: {len(anchors)}; those of one cell drawn")
    return figure


def suppression() -> Figure:
    """14: boxes around objects before and after suppression at 0.7."""
    sample, rng = scene(), np.random.default_rng(0)
    boxes = np.repeat(sample.boxes, 12, axis=0).astype(float)
    boxes += rng.normal(0, 4, boxes.shape)
    scores = rng.random(len(boxes))
    kept = nms(boxes, scores, 0.7)
    tight = nms(boxes, scores, 0.3)
    figure, axes = panels(3)
    for each, index, text in zip(
        axes,
        (np.arange(len(boxes)), kept, tight),
        (f"{len(boxes)} boxes", f"at 0.7: {len(kept)}", f"at 0.3: {len(tight)}"),
        strict=True,
    ):
        show(each, sample.image, text)
        for box in boxes[index]:
            frame(each, box, ORANGE, linewidth=1)
    return figure


def the_funnel() -> Figure:
    """15: how many boxes are left at each step."""
    counts, _, _ = funnel()
    figure, (a,) = panels(1, width=6, height=2.2)
    bars(a, list(counts), list(counts.values()))
    title(a, "boxes of a small network on an image of 96 x 96, N = 40")
    return figure


def what_a_cell_sees() -> Figure:
    """16: pixels that reach a cell of VGG-16's map through a window of n x n."""
    figure, axes = panels(3)
    for each, n in zip(axes, (1, 3, 5), strict=True):
        print_of = footprint([*VGG16, (n, 1, n // 2)], 352)
        side = int((print_of != 0).any(axis=0).sum())
        show(each, print_of**0.5, f"n = {n}: {side} pixels", cmap="Blues")
        rows, columns = np.nonzero(print_of)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        frame(each, box, GREEN if n == 3 else RED)
    return figure


def cross_entropies() -> Figure:
    """19: the loss with its minus signs, and as printed."""
    p = np.linspace(0.01, 0.99, 99)
    figure, axes = panels(2, width=3.2)
    for each, label, name in zip(
        axes, (1, 0), ("object, p* = 1", "background, p* = 0"), strict=True
    ):
        logits = np.log(p / (1 - p))
        target = np.full_like(p, label)
        ours = F.binary_cross_entropy_with_logits(Tensor(logits), target, reduction="none").data
        printed = -(label * np.log(p) + label * np.log(p))
        each.plot(p, ours, color=GREEN, label="with minus signs, and ours")
        each.plot(p, printed, "--", color=RED, label="as printed")
        each.set(xlabel="probability p of an object", ylabel="loss", ylim=(-0.3, 6))
        title(each, name)
        legend(each)
    return figure


def smooth_l1() -> Figure:
    """20: smooth L1 for several beta, and as printed, around the target 2."""
    t = np.linspace(-1, 5, 241)
    figure, (a,) = panels(1, width=5.5, height=3)
    for beta, color in ((1.0, GREEN), (1 / 9, BLUE), (0.0, ORANGE)):
        loss = F.smooth_l1(Tensor(t), np.full_like(t, 2), beta=beta, reduction="none").data
        a.plot(t, loss, color=color, label=f"beta = {beta:.3g}")
    a.plot(t, as_printed(t, np.full_like(t, 2.0)), "--", color=RED, label="as printed")
    a.axvline(2, color=LINE)
    a.set(xlabel="prediction t, the truth being 2", ylabel="loss", ylim=(0, 4))
    legend(a)
    return figure


def three_answers() -> Figure:
    """22: an anchor sliding away from its object: positive, ignored, background."""
    shifts = np.linspace(0, 100, 201)
    anchors = np.array([shifted(x) for x in shifts], np.float32)
    overlap = box_iou(OBJECT, anchors)[0]
    labels = network_of("paper").rpn.matcher(OBJECT, anchors)
    figure, (a,) = panels(1, width=6, height=2.8)
    for value, name, color in (
        (0, "object", GREEN),
        (-2, "ignored", ORANGE),
        (-1, "background", RED),
    ):
        these = labels == value
        a.plot(shifts[these], overlap[these], ".", color=color, label=name)
    for bound in (0.7, 0.3):
        a.axhline(bound, color=LINE)
    a.set(xlabel="anchor's distance from the object, % of its side", ylabel="IoU")
    legend(a)
    return figure


def nine_and_three() -> Figure:
    """29: the anchors of a cell on a single map, and on each level of a pyramid."""
    figure, axes = panels(2, width=3.4, height=3.2)
    for each, sizes, text in zip(
        axes,
        (PAPER_SIZES, (32, 64, 128, 256, 512)),
        ("one map: 9 at each cell", "pyramid: 3 at each cell of 5 levels"),
        strict=True,
    ):
        for i, size in enumerate(sizes):
            for box in cell_anchors([size], PAPER_RATIOS, round_corners=PAPER.round_anchors):
                frame(each, box, SERIES[i])
        each.set(xlim=(-400, 400), ylim=(400, -400), aspect="equal", xlabel="pixels")
        title(each, text)
    return figure


def border() -> Figure:
    """75: where the centers of anchors lie that do not cross the border, by size."""
    figure, axes = panels(3, width=3)
    anchors = paper_grid(38, 63)
    inside = is_inside(anchors, 600, 1000)
    center = (anchors[:, :2] + anchors[:, 2:]) / 2
    side = np.sqrt((anchors[:, 2:] - anchors[:, :2]).prod(axis=1))
    for each, size in zip(axes, PAPER_SIZES, strict=True):
        of_size = np.abs(side - size) < 4
        for mask, color, mark in ((~inside, LINE, "."), (inside, BLUE, ".")):
            points = center[of_size & mask]
            each.plot(*points.T, mark, color=color, markersize=2)
        frame(each, (0, 0, 1000, 600), INK, linewidth=1)
        each.set(xlim=(-30, 1030), ylim=(630, -30), aspect="equal")
        title(
            each, f"{size} pixels: {int((of_size & inside).sum())} of {int(of_size.sum())} inside"
        )
    return figure


def robust() -> Figure:
    """79: slopes of smooth L1 and of a square."""
    t = np.linspace(-4, 4, 161)
    x = Tensor(t, requires_grad=True)
    F.smooth_l1(x, np.zeros_like(t), beta=1.0, reduction="sum").backward()
    assert x.grad is not None
    figure, (a,) = panels(1, width=5, height=2.8)
    a.plot(t, x.grad, color=GREEN, label="smooth L1: never beyond 1")
    a.plot(t, t, "--", color=QUIET, label="square: grows with the error")
    a.set(xlabel="error of a delta", ylabel="slope of the loss")
    legend(a)
    return figure


def how_many_proposals() -> Figure:
    """82: recall over the number of proposals, with suppression and without."""
    counts = (5, 10, 20, 50, 100, 300, 1000, 2000)
    figure, (a,) = panels(1, width=5.5, height=2.8)
    for threshold, name, color in ((0.7, "with suppression", GREEN), (1.0, "without", RED)):
        recall = [recall_of_proposals(count, threshold)[0] for count in counts]
        a.plot(counts, recall, "o-", color=color, label=name, markersize=4)
    a.set(
        xscale="log",
        xlabel="best proposals kept",
        ylabel="share of 12 objects found",
        ylim=(0, 1.05),
    )
    legend(a, loc="lower right")
    title(a, "a simulated proposal network on 600 x 1000 pixels")
    return figure


PICTURES = {
    13: anchors_on_the_map,
    14: suppression,
    15: the_funnel,
    16: what_a_cell_sees,
    19: cross_entropies,
    20: smooth_l1,
    22: three_answers,
    29: nine_and_three,
    75: border,
    79: robust,
    82: how_many_proposals,
}
