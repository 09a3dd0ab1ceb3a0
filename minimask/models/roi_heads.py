"""The second stage: pool every proposal, classify it, correct its box, draw its mask.

Its branches have a file each: `box_branch`, `mask_branch`, `keypoint_branch`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask.autograd import Tensor
from minimask.conventions import TORCHVISION, Convention, check_choice
from minimask.data.sample import Target
from minimask.models import box_head as boxes_of
from minimask.models import mask_head as masks_of
from minimask.models.box_branch import BoxBranch
from minimask.models.box_head import background_class
from minimask.models.detections import Instances
from minimask.models.keypoint_branch import KeypointBranch
from minimask.models.mask_branch import MaskBranch
from minimask.models.matcher import BalancedSampler, Matcher, RecordedSampling
from minimask.models.moving_targets import Origins
from minimask.models.roi_pooling import POOLED_LEVELS, RoIPooler
from minimask.models.transform import Batch
from minimask.nn import Module

MASK_ON = ("detections", "proposals")


class RoIHeads(BoxBranch, MaskBranch, KeypointBranch):
    """The box branch and, where there are heads for them, the others (Mask R-CNN, figure 1)."""

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
        keypoint_head: Module | None = None,
        keypoint_predictor: Module | None = None,
        num_keypoints: int | None = None,
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
        keypoint_batch_size_per_image: int | None = None,  # heat maps learned from; None: all
        mask_output: str = "sigmoid",  # a mask per class; "softmax": they compete; "agnostic": one
        mask_on: str = "detections",  # the boxes masks are predicted in; "proposals": unrefined
    ):
        """Options of a factory are these names, with `box_` before what has no other branch's."""
        check_choice("mask_output", mask_output, masks_of.OUTPUTS)
        check_choice("mask_on", mask_on, MASK_ON)
        self.box_head, self.box_predictor = box_head, box_predictor
        self.mask_head, self.mask_predictor = mask_head, mask_predictor
        self.keypoint_head, self.keypoint_predictor = keypoint_head, keypoint_predictor
        self.num_keypoints = num_keypoints
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
            convention.map_strides == "fixed",
            pooled_levels,
            convention.box_corners,
        )
        self.append_gt_boxes, self.crowds = convention.append_gt_boxes, convention.crowds
        self.fill_rois = convention.fill_rois
        self.active_classes: np.ndarray | None = None  # names of classes are the factory's
        best = convention.box_best_iou_min, convention.best_box_is_taken
        self.matcher = Matcher(fg_iou_thresh, bg_iou_thresh, *best)
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
        self.keypoint_batch_size_per_image = keypoint_batch_size_per_image
        self.keypoint_loss_divisor = convention.keypoint_loss_divisor
        self.keypoint_score = convention.keypoint_score
        self.seal()

    def forward(
        self,
        pyramid: Sequence[Tensor],
        proposals: Sequence[np.ndarray],
        batch: Batch,
        targets: Sequence[Target] | None = None,
        rng: np.random.Generator | None = None,
        samples: RecordedSampling | None = None,
        origins: Sequence[Origins] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """The objects of each image; or, with targets, how wrong the branches are.

        Args:
            pyramid: the feature maps, finest first.
            proposals: of each image (R, 4), in the network's input.
            batch: the images the pyramid was computed from.
            targets: of each image the ground truth, in the network's input.
            rng: draws the RoIs to learn from.
            samples: recorded draws instead.
            origins: of each image what proposals come from, where targets move with them.

        Returns:
            Without targets, of each image its `Instances`, with masks and keypoints if there are
            heads for them; with targets loss_classifier, loss_box_reg, and of these heads
            loss_mask and loss_keypoint.
        """
        if targets is not None:
            assert rng is not None
            sampled = self.sample(proposals, targets, rng, samples)
            if origins is not None:
                sampled = [self.follow(*one) for one in zip(sampled, targets, origins, strict=True)]
            losses = self.box_losses(pyramid, sampled, batch)
            if self.mask_head is not None:
                losses |= self.mask_losses(pyramid, sampled, batch, targets, rng)
            if self.keypoint_head is not None:
                losses |= self.keypoint_losses(pyramid, sampled, batch, targets, rng)
            return [], losses
        instances = self.detect(pyramid, proposals, batch)
        if self.mask_head is not None:  # section 3.1: on the best boxes only
            instances = self.segment(pyramid, instances, batch)
        if self.keypoint_head is not None:
            instances = self.locate(pyramid, instances, batch)
        return instances, {}

    def check_target(self, target: Target, name: str) -> None:
        """Refuse a target that lacks what a head learns from.

        Raises:
            ValueError: there are no masks, no keypoints, or another number of keypoints.
        """
        if self.mask_head is not None and target.masks is None:
            raise ValueError(f"{name}: Mask R-CNN learns from masks, but these are None")
        if self.keypoint_head is None:
            return
        if target.keypoints is None:
            raise ValueError(f"{name}: Keypoint R-CNN learns from keypoints, but these are None")
        given = np.shape(target.keypoints)[1]
        if given != self.num_keypoints:
            raise ValueError(
                f"{name}.keypoints: expected {self.num_keypoints} for each object, as the model "
                f"finds, got {given}"
            )
