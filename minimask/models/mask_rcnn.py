"""Mask R-CNN: Faster R-CNN with a third branch that draws every object's outline.

Letters: N images, R regions of all images, K mask channels, M = 28 side of a predicted mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimask.autograd import Tensor, zero_like
from minimask.autograd.hooks import stage
from minimask.models import learning, mask_head
from minimask.models.box_head import Found, Regions, mask_boxes, network_labels
from minimask.models.detections import Target
from minimask.models.faster_rcnn import POOLED_LEVELS, FasterRCNN
from minimask.models.learning import Lesson
from minimask.models.mask_head import MaskBranch
from minimask.models.roi_pooling import as_rois, pool_regions
from minimask.models.sampling import Samples
from minimask.models.transform import Frame


class MaskRCNN(FasterRCNN):
    """Mask R-CNN (He et al. 2017) with a feature pyramid; sections refer to the paper."""

    roi_heads: MaskBranch

    def forward(self, images: Tensor, frames: Sequence[Frame]) -> list[Found]:
        """(N, 3, H, W) -> for each image its objects with their masks."""
        pyramid = self.backbone(images)
        proposals = self.rpn(pyramid, frames, images.shape[2:])  # 3: "the first stage"
        found = self.find_objects(pyramid, proposals, frames, images.shape[2])
        return self.find_masks(pyramid, found, images.shape[2])  # 3.1: on the best boxes

    def find_masks(
        self, pyramid: Sequence[Tensor], found: Sequence[Found], image_height: int
    ) -> list[Found]:
        """The same objects, each with the mask its own class's channel predicts."""
        rois = as_rois([mask_boxes(f, self.convention) for f in found])
        if len(rois) == 0:
            size = self.roi_heads.mask_size
            return [replace(f, masks=np.zeros((0, size, size), np.float32)) for f in found]
        logits = self.roi_heads.mask_predictor(
            self.roi_heads.mask_head(self.pool_masks(pyramid, rois, image_height))
        )
        labels = network_labels(np.concatenate([f.labels for f in found]), self.convention)
        probs = mask_head.mask_probabilities(logits.data, labels, self.convention)
        per_image = np.split(probs, np.cumsum([len(f.boxes) for f in found])[:-1])
        return [replace(f, masks=p) for f, p in zip(found, per_image, strict=True)]

    @stage("RoI pooling, mask")
    def pool_masks(self, pyramid: Sequence[Tensor], rois: np.ndarray, image_height: int) -> Tensor:
        """Features of each region for the mask head: (R, 5) -> (R, C, 14, 14)."""
        levels = pyramid[:POOLED_LEVELS]
        return pool_regions(levels, rois, mask_head.POOLED_SIZE, image_height, self.convention)

    def check_targets(self, images: Sequence[np.ndarray], targets: Sequence[Target]) -> None:
        """What Faster R-CNN asks of targets, and that they have masks."""
        for i, target in enumerate(targets):
            if target.masks is None:
                raise ValueError(f"targets[{i}]: Mask R-CNN learns from masks, but these are None")
        super().check_targets(images, targets)

    def _region_losses(
        self,
        lesson: Lesson,
        proposals: Sequence[np.ndarray],
        rng: np.random.Generator,
        samples: Samples | None = None,
    ) -> dict[str, Tensor]:
        losses, regions = learning.second_stage(self, lesson, proposals, rng, samples)
        return losses | {"loss_mask": self._mask_loss(lesson, regions, rng)}

    def _mask_loss(
        self, lesson: Lesson, chosen: Sequence[Regions], rng: np.random.Generator
    ) -> Tensor:
        """Masks are learned only where a region holds an object (3: "only on positive RoIs")."""
        regions = [mask_head.draw_regions(r, self.convention, rng) for r in chosen]
        rois = as_rois([r.boxes[r.positive] for r in regions])
        if len(rois) == 0:
            return zero_like(lesson.pyramid[0])
        pooled = self.pool_masks(lesson.pyramid, rois, lesson.batch.shape[0])
        logits = self.roi_heads.mask_predictor(self.roi_heads.mask_head(pooled))
        masks = [t.masks for t in lesson.targets if t.masks is not None]
        return mask_head.mask_loss(logits, regions, masks, self.convention)
