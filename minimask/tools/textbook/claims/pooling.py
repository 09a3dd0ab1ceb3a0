"""Claims 32 to 36: how the features of a region are cut out."""

# R regions   C channels   H, W height and width of a map   P side of the pooled square

from __future__ import annotations

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.kernels import roi_align, roi_pool
from minimask.tools.textbook.claims import published
from minimask.tools.textbook.claims.ledger import IMPRECISE, RIGHT, WRONG, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import (
    disk,
    mask_iou,
    network_of,
    ramp,
    rois_of,
)

CHAPTER = Chapter("RoIPool and RoIAlign")


def moved_by_tenths(operation: str, steps: int = 21) -> np.ndarray:
    """(steps,) the middle of 7 x 7 values of a ramp, as a box moves right over 2 cells."""
    features = ramp(24, 24)
    boxes = [(3 + x, 4.0, 17 + x, 18.0) for x in np.linspace(0, 2, steps)]
    if operation == "pool":
        return roi_pool(features, rois_of(*boxes), 7)[0][:, 0, 3, 3]
    return roi_align(features, rois_of(*boxes), 7, sampling_ratio=2)[:, 0, 3, 3]


@CHAPTER.claim(
    32,
    by="S4",
    says="RoIPool rounds the region to cells, rounds its bins, and takes the maximum of each.",
    verdict=RIGHT,
    correction="Right.",
    section="Fast R-CNN, section 2.1; Mask R-CNN, section 3",
)
def roi_pool_rounds_twice(evidence: Evidence) -> None:
    """A box that glides is answered in jumps; a bin's value is the largest cell in it."""
    values = moved_by_tenths("pool")
    evidence.equal("different answers at 21 places over 2 cells", len(np.unique(values)), 3)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1, 1, 16, 16))
    pooled, _ = roi_pool(features, rois_of((2.3, 1.6, 12.4, 13.2)), 4)
    x0, y0, cells = 2, 2, (12 - 2 + 1, 13 - 2 + 1)
    expected = np.zeros((4, 4))
    for row in range(4):
        for column in range(4):
            top, bottom = y0 + row * cells[1] // 4, y0 - (-(row + 1) * cells[1] // 4)
            left, right = x0 + column * cells[0] // 4, x0 - (-(column + 1) * cells[0] // 4)
            expected[row, column] = features[0, 0, top:bottom, left:right].max()
    worst = float(np.abs(pooled[0, 0] - expected).max())
    evidence.equal("RoIPool less both roundings and maxima by hand", worst, 0.0)


def bilinear(feature: np.ndarray, y: float, x: float) -> float:
    """The value of (H, W) cells at a place in cells, cell i's center being i + 0.5."""
    row, column = y - 0.5, x - 0.5
    top, left = int(np.floor(row)), int(np.floor(column))
    down, right = row - top, column - left
    upper = feature[top, left] * (1 - right) + feature[top, left + 1] * right
    lower = feature[top + 1, left] * (1 - right) + feature[top + 1, left + 1] * right
    return float(upper * (1 - down) + lower * down)


@CHAPTER.claim(
    33,
    by="S1 S4",
    says="RoIAlign rounds nothing; it takes four samples in each bin, interpolated bilinearly.",
    verdict=RIGHT,
    correction="Right.",
    section="Mask R-CNN, section 3, figure 3",
)
def roi_align_rounds_nothing(evidence: Evidence) -> None:
    """A box that glides is answered smoothly; a bin is the mean of four samples by hand."""
    values = moved_by_tenths("align")
    evidence.equal(
        "different answers at 21 places over 2 cells", len(np.unique(values.round(9))), 21
    )
    error = float(np.abs(values - (10 + np.linspace(0, 2, 21))).max())
    evidence.at_most("distance from the bin's center", error, 1e-9, "cells")
    evidence.quote()
    feature = np.random.default_rng(0).standard_normal((16, 16))
    box = (2.3, 1.6, 12.4, 13.2)
    aligned = roi_align(feature[None, None], rois_of(box), 4, sampling_ratio=2)[0, 0]
    width, height = (box[2] - box[0]) / 4, (box[3] - box[1]) / 4
    by_hand = np.zeros((4, 4))
    for row in range(4):
        for column in range(4):
            by_hand[row, column] = np.mean(
                [
                    bilinear(feature, box[1] + (row + v) * height, box[0] + (column + u) * width)
                    for v in (0.25, 0.75)
                    for u in (0.25, 0.75)
                ]
            )
    worst = float(np.abs(aligned - by_hand).max())
    evidence.at_most("RoIAlign less four samples by hand", worst, 1e-6)


