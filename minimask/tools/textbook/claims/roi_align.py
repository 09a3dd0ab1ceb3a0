"""Claims 84 to 86: what Mask R-CNN's section 3 says of RoIAlign."""

# R regions   C channels   H, W height and width   M side of a mask   P side of a pooled square

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.kernels import roi_align, roi_pool
from minimask.tools.textbook.claims.ledger import RIGHT, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import (
    ramp,
    rois_of,
)

CHAPTER = Chapter("The papers: RoIAlign")


@CHAPTER.claim(
    84,
    by="MR",
    says="RoIAlign keeps the exact places: features and region moved together give the same, "
    "also by fractions of a cell.",
    verdict=RIGHT,
    correction="Right. RoIPool keeps it only for moves by whole cells.",
    section="Mask R-CNN, section 3",
)
def align_follows_every_move(evidence: Evidence) -> None:
    """Moves by whole cells of any features, and by fractions on a ramp."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1, 2, 24, 24))
    box = (3.3, 4.2, 14.9, 15.1)
    shifted_box = (box[0] + 3, box[1] + 5, box[2] + 3, box[3] + 5)
    shifted = np.roll(features, (5, 3), axis=(2, 3))
    change = roi_align(features, rois_of(box), 7) - roi_align(shifted, rois_of(shifted_box), 7)
    evidence.at_most("RoIAlign, 3 and 5 cells", float(np.abs(change).max()), 1e-6)
    change = roi_pool(features, rois_of(box), 7)[0] - roi_pool(shifted, rois_of(shifted_box), 7)[0]
    evidence.equal("RoIPool, 3 and 5 cells", float(np.abs(change).max()), 0.0)
    for name, pool in (("RoIAlign", _align), ("RoIPool", _pool)):
        steps = [pool(ramp(32, 32), 4 + d) - pool(ramp(32, 32), 4) - d for d in (0.1, 0.4, 0.7)]
        worst = float(np.abs(steps).max())
        if name == "RoIAlign":
            evidence.at_most(f"{name}, by 0.1, 0.4 and 0.7 cells on a ramp", worst, 1e-6, "cells")
        else:
            evidence.at_least(f"{name}, by 0.1, 0.4 and 0.7 cells on a ramp", worst, 0.3, "cells")


def _align(features: np.ndarray, x: float) -> np.ndarray:
    return roi_align(features, rois_of((x, 6.0, x + 14, 20.0)), 7, sampling_ratio=2)


def _pool(features: np.ndarray, x: float) -> np.ndarray:
    return roi_pool(features, rois_of((x, 6.0, x + 14, 20.0)), 7)[0]


@CHAPTER.claim(
    85,
    by="MR",
    says="RoIAlign computes each value by bilinear interpolation, so its gradient is that of a "
    "weighted sum.",
    verdict=RIGHT,
    correction="Right: it is linear in the features, and so its gradient does not depend on "
    "them. RoIPool's maximum is not.",
    section="Mask R-CNN, section 3",
)
def align_is_linear(evidence: Evidence) -> None:
    """Superposition for both, and the gradient as the transposed weights."""
    rng = np.random.default_rng(0)
    f, g = rng.standard_normal((2, 1, 3, 20, 20))
    rois = rois_of((2.2, 3.1, 15.7, 12.6), (0.4, 0.9, 19.0, 18.2))

    def gap(pool: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.abs(pool(2 * f - 3 * g) - (2 * pool(f) - 3 * pool(g))).max())

    evidence.at_most("RoIAlign of a sum less the sum", gap(lambda x: roi_align(x, rois, 5)), 1e-5)
    evidence.at_least("RoIPool of a sum less the sum", gap(lambda x: roi_pool(x, rois, 5)[0]), 1.0)
    grads = []
    for features in (f, g):
        x = Tensor(features, requires_grad=True)
        F.roi_align(x, rois, 5).sum().backward()
        assert x.grad is not None
        grads.append(x.grad)
    evidence.at_most("its gradient at f less at g", float(np.abs(grads[0] - grads[1]).max()), 1e-6)
    mass = float(grads[0].sum() / (2 * 3 * 25))
    evidence.equal("sum of the gradient, per value pooled", mass, 1.0, within=1e-5)


@CHAPTER.claim(
    86,
    by="MR",
    says="How many samples a bin takes, and where, matters little, as long as nothing is rounded.",
    verdict=RIGHT,
    correction="Right for smooth features and regions of ordinary size.",
    section="Mask R-CNN, section 3",
)
def sampling_matters_little(evidence: Evidence) -> None:
    """Smooth features pooled with 1, 4 and 16 samples, and with rounding."""
    rows, columns = np.mgrid[:40, :40] + 0.5
    features = (np.sin(columns / 5) * np.cos(rows / 6))[None, None]
    rng = np.random.default_rng(0)
    corner = rng.uniform(2, 18, (50, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(9, 16, (50, 2))], axis=1)
    rois = np.concatenate([np.zeros((50, 1)), boxes], axis=1)
    fine = roi_align(features, rois, 7, sampling_ratio=8)
    errors = {}
    for ratio in (1, 2, 4):
        pooled = roi_align(features, rois, 7, sampling_ratio=ratio)
        errors[ratio] = float(np.sqrt(np.mean((pooled - fine) ** 2)))
        evidence.show(f"{ratio * ratio} samples, error against 64", errors[ratio])
    rounded = rois.copy()
    rounded[:, 1:] = np.round(rois[:, 1:])
    warp = roi_align(features, rounded, 7, sampling_ratio=8)
    error = float(np.sqrt(np.mean((warp - fine) ** 2)))
    evidence.show("64 samples in a rounded region", error)
    evidence.at_least("rounding / worst number of samples", error / max(errors.values()), 5)
