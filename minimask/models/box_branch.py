"""The box branch: classify every proposal and correct its box (Fast R-CNN).

Letters: R RoIs of all images, K classes with background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimask import boxes as box_ops
from minimask.autograd import Tensor, zero_like
from minimask.autograd.arrays import array_module
from minimask.autograd.hooks import record, stage
from minimask.data.sample import Target
from minimask.models import box_head as boxes_of
from minimask.models.box_head import Four, SampledRoIs
from minimask.models.detections import Instances
from minimask.models.matcher import BalancedSampler, Matcher, RecordedSampling, spare_crowds
from minimask.models.moving_targets import Origins, moving_deltas
from minimask.models.roi_branch import RoIBranch
from minimask.models.roi_pooling import as_rois
from minimask.models.transform import Batch
from minimask.nn import Module
from minimask.system.device import download


class BoxBranch(RoIBranch):
    """Chooses the RoIs that training learns from, and finds objects among the proposals."""

    box_head: Module
    box_predictor: Module
    pooled_size: int
    background_class: int  # the network's index of background
    append_gt_boxes: bool
    crowds: str
    fill_rois: bool
    active_classes: np.ndarray | None  # (K,) bool: those that count as found; None: all
    matcher: Matcher
    sampler: BalancedSampler
    box_weights: Four
    delta_clamp: str
    loss_divisor: str
    loss_beta: float
    score_thresh: float
    nms_thresh: float
    detections_per_img: int
    min_size: float | None
    best_class_only: bool

    @stage("RoI sampling")
    def sample(
        self,
        proposals: Sequence[np.ndarray],
        targets: Sequence[Target],
        rng: np.random.Generator,
        samples: RecordedSampling | None = None,
    ) -> list[SampledRoIs]:
        """The RoIs of each image to learn from, with their labels and regression targets.

        Candidates are the proposals and, in most systems, the ground-truth boxes after them.
        """
        sampled, all_candidates = [], []
        for n, (boxes, target) in enumerate(zip(proposals, targets, strict=True)):
            gt_boxes = np.ascontiguousarray(target.boxes, np.float32)
            candidates = boxes
            if self.append_gt_boxes:
                candidates = np.concatenate([boxes, target.boxes.astype(boxes.dtype)])
            matches = self.matcher(gt_boxes, np.ascontiguousarray(candidates))
            if self.crowds == "ignored" and target.crowds is not None:
                matches = spare_crowds(matches, candidates, target.crowds)
            if samples is None:
                drawn = self.sampler(matches, rng)
            else:
                drawn = samples.regions_positive[n], samples.regions_negative[n]
            rois = self.build_targets(candidates, matches, drawn, target)
            if self.fill_rois:
                rois = rois.filled(self.sampler.batch_size_per_image, self.background_class)
            sampled.append(rois)
            all_candidates.append((candidates, matches))
        record("roi/candidates", all_candidates)
        record("roi/sampled", sampled)
        return sampled

    def build_targets(
        self,
        candidates: np.ndarray,
        matches: np.ndarray,
        drawn: tuple[np.ndarray, np.ndarray],
        target: Target,
    ) -> SampledRoIs:
        """The drawn candidates of one image with everything the losses compare them to.

        Args:
            candidates: (R, 4) boxes.
            matches: (R,) the object of each.
            drawn: indices of the sampled positives and negatives.
            target: the ground truth, in the network's input.
        """
        index = np.sort(np.concatenate(drawn))
        boxes, matched = candidates[index], matches[index]
        positive = matched >= 0
        labels = np.full(len(index), self.background_class, np.int64)
        labels[positive] = target.labels[matched[positive]] + self.first_label
        target_deltas = np.zeros((len(index), 4), np.float32)
        target_deltas[positive] = box_ops.encode(
            target.boxes[matched[positive]].astype(np.float32),
            boxes[positive].astype(np.float32),
            self.box_weights,
        )
        return SampledRoIs(boxes, labels, np.maximum(matched, 0), target_deltas, positive)

    def follow(self, sampled: SampledRoIs, target: Target, origins: Origins) -> SampledRoIs:
        """The same RoIs with regression targets that move with them."""
        if not sampled.positive.any():
            return sampled
        boxes = origins.moving(sampled.boxes[sampled.positive])
        objects = target.boxes[sampled.matched[sampled.positive]]
        return replace(sampled, moving=moving_deltas(objects, boxes, self.box_weights))

    def box_losses(
        self, pyramid: Sequence[Tensor], sampled: Sequence[SampledRoIs], batch: Batch
    ) -> dict[str, Tensor]:
        """loss_classifier and loss_box_reg of the sampled RoIs."""
        classification = box_reg = zero_like(pyramid[0])
        rois = as_rois([s.boxes for s in sampled])
        if len(rois):
            logits, deltas = self.predict_boxes(pyramid, rois, batch)
            classification, box_reg = boxes_of.box_loss(
                logits,
                deltas,
                sampled,
                divisor=self.loss_divisor,
                beta=self.loss_beta,
                active=self.active_classes,
            )
        return {"loss_classifier": classification, "loss_box_reg": box_reg}

    def predict_boxes(
        self, pyramid: Sequence[Tensor], rois: np.ndarray, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """(R, 5) RoIs -> class logits (R, K) and box deltas (R, 4 * box rows)."""
        pooled = self.pool_boxes(pyramid, rois, batch.shape[0])
        record("box/pooled", pooled)
        features = self.box_head(pooled)
        record("box/features", features)
        logits, deltas = self.box_predictor(features)
        record("box/cls_logits", logits)
        record("box/deltas", deltas)
        return logits, deltas

    @stage("RoI pooling, box")
    def pool_boxes(self, pyramid: Sequence[Tensor], rois: np.ndarray, image_height: int) -> Tensor:
        """Features of each RoI for the box head: (R, 5) -> (R, C, 7, 7)."""
        return self.pooler(pyramid, rois, self.pooled_size, image_height)

    def detect(
        self, pyramid: Sequence[Tensor], proposals: Sequence[np.ndarray], batch: Batch
    ) -> list[Instances]:
        """Classify each proposal, correct its box, drop duplicates."""
        instances = [Instances.empty()] * len(batch.transforms)
        rois = as_rois(proposals)
        if len(rois):
            logits, deltas = self.predict_boxes(pyramid, rois, batch)
            xp, classes = array_module(logits.data), logits.shape[1]
            both = download(xp.concatenate([logits.data, deltas.data], 1), "boxes")  # one wait
            instances = boxes_of.postprocess_detections(
                both[:, :classes],
                both[:, classes:],
                proposals,
                batch.transforms,
                score_thresh=self.score_thresh,
                nms_thresh=self.nms_thresh,
                detections_per_img=self.detections_per_img,
                min_size=self.min_size,
                background=self.background,
                best_class_only=self.best_class_only,
                box_weights=self.box_weights,
                delta_clamp=self.delta_clamp,
            )
        for name in ("boxes", "labels", "scores"):
            record(f"det/{name}", [getattr(found, name) for found in instances])
        return instances