@CHAPTER.claim(
    34,
    by="S4",
    says="RoIAlign usually takes the maximum of a bin's samples.",
    verdict=WRONG,
    correction="The average: that is the paper's default and what all libraries do. It matters "
    "little: 30.2 AP with the maximum, 30.3 with the average.",
    section="Mask R-CNN, section 3 and table 2c",
)
def average_not_maximum(evidence: Evidence) -> None:
    """What the kernel does unless told otherwise, and both on a ramp."""
    rng = np.random.default_rng(0)
    rois = rois_of((2.3, 1.6, 12.4, 13.2))
    features = rng.standard_normal((1, 3, 16, 16))
    usual = roi_align(features, rois, 4, sampling_ratio=2)
    mean, most = (
        roi_align(features, rois, 4, sampling_ratio=2, reduce=how) for how in ("mean", "max")
    )
    evidence.equal("default less average", float(np.abs(usual - mean).max()), 0.0)
    evidence.at_least("default less maximum, smallest", float((most - usual).min()), 1e-6)
    evidence.quote()
    evidence.equal("convention of the paper", network_of("paper").roi_heads.pooler.reduce, "mean")
    centers = 2.3 + (np.arange(4) + 0.5) * 10.1 / 4
    for how in ("mean", "max"):
        values = roi_align(ramp(16, 16), rois, 4, sampling_ratio=2, reduce=how)[0, 0, 0]
        bias = float((values - centers).mean())
        if how == "mean":
            evidence.equal(
                "distance from the bin's center on a ramp, average", bias, 0, within=1e-9
            )
        else:
            evidence.at_least(
                "distance from the bin's center on a ramp, maximum", bias, 0.3, "cells"
            )
    gain = published.ROI_ALIGN_C4[0] - published.ROI_ALIGN_MAX_C4[0]
    evidence.equal("AP of the average less the maximum, table 2c", gain, 0.1, within=0.001)


def coverage(ratio: int, side: float = 28.0) -> np.ndarray:
    """(32, 32) bool: the cells of a map that get gradient from a region `side` cells wide."""
    features = Tensor(np.zeros((1, 1, 32, 32)), requires_grad=True)
    pooled = F.roi_align(features, rois_of((2, 2, 2 + side, 2 + side)), 4, sampling_ratio=ratio)
    pooled.sum().backward()
    assert features.grad is not None
    return features.grad[0, 0] != 0


@CHAPTER.claim(
    35,
    by="S4",
    says="RoIAlign pools from the whole area of the region.",
    verdict=IMPRECISE,
    correction="It reads four cells at each sample. With four samples a bin, a large region is "
    "read only here and there; as many samples as cells (ratio 0) cover it.",
    section="Mask R-CNN, section 3",
)
def samples_leave_gaps(evidence: Evidence) -> None:
    """Which cells of a region of 28 x 28 cells get gradient from 4 x 4 bins."""
    inside = np.s_[2:30, 2:30]
    for ratio, name in ((1, "1 sample a bin"), (2, "4 samples a bin"), (0, "as many as cells")):
        share = float(coverage(ratio)[inside].mean())
        if ratio == 0:
            evidence.equal(f"share of cells read, {name}", share, 1.0)
        else:
            evidence.at_most(f"share of cells read, {name}", share, 0.5)
    share = float(coverage(2, 8.0)[2:10, 2:10].mean())
    evidence.equal("share of cells read, region of 8 x 8 cells, 4 samples", share, 1.0)


def pooling_jitter(stride: int, count: int = 400) -> float:
    """Standard deviation in pixels of where RoIPool looks, around where it should.

    Random boxes of 32 to 512 pixels: the center of the cells that a bin of 7 covers, less the
    center of the exact bin.
    """
    rng = np.random.default_rng(0)
    sides = rng.uniform(32, 512, count)
    start = rng.uniform(0, 512, count)
    cells = int(1100 / stride) + 2
    x = ((np.arange(cells) + 0.5) * stride)[None, None, None]
    rois = np.stack(
        [np.zeros(count), start, np.zeros(count), start + sides, np.full(count, stride / 2)], axis=1
    )
    largest, _ = roi_pool(x, rois, (1, 7), spatial_scale=1 / stride)
    smallest, _ = roi_pool(-x, rois, (1, 7), spatial_scale=1 / stride)
    looked = (largest - smallest)[:, 0, 0] / 2  # the middle of the cells a bin covers
    exact = start[:, None] + (np.arange(7) + 0.5) * sides[:, None] / 7
    return float((looked - exact).std())


@CHAPTER.claim(
    36,
    by="S1",
    says="RoIAlign is crucial, especially for small objects.",
    verdict=IMPRECISE,
    correction="What it removes are errors of a fixed number of pixels, which grow with the "
    "stride and weigh more on small objects. The papers' gain is larger at stride 32 (7.3 AP) "
    "than at 16 (3.4) and with a pyramid (1.5).",
    section="Mask R-CNN, tables 2c and 2d",
)
def misalignment_grows_with_stride(evidence: Evidence) -> None:
    """RoIPool's jitter per stride, and what such a shift costs a small and a large object."""
    jitter = {stride: pooling_jitter(stride) for stride in (4, 8, 16, 32)}
    for stride, pixels in jitter.items():
        expected = {4: 1.39, 8: 2.78, 16: 5.48, 32: 10.98}[stride]
        name = f"jitter of RoIPool at stride {stride}"
        evidence.equal(name, pixels, expected, "pixels", within=0.06 * expected)
    shift = round(jitter[16])
    left = {}
    for diameter in (32, 256):
        mask = disk(320, 320, 160, 160, diameter / 2)
        left[diameter] = mask_iou(mask, np.roll(mask, shift, axis=1))
        evidence.show(f"IoU after {shift} pixels, object of {diameter} pixels", left[diameter])
    evidence.at_least("what the small one loses more", left[256] - left[32], 0.15)
    gains = [
        after[0] - before[0]
        for after, before in (
            (published.ROI_ALIGN_C5, published.ROI_POOL_C5),
            (published.ROI_ALIGN_C4, published.ROI_POOL_C4),
        )
    ]
    evidence.true(
        "published gains fall with the stride", gains[0] > gains[1] > published.ROI_ALIGN_GAIN_FPN
    )
