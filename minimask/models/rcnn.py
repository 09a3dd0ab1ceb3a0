"""R-CNN (Girshick et al. 2014): every region is cut out of the image and classified by itself.

For teaching, and to measure what its successors saved: the network runs once for each region.
Written as Fast R-CNN with the crop moved from the features to the image, which is the whole
difference.  The paper's support vector machines and its separate box regression are left out: one
network learns classes by cross-entropy and boxes with them, as in Fast R-CNN.

Letters: N images, R regions of all images, S side of a crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.autograd.hooks import record, stage
from minimask.models.backbone import Backbone
from minimask.models.bodies import Body
from minimask.models.fast_rcnn import FastRCNN
from minimask.models.roi_heads import RoIHeads
from minimask.models.transform import Batch
from minimask.nn import Module
from minimask.system.device import upload

CHUNK = 64  # crops at once: 2000 of 227 x 227 pixels would take 1.2 GB before the first layer


class RCNN(FastRCNN):
    """R-CNN: the "feature map" that regions are cut from is the image."""

    @property
    def title(self) -> str:
        """As messages call it."""
        return "R-CNN"


class ImageItself(Backbone):
    """No network at all below the regions."""

    channels = 3

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> the same, as the only map."""
        return [images]


class CropNetwork(Module):
    """A classification network for crops, without its last layer."""

    def __init__(self, body: Body):
        self.body = body

    def forward(self, crops: Tensor) -> Tensor:
        """(R, 3, S, S) -> (R, C), the mean of the last map."""
        return self.body(crops)[-1].mean(axis=(2, 3))


class CropHeads(RoIHeads):
    """Warp every region to one size, whatever its shape, and look at each alone."""

    def __init__(self, *parts: Any, crop_size: int = 227, crop_context: int = 16, **options: Any):
        """As `RoIHeads`, and what the crops are like.

        Args:
            *parts: see `RoIHeads`.
            crop_size: S (R-CNN, section 2.1: 227 pixels for AlexNet).
            crop_context: pixels of the crop, on each side, that show the region's surroundings
                (appendix A).
            **options: see `RoIHeads`.
        """
        if crop_context < 0 or crop_size <= 2 * crop_context:
            raise ValueError(
                f"crop_context: {crop_context} pixels on each side leave nothing of a crop_size of "
                f"{crop_size}"
            )
        self.crop_size, self.crop_context = crop_size, crop_context
        super().__init__(*parts, **options)

    def predict_boxes(
        self, pyramid: Sequence[Tensor], rois: np.ndarray, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """(R, 5) RoIs -> class logits (R, K) and box deltas (R, 4 K), a few crops at a time."""
        size = len(rois) if self.training else CHUNK
        parts = []
        for start in range(0, len(rois), size):
            crops = self.pool_boxes(pyramid, rois[start : start + size], batch.shape[0])
            parts.append(self.box_predictor(self.box_head(crops)))
        logits, deltas = (ops.concatenate(list(part), axis=0) for part in zip(*parts, strict=True))
        record("box/cls_logits", logits)
        record("box/deltas", deltas)
        return logits, deltas

    @stage("crops")
    def pool_boxes(self, pyramid: Sequence[Tensor], rois: np.ndarray, image_height: int) -> Tensor:
        """The crop of each RoI with its surroundings: (R, 5) -> (R, 3, S, S)."""
        (images,) = pyramid
        rois = self.pooler.by_edges(rois)
        rois = upload(with_context(rois, self.crop_size, self.crop_context), images.data, "RoIs")
        return F.roi_align(images, rois, self.crop_size, sampling_ratio=2, aligned=True)


def with_context(rois: np.ndarray, size: int, context: int) -> np.ndarray:
    """Enlarge boxes so that after warping to `size` pixels a border of `context` is around them.

    rois (R, 5) image, x0 y0 x1 y1 -> (R, 5) float32
    """
    grown = np.array(rois, np.float32)
    border = (grown[:, 3:] - grown[:, 1:3]) * (context / (size - 2 * context))
    grown[:, 1:3] -= border
    grown[:, 3:] += border
    return grown
