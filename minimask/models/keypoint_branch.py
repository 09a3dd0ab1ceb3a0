"""The keypoint branch: where in every object each of its keypoints is (Mask R-CNN, section 5).

Letters: R RoIs of all images, P keypoints of an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimask.autograd import Tensor
from minimask.autograd.hooks import record, stage
from minimask.data.sample import Target
from minimask.models import keypoint_head as keypoints_of
from minimask.models.box_corners import from_edges, to_edges
from minimask.models.box_head import SampledRoIs
from minimask.models.detections import Instances
from minimask.models.keypoint_head import KeypointTargets
from minimask.models.matcher import BalancedSampler
from minimask.models.roi_branch import RoIBranch
from minimask.models.roi_pooling import as_rois
from minimask.models.transform import Batch
from minimask.nn import Module


class KeypointBranch(RoIBranch):
    """Learns heat maps in RoIs that show keypoints, and finds the keypoints of what was found."""

    keypoint_head: Module | None
    keypoint_predictor: Module | None
    num_keypoints: int | None
    keypoint_batch_size_per_image: int | None
    keypoint_loss_divisor: str
    keypoint_score: str
    sampler: BalancedSampler

    def keypoint_losses(
        self,
        pyramid: Sequence[Tensor],
        sampled: Sequence[SampledRoIs],
        batch: Batch,
        targets: Sequence[Target],
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """loss_keypoint, of the positive RoIs that show a keypoint of their object."""
        learned = [self.keypoint_targets(s, t, rng) for s, t in zip(sampled, targets, strict=True)]
        record("keypoint/sampled", learned)
        rois = as_rois([from_edges(one.boxes, self.pooler.corners) for one in learned])
        # where there are none too: the loss then is 0, and so are the head's gradients
        logits = self.predict_keypoints(pyramid, rois, batch)
        loss = keypoints_of.keypoint_loss(logits, learned, self.usual_keypoints(len(targets)))
        return {"loss_keypoint": loss}

    def keypoint_targets(
        self, sampled: SampledRoIs, target: Target, rng: np.random.Generator
    ) -> KeypointTargets:
        """The RoIs of one image whose heat maps are learned, and where their keypoints are.

        An RoI without a labeled keypoint inside would add nothing to the loss.
        """
        assert target.keypoints is not None
        boxes = to_edges(sampled.boxes[sampled.positive].astype(np.float32), self.pooler.corners)
        keypoints = target.keypoints[sampled.matched[sampled.positive]]
        found = keypoints_of.keypoint_targets(keypoints, boxes)
        useful = np.flatnonzero(found.valid.any(axis=1))
        limit = self.keypoint_batch_size_per_image
        if limit is not None and len(useful) > limit:
            useful = np.sort(rng.choice(useful, limit, replace=False))
        return found.keep(useful)

    def usual_keypoints(self, images: int) -> int | None:
        """What the loss is divided by, if not by the keypoints it is of.

        That is the number of keypoints in as many positives as a batch has at most: then an image
        with few keypoints weighs less.
        """
        if self.keypoint_loss_divisor == "visible":
            return None
        assert self.num_keypoints is not None
        positives = int(self.sampler.batch_size_per_image * self.sampler.positive_fraction)
        return images * positives * self.num_keypoints

    def predict_keypoints(
        self, pyramid: Sequence[Tensor], rois: np.ndarray, batch: Batch
    ) -> Tensor:
        """(R, 5) RoIs -> logits of the heat maps (R, P, 56, 56)."""
        assert self.keypoint_head is not None and self.keypoint_predictor is not None
        pooled = self.pool_keypoints(pyramid, rois, batch.shape[0])
        record("keypoint/pooled", pooled)
        features = self.keypoint_head(pooled)
        record("keypoint/features", features)
        logits: Tensor = self.keypoint_predictor(features)
        record("keypoint/logits", logits)
        return logits

    @stage("RoI pooling, keypoint")
    def pool_keypoints(
        self, pyramid: Sequence[Tensor], rois: np.ndarray, image_height: int
    ) -> Tensor:
        """Features of each RoI for the keypoint head: (R, 5) -> (R, C, 14, 14)."""
        return self.pooler(pyramid, rois, keypoints_of.POOLED_SIZE, image_height)

    def locate(
        self, pyramid: Sequence[Tensor], instances: Sequence[Instances], batch: Batch
    ) -> list[Instances]:
        """The same objects, each with its keypoints."""
        boxes = [found.boxes for found in instances]
        rois = as_rois(boxes)
        if len(rois) == 0:
            none = np.zeros((0, self.num_keypoints or 0, 3), np.float32)
            return [replace(found, keypoints=none) for found in instances]
        logits = self.predict_keypoints(pyramid, rois, batch)
        places = self.pooler.by_edges(rois)[:, 1:]
        keypoints = keypoints_of.find_keypoints(logits.data, places, self.keypoint_score)
        per_image = np.split(keypoints, np.cumsum([len(b) for b in boxes])[:-1])
        return [replace(f, keypoints=k) for f, k in zip(instances, per_image, strict=True)]
