"""The first stage alone: a network that says where objects are, not what they are.

It is measured by average recall (Hosang et al. 2015), see `minimask.evaluate.average_recall`.

Letters: N images, R proposals.
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
from minimask.models.detector import Detector
from minimask.models.matcher import RecordedSampling
from minimask.models.rpn import RPN
from minimask.models.transform import Batch
from minimask.nn import Module

OBJECT = "object"  # the only class of its detections


class ProposalNetwork(Detector):
    """Backbone and RPN (Ren et al. 2015, section 3.1).

    Its `classes` are those of the data it learns from; what it finds are objects.
    """

    class_agnostic = True
    background_class = None
    score_thresh = 0.0  # every proposal that is left counts

    def __init__(self, backbone: Module, rpn: RPN, **shared: Any):
        """Put the parts together; `minimask.models.build` and its relatives make them.

        Args:
            backbone: images to feature maps, see `minimask.models.backbone`.
            rpn: feature maps to proposals.
            **shared: `classes`, `convention`, `min_size`, `max_size`, `config`, see `Detector`.
        """
        if not isinstance(backbone, Backbone):
            check_backbone(backbone, maps=len(rpn.anchor_generator.cells))
        super().__init__(backbone, **shared)
        self.rpn = rpn
        self.seal()

    @property
    def title(self) -> str:
        """As messages call it."""
        return "a region proposal network"

    @property
    def found_classes(self) -> tuple[str, ...]:
        """Whatever the data's classes are, it finds objects."""
        return (OBJECT,)

    @property
    def detections_per_img(self) -> int:
        """How many proposals are left of an image."""
        return self.rpn.post_nms_top_n_test

    def where_else(self, name: str) -> str:
        """Options of the factory belong to a part: `rpn_nms_thresh` is `model.rpn.nms_thresh`."""
        inner = name.removeprefix("rpn_")
        return f"; what you want is model.rpn.{inner}" if hasattr(self.rpn, inner) else ""

    def forward(
        self,
        batch: Batch,
        targets: Sequence[Target] | None = None,
        rng: np.random.Generator | None = None,
        samples: RecordedSampling | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Of each image its proposals; with targets loss_objectness and loss_rpn_box_reg."""
        pyramid = self.backbone(Tensor(batch.images))
        objectness, deltas, anchors = self.rpn.judge(pyramid, batch)
        if targets is not None:
            return [], self.rpn.losses(objectness, deltas, anchors, targets, batch, rng, samples)
        found = self.rpn.propose(objectness, deltas, anchors.levels, batch.transforms)
        return [
            Instances(boxes, np.zeros(len(boxes), np.int64), scores, boxes)
            for boxes, scores in found
        ], {}

    def propose(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The proposals of each image, (R, 4) in its pixels, as many as a second stage learns on.

        With it the network can be another detector's `proposer`, see `FastRCNN`.
        """
        was_training = self.training
        self.eval()
        try:
            with no_grad(), unchecked():
                batch = self.prepare(images)
                proposals, _ = self.rpn(self.backbone(Tensor(batch.images)), batch, training=True)
        finally:
            self.train(was_training)
        return [t.to_image(p) for t, p in zip(batch.transforms, proposals, strict=True)]

    def stages(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every array a prediction computes on the way, by name, in that order.

        transform/image, body/..., fpn/..., rpn/objectness/i and rpn/deltas/i per level,
        rpn/anchors, rpn/proposals, rpn/scores, and out/boxes, out/labels, out/scores.
        """
        return super().stages(image)
