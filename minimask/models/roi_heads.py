"""The second stage: pool every proposal, classify it, correct its box, draw its mask.

Letters: N images, R RoIs of all images, K classes with background, M side of a predicted mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimask import boxes as box_ops
from minimask.autograd import Tensor, zero_like
from minimask.autograd.arrays import array_module
from minimask.autograd.hooks import record, stage
from minimask.conventions import TORCHVISION, Convention, check_choice
from minimask.data.sample import Target
from minimask.models import box_head as boxes_of
from minimask.models import mask_head as masks_of
from minimask.models.box_head import SampledRoIs, background_class
from minimask.models.detections import Instances
from minimask.models.matcher import BalancedSampler, Matcher, RecordedSampling
from minimask.models.roi_pooling import POOLED_LEVELS, RoIPooler, as_rois
from minimask.models.sealed import Sealed
from minimask.models.transform import Batch
from minimask.nn import Module
from minimask.system.device import download

MASK_ON = ("detections", "proposals")


class RoIHeads(Sealed):
    """The box branch and, where there is a mask head, the mask branch (Mask R-CNN, figure 1)."""

    def __init__(
        self,
        box_head: Module,
        box_predictor: Module,
        num_classes: int,
        convention: Convention = TORCHVISION,
        *,
        pooled_size: int = boxes_of.POOLED_SIZE,
        pooled_levels: int = POOLED_LEVELS,
        mask_head: Module | None = None,
        mask_predictor: Module | None = None,
        mask_size: int = 2 * masks_of.POOLED_SIZE,
        roi_op: str = "align",  # see `RoIPooler`
        roi_reduce: str = "mean",
        fg_iou_thresh: float = 0.5,  # Mask R-CNN, section 3.1
        bg_iou_thresh: float = 0.5,
        batch_size_per_image: int = 512,  # Mask R-CNN, section 3.1: RoIs learned from
        positive_fraction: float = 0.25,
        negatives_per_positive: float | None = None,  # at most this many
        score_thresh: float = 0.05,
        nms_thresh: float = 0.5,
        detections_per_img: int = 100,  # Mask R-CNN, section 3.1
        mask_batch_size_per_image: int | None = None,  # masks learned from at most; None: all
        mask_output: str = "sigmoid",  # a mask per class; "softmax": they compete; "agnostic": one
        mask_on: str = "detections",  # the boxes masks are predicted in; "proposals": unrefined
    ):
        """Options of a factory are these names, with `box_` before what is not of RoIs or masks."""
        check_choice("mask_output", mask_output, masks_of.OUTPUTS)
        check_choice("mask_on", mask_on, MASK_ON)
        self.box_head, self.box_predictor = box_head, box_predictor
        self.mask_head, self.mask_predictor = mask_head, mask_predictor
        self.background = convention.background  # "first" or "last" of the network's classes
        self.background_class = background_class(num_classes, self.background)
        self.first_label = int(self.background == "first")  # the network's index of label 0
        self.pooled_size, self.mask_size = pooled_size, mask_size
        self.pooler = RoIPooler(
            roi_op,
            roi_reduce,
            convention.level_rule,
            convention.sampling_ratio,
            convention.roi_aligned,
            pooled_levels,
        )
        self.append_gt_boxes = convention.append_gt_boxes
        self.matcher = Matcher(fg_iou_thresh, bg_iou_thresh)
        self.sampler = BalancedSampler(
            batch_size_per_image, positive_fraction, negatives_per_positive
        )
        self.box_weights, self.delta_clamp = convention.box_weights, convention.delta_clamp
        self.loss_divisor, self.loss_beta = convention.box_loss_divisor, convention.box_loss_beta
        self.score_thresh, self.nms_thresh = score_thresh, nms_thresh
        self.detections_per_img = detections_per_img
        self.min_size, self.best_class_only = convention.box_min_size, convention.best_class_only
        self.mask_batch_size_per_image = mask_batch_size_per_image
        self.mask_output, self.mask_on = mask_output, mask_on
        self.mask_target = convention.mask_target
        self.mask_target_aligned = convention.mask_target_aligned
        self.seal()

    def forward(
        self,
        pyramid: Sequence[Tensor],
        proposals: Sequence[np.ndarray],
        batch: Batch,
        targets: Sequence[Target] | None = None,
        rng: np.random.Generator | None = None,
        samples: RecordedSampling | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """The objects of each image; or, with targets, how wrong the branches are.

        Args:
            pyramid: the feature maps, finest first.
            proposals: of each image (R, 4), in the network's input.
            batch: the images the pyramid was computed from.
            targets: of each image the ground truth, in the network's input.
            rng: draws the RoIs to learn from.
            samples: recorded draws instead.

        Returns:
            Without targets, of each image its `Instances`, with masks if there is a mask head;
            with targets loss_classifier, loss_box_reg and, with a mask head, loss_mask.
        """
        if targets is not None:
            assert rng is not None
            sampled = self.sample(proposals, targets, rng, samples)
            losses = self.box_losses(pyramid, sampled, batch)
            if self.mask_head is not None:
                losses |= self.mask_losses(pyramid, sampled, batch, targets, rng)
            return [], losses
        instances = self.detect(pyramid, proposals, batch)
        if self.mask_head is not None:  # section 3.1: on the best boxes only
            instances = self.segment(pyramid, instances, batch)
        return instances, {}

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
            if samples is None:
                drawn = self.sampler(matches, rng)
            else:
                drawn = samples.regions_positive[n], samples.regions_negative[n]
            sampled.append(self.build_targets(candidates, matches, drawn, target))
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

    def box_losses(
        self, pyramid: Sequence[Tensor], sampled: Sequence[SampledRoIs], batch: Batch
    ) -> dict[str, Tensor]:
        """loss_classifier and loss_box_reg of the sampled RoIs."""
        classification = box_reg = zero_like(pyramid[0])
        rois = as_rois([s.boxes for s in sampled])
        if len(rois):
            logits, deltas = self.predict_boxes(pyramid, rois, batch)
            classification, box_reg = boxes_of.box_loss(
                logits, deltas, sampled, divisor=self.loss_divisor, beta=self.loss_beta
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
        loss = masks_of.mask_loss(
            self.predict_masks(pyramid, rois, batch),
            sampled,
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
