"""Pictures for claims 30 to 41 and 84 to 90: regions, how they are cut out, and their masks."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimask.kernels import roi_align
from minimask.models.roi_pooling import pyramid_levels
from minimask.tools.textbook.claims import published
from minimask.tools.textbook.claims.heads import mask_gradient
from minimask.tools.textbook.claims.pictures.canvas import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    QUIET,
    RED,
    bars,
    colored,
    frame,
    grid,
    legend,
    panels,
    show,
    title,
)
from minimask.tools.textbook.claims.pooling import coverage, moved_by_tenths, pooling_jitter
from minimask.tools.textbook.claims.scenes import (
    Listener,
    disk,
    ramp,
    rois_of,
    scene,
    small_network,
)


def who_sees_which_regions() -> Figure:
    """30: regions of the box branch and of the mask branch, in training and in prediction."""
    network, sample = small_network(), scene()
    training, predicting = Listener(), Listener()
    with training.listen():
        network.losses([sample.image], [sample.target], rng=np.random.default_rng(0))
    with predicting.listen():
        network.predict([sample.image])
    figure, axes = panels(4, width=2.1)
    for pair, heard, when in (
        (axes[:2], training, "training"),
        (axes[2:], predicting, "prediction"),
    ):
        for each, side, color, name in (
            (pair[0], 7, BLUE, "boxes"),
            (pair[1], 14, ORANGE, "masks"),
        ):
            rois = heard.rois()[side]
            show(each, sample.image, f"{when}, {name}: {len(rois)}")
            for roi in rois:
                frame(each, roi[1:], color, linewidth=0.9)
    return figure


BOX = (2.3, 1.7, 12.4, 10.9)  # a region in cells, for the two pictures of a region


def _rounded(axes: Axes) -> None:
    """RoIPool: the region and its bins in whole cells."""
    x0, y0, x1, y1 = (int(np.floor(v + 0.5)) for v in BOX)
    width, height = x1 - x0 + 1, y1 - y0 + 1
    for row in range(3):
        for column in range(3):
            left, right = x0 + column * width // 3, x0 - (-(column + 1) * width // 3)
            top, bottom = y0 + row * height // 3, y0 - (-(row + 1) * height // 3)
            frame(axes, (left + 0.12, top + 0.12, right - 0.12, bottom - 0.12), RED, linewidth=1.3)
    frame(axes, BOX, BLUE, linewidth=2.2)
    title(axes, "RoIPool: blue the region, red what its bins cover")


def _sampled(axes: Axes) -> None:
    """RoIAlign: the exact bins and their four samples."""
    x0, y0, x1, y1 = BOX
    width, height = (x1 - x0) / 3, (y1 - y0) / 3
    for row in range(3):
        for column in range(3):
            left, top = x0 + column * width, y0 + row * height
            frame(axes, (left, top, left + width, top + height), BLUE, linewidth=1)
            x = [left + width * u for u in (0.25, 0.75)] * 2
            y = [top + height * v for v in (0.25, 0.25, 0.75, 0.75)]
            axes.plot(x, y, "o", color=GREEN, markersize=4)
    frame(axes, BOX, BLUE, linewidth=2.2)
    title(axes, "RoIAlign: exact bins, four samples in each")


def _moving(axes: Axes, operation: str, color: str) -> None:
    x = np.linspace(0, 2, 81)
    values = moved_by_tenths(operation, 81)
    axes.plot(x, x + values[0], color=QUIET, linewidth=0.8, label="as far as the box moved")
    axes.plot(x, values, ".", color=color, markersize=4, label="what comes out")
    axes.set(xlabel="box moved by, cells", ylabel="middle value on a ramp, cells")
    legend(axes)


def rounded_region() -> Figure:
    """32: RoIPool's rounding, and what a gliding box gives."""
    figure, (a, b) = panels(2, width=3.8, height=3)
    grid(a, 13, 15)
    _rounded(a)
    _moving(b, "pool", RED)
    return figure


def exact_region() -> Figure:
    """33: RoIAlign's samples, and what a gliding box gives."""
    figure, (a, b) = panels(2, width=3.8, height=3)
    grid(a, 13, 15)
    _sampled(a)
    _moving(b, "align", GREEN)
    return figure


