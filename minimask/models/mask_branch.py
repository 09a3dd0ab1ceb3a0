"""The mask branch: draw the outline of every object (Mask R-CNN, section 3).

Letters: R RoIs of all images, M side of a predicted mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimask.autograd import Tensor, zero_like
from minimask.autograd.hooks import record, stage
from minimask.data.sample import Target
from minimask.models import mask_head as masks_of
from minimask.models.box_corners import to_edges
from minimask.models.box_head import SampledRoIs
from minimask.models.detections import Instances
from minimask.models.roi_branch import RoIBranch
from minimask.models.roi_pooling import as_rois
from minimask.models.transform import Batch
from minimask.nn import Module


class MaskBranch(RoIBranch):
    """Learns masks in the positive RoIs, and predicts them in the boxes that were found."""

    mask_head: Module | None
    mask_predictor: Module | None
    mask_size: int
    mask_batch_size_per_image: int | None
    mask_output: str
    mask_on: str
    mask_target: str
    mask_target_aligned: bool

    def mask_losses(
        self,
        pyramid: Sequence[Tensor],
        sampled: Sequence[SampledRoIs],
        batch: Batch,
        targets: Sequence[Target],
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """loss_mask, which is learned where an RoI holds an object (3: "only on positive RoIs")."""
        limit = self.mask_batch_size_per_image
        sampled = [masks_of.subsample_positives(s, limit, rng) for s in sampled]
        record("mask/sampled", sampled)
        rois = as_rois([s.boxes[s.positive] for s in sampled])
        if len(rois) == 0:
            return {"loss_mask": zero_like(pyramid[0])}
        corners = self.pooler.corners
        loss = masks_of.mask_loss(
            self.predict_masks(pyramid, rois, batch),
            [replace(s, boxes=to_edges(s.boxes, corners)) for s in sampled],
            [t.masks for t in targets if t.masks is not None],
            output=self.mask_output,
            background=self.background,
            target=self.mask_target,
            aligned=self.mask_target_aligned,
        )
        return {"loss_mask": loss}

    def predict_masks(self, pyramid: Sequence[Tensor], rois: np.ndarray, batch: Batch) -> Tensor:
        """(R, 5) RoIs -> mask logits (R, mask channels, M, M)."""
        assert self.mask_head is not None and self.mask_predictor is not None
        pooled = self.pool_masks(pyramid, rois, batch.shape[0])
        record("mask/pooled", pooled)
        features = self.mask_head(pooled)
        record("mask/features", features)
        logits: Tensor = self.mask_predictor(features)
        record("mask/logits", logits)
        return logits

    @stage("RoI pooling, mask")
    def pool_masks(self, pyramid: Sequence[Tensor], rois: np.ndarray, image_height: int) -> Tensor:
        """Features of each RoI for the mask head: (R, 5) -> (R, C, 14, 14)."""
        return self.pooler(pyramid, rois, masks_of.POOLED_SIZE, image_height)

    def segment(
        self, pyramid: Sequence[Tensor], instances: Sequence[Instances], batch: Batch
    ) -> list[Instances]:
        """The same objects, each with the mask its own class's channel predicts."""
        boxes = [f.boxes if self.mask_on == "detections" else f.proposals for f in instances]
        rois = as_rois(boxes)
        if len(rois) == 0:
            no_masks = np.zeros((0, self.mask_size, self.mask_size), np.float32)
            return [replace(f, mask_probs=no_masks) for f in instances]
        logits = self.predict_masks(pyramid, rois, batch)
        labels = np.concatenate([f.labels for f in instances]) + self.first_label
        probs = masks_of.mask_probabilities(logits.data, labels, self.mask_output)
        per_image = np.split(probs, np.cumsum([len(b) for b in boxes])[:-1])
        return [replace(f, mask_probs=p) for f, p in zip(instances, per_image, strict=True)]
