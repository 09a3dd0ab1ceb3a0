"""Faster R-CNN: backbone, first stage, second stage, in this order, for prediction and training.

Mask R-CNN is the same network with a mask head among its `roi_heads`.  What it shares with other
detectors is in `detector.py` and `region_detector.py`.

Letters: N images, R objects or RoIs, H W of the padded input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minimask.autograd import Tensor, no_grad
from minimask.data.sample import Target
from minimask.kernels.dispatch import unchecked
from minimask.models.backbone import Backbone, check_backbone
from minimask.models.detections import Instances
from minimask.models.detector import arrays_of as arrays_of  # was at home here
from minimask.models.matcher import RecordedSampling
from minimask.models.region_detector import RegionDetector
from minimask.models.roi_heads import RoIHeads
from minimask.models.rpn import RPN
from minimask.models.transform import Batch
from minimask.nn import Module


class FasterRCNN(RegionDetector):
    """Faster R-CNN (Ren et al. 2015), usually with a feature pyramid (Lin et al. 2017)."""

    def __init__(self, backbone: Module, rpn: RPN, roi_heads: RoIHeads, **shared: Any):
        """Put the parts together; `minimask.models.build` and its relatives make them.

        Args:
            backbone: images to feature maps, see `minimask.models.backbone`.
            rpn: feature maps to proposals.
            roi_heads: proposals to objects.
            **shared: `classes`, `convention`, `min_size`, `max_size`, `config` and `skeleton`, see
                `Detector`.
        """
        if not isinstance(backbone, Backbone):
            check_backbone(backbone, maps=len(rpn.anchor_generator.cells))
        super().__init__(backbone, **shared)
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.seal()

    def forward(
        self,
        batch: Batch,
        targets: Sequence[Target] | None = None,
        rng: np.random.Generator | None = None,
        samples: RecordedSampling | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Of each image its objects; with targets (in the network's input), the losses instead.

        The losses are loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg; of Mask
        R-CNN, whose targets need masks, also loss_mask.
        """
        pyramid = self.backbone(Tensor(batch.images))
        rpn_output = self.rpn.judge(pyramid, batch)
        proposals, rpn_losses = self.rpn.decide(rpn_output, batch, targets, rng, samples)
        origins = None
        if targets is not None and self.rpn.moving_targets:
            origins = self.rpn.origins(rpn_output, batch)
        instances, roi_losses = self.roi_heads(
            pyramid, proposals, batch, targets, rng, samples, origins
        )
        return instances, rpn_losses | roi_losses

    def proposal_losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target],
        *,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """The losses of the first stage alone, for training in turns (Faster R-CNN, section 3.2).

        Arguments as for `losses`; returns loss_objectness and loss_rpn_box_reg.
        """
        self.check_targets(images, targets, heads=False)
        with unchecked():
            batch, targets = self.prepare_training(images, targets, rng)
            return self.rpn(self.backbone(Tensor(batch.images)), batch, targets, rng)[1]

    def propose(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The proposals of each image, (R, 4) in its pixels, as many as in training."""
        with no_grad(), unchecked():
            batch = self.prepare(images)
            proposals, _ = self.rpn(self.backbone(Tensor(batch.images)), batch, training=True)
        return [t.to_image(p) for t, p in zip(batch.transforms, proposals, strict=True)]

    def stages(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every array a prediction computes on the way, by name, in that order.

        Names are those of the figure's boxes: transform/image, body/0 .. 3 (C2 .. C5), fpn/0 .. 3
        and fpn/pool (P2 .. P6; without a pyramid one map, neck), rpn/objectness/i and
        rpn/deltas/i per level, rpn/anchors, rpn/proposals, rpn/scores, box/pooled, box/features,
        box/cls_logits, box/deltas, det/boxes, det/labels, det/scores (in the network's input),
        and out/..., the same in the image.
        Mask R-CNN adds mask/pooled, mask/features, mask/logits and out/masks, (R, 1, H, W) soft;
        a keypoint head the same of keypoint/..., and out/keypoints, (R, P, 3) with scores.
        """
        return super().stages(image)