def mean_and_maximum() -> Figure:
    """34: average and maximum of the samples on a ramp."""
    rois, centers = rois_of((2.3, 1.6, 12.4, 13.2)), 2.3 + (np.arange(4) + 0.5) * 10.1 / 4
    figure, (a, b) = panels(2, width=3.2)
    a.plot([2, 13], [2, 13], color=QUIET, linewidth=0.8, label="the ramp itself")
    for how, color in (("mean", GREEN), ("max", RED)):
        values = roi_align(ramp(16, 16), rois, 4, sampling_ratio=2, reduce=how)[0, 0, 0]
        a.plot(centers, values, "o", color=color, label=f"{how} of four samples")
    a.set(xlabel="center of the bin, cells", ylabel="pooled value")
    legend(a)
    aps = (published.ROI_POOL_C4[0], published.ROI_ALIGN_MAX_C4[0], published.ROI_ALIGN_C4[0])
    bars(b, ("RoIPool", "RoIAlign, max", "RoIAlign, mean"), aps)
    title(b, "mask AP, paper's table 2c")
    return figure


def gaps() -> Figure:
    """35: the cells that get gradient, by the number of samples."""
    figure, axes = panels(3)
    for each, ratio, name in zip(
        axes, (1, 2, 0), ("1 sample a bin", "4 samples a bin", "as many as cells"), strict=True
    ):
        reached = coverage(ratio)
        share = reached[2:30, 2:30].mean()
        show(each, reached, f"{name}: {share:.0%} of cells", cmap="Blues", vmin=0, vmax=1.3)
        frame(each, (2, 2, 30, 30), ORANGE)
    return figure


def jitter() -> Figure:
    """36: RoIPool's jitter by stride, and a shift of that size on two objects."""
    strides = (4, 8, 16, 32)
    figure, (a, b, c) = panels(3, width=2.9)
    bars(a, [f"stride {s}" for s in strides], [pooling_jitter(s) for s in strides], "{:.1f} px")
    title(a, "standard deviation of the misplacement")
    for each, diameter in ((b, 32), (c, 256)):
        mask = disk(300, 300, 150, 150, diameter / 2)
        view = slice(150 - int(0.8 * diameter), 150 + int(0.8 * diameter))
        view = slice(max(view.start, 0), min(view.stop, 300))
        shifted = np.roll(mask, 6, axis=1)
        parts = colored([mask & ~shifted, shifted & ~mask, mask & shifted])
        show(each, parts[view, view], f"6 pixels, object of {diameter} pixels")
    return figure


def gains() -> Figure:
    """37: what the paper's steps gain."""
    figure, (a,) = panels(1, width=6, height=2.2)
    values = {
        "a mask per class (C4)": published.SIGMOID[0] - published.SOFTMAX[0],
        "RoIAlign (C4, stride 16)": published.ROI_ALIGN_C4[0] - published.ROI_POOL_C4[0],
        "RoIAlign (C5, stride 32)": published.ROI_ALIGN_C5[0] - published.ROI_POOL_C5[0],
        "RoIAlign (pyramid)": published.ROI_ALIGN_GAIN_FPN,
    }
    bars(a, list(values), list(values.values()), "+{:.1f} AP")
    return figure


def gradients_of_masks() -> Figure:
    """41: gradient in the five masks of a region, with sigmoids and with a softmax."""
    figure, axes = panels(5, 2, width=1.7, height=1.95)
    for row, output in enumerate(("sigmoid", "softmax")):
        gradient, labels = mask_gradient(output)
        limit = float(np.abs(gradient[0]).max())
        for k, each in enumerate(axes[5 * row : 5 * row + 5]):
            text = f"{output}, class {k}" + (" (true)" if k == labels[0] else "")
            show(each, gradient[0, k], text, cmap="RdBu", vmin=-limit, vmax=limit)
            frame(each, (0, 0, 28, 28), GREEN if k == labels[0] else "#c9d0da", linewidth=1.5)
    return figure


def follows() -> Figure:
    """84: pooled values while a box moves over a ramp, both operations."""
    figure, (a, b) = panels(2, width=3.4)
    _moving(a, "pool", RED)
    title(a, "RoIPool")
    _moving(b, "align", GREEN)
    title(b, "RoIAlign")
    return figure


def staircase() -> Figure:
    """90: the level of a square region by its side."""
    sides = np.geomspace(16, 1024, 400)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1)
    figure, (a,) = panels(1, width=5.5, height=2.6)
    a.step(sides, pyramid_levels(boxes, "paper"), color=BLUE)
    a.set_xscale("log", base=2)
    a.set_xticks([16, 32, 56, 112, 224, 448, 896], ["16", "32", "56", "112", "224", "448", "896"])
    a.set(xlabel="side of the region, pixels", ylabel="level", yticks=[2, 3, 4, 5])
    a.grid(color="#e4e8ef")
    a.tick_params(colors=INK)
    return figure


PICTURES = {
    30: who_sees_which_regions,
    32: rounded_region,
    33: exact_region,
    34: mean_and_maximum,
    35: gaps,
    36: jitter,
    37: gains,
    41: gradients_of_masks,
    84: follows,
    90: staircase,
}
