"""Fast R-CNN (Girshick 2015): the image passes the network once, regions come from elsewhere.

R-CNN (Girshick et al. 2014), before it, is the same detector with other `roi_heads`, see `rcnn.py`;
Faster R-CNN, after it, has a first stage that proposes the regions.

Letters: N images, R regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minimask.autograd import Tensor, no_grad
from minimask.data.sample import Target
from minimask.kernels.dispatch import unchecked
from minimask.models.backbone import Backbone, check_backbone
from minimask.models.detections import Detections, Instances
from minimask.models.given_proposals import GridProposer, Proposer, check_proposals
from minimask.models.matcher import RecordedSampling
from minimask.models.region_detector import RegionDetector
from minimask.models.roi_heads import RoIHeads
from minimask.models.transform import Batch
from minimask.nn import Module


class FastRCNN(RegionDetector):
    """Fast R-CNN: a backbone, and `roi_heads` on regions that the caller or the proposer gives.

        model.predict(images)                     regions of model.proposer, at first a grid
        model.predict(images, proposals)          regions of your own
        model.proposer = trained_rpn              whatever has `propose(images)`

    The proposer is not saved with the model.
    """

    def __init__(
        self,
        backbone: Module,
        roi_heads: RoIHeads,
        proposer: Proposer | None = None,
        **shared: Any,
    ):
        """Put the parts together; `minimask.models.build` and its relatives make them.

        Args:
            backbone: images to feature maps, see `minimask.models.backbone`.
            roi_heads: regions to objects.
            proposer: where to look, if nobody says; None: windows on a grid.
            **shared: `classes`, `convention`, `min_size`, `max_size`, `config`, see `Detector`.
        """
        if not isinstance(backbone, Backbone):
            check_backbone(backbone)
        super().__init__(backbone, **shared)
        self.roi_heads = roi_heads
        self._proposer = proposer or GridProposer()  # private: neither trained nor saved
        self.seal()

    @property
    def proposer(self) -> Proposer:
        """What says where to look in images that come without regions."""
        return self._proposer

    @proposer.setter
    def proposer(self, value: Proposer) -> None:
        if not callable(getattr(value, "propose", None)):
            raise TypeError(
                f"proposer: expected something with propose(images), got {type(value).__name__}"
            )
        self._proposer = value

    @property
    def title(self) -> str:
        """As messages call it."""
        return "Fast R-CNN"

    def forward(
        self,
        batch: Batch,
        targets: Sequence[Target] | None = None,
        rng: np.random.Generator | None = None,
        samples: RecordedSampling | None = None,
        proposals: Sequence[np.ndarray] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Of each image its objects; with targets loss_classifier and loss_box_reg instead.

        `proposals` are boxes (R, 4) of each image in the network's input.
        """
        assert proposals is not None
        features = self.backbone(Tensor(batch.images))
        return self.roi_heads(features, proposals, batch, targets, rng, samples)

    def predict(
        self,
        images: Sequence[np.ndarray],
        proposals: Sequence[np.ndarray] | None = None,
        *,
        batch_size: int = 4,
    ) -> list[Detections]:
        """Find the objects in images of any sizes, among the regions given.

        Args:
            images: uint8 arrays (H, W, 3) RGB; gray (H, W) and RGBA are converted.
            proposals: for each image (R, 4) in its pixels; None: those of the proposer.
            batch_size: how many go through the network at once.

        Returns:
            For each image its `Detections`, best first. The model's mode is left as it was.

        Raises:
            ValueError: proposals that are no boxes, or not of as many images.
        """
        if proposals is None:
            return super().predict(images, batch_size=batch_size)
        proposals = self._checked(images, proposals)
        was_training = self.training
        self.eval()
        try:
            with no_grad():
                return [
                    found
                    for start in range(0, len(images), batch_size)
                    for found in self._look(
                        images[start : start + batch_size], proposals[start : start + batch_size]
                    )
                ]
        finally:
            self.train(was_training)

    def _predict(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return self._look(images, self._proposer.propose(images))

    def _look(
        self, images: Sequence[np.ndarray], proposals: Sequence[np.ndarray]
    ) -> list[Detections]:
        batch = self.prepare(images)
        resized = [t.to_network(p) for t, p in zip(batch.transforms, proposals, strict=True)]
        with unchecked():
            instances, _ = self.forward(batch, proposals=resized)
        return [self.to_image(f, t) for f, t in zip(instances, batch.transforms, strict=True)]

    def _checked(
        self, images: Sequence[np.ndarray], proposals: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        if len(proposals) != len(images):
            raise ValueError(f"proposals: of {len(proposals)} images, but there are {len(images)}")
        for i, boxes in enumerate(proposals):
            check_proposals(boxes, f"proposals[{i}]")
        return [np.asarray(boxes, np.float32) for boxes in proposals]

    def losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target],
        *,
        rng: np.random.Generator,
        samples: RecordedSampling | None = None,
        proposals: Sequence[np.ndarray] | None = None,
    ) -> dict[str, Tensor]:
        """What training minimizes the sum of; the network below the regions is trained too.

        Args:
            images: uint8 arrays (H, W, 3) of any sizes.
            targets: the objects of each image; none at all is fine.
            rng: draws the regions to learn from.
            samples: recorded draws, which bring their own proposals.
            proposals: for each image (R, 4) in its pixels; None: those of the proposer.

        Returns:
            Scalars: loss_classifier, loss_box_reg.
        """
        if samples is not None:
            self.check_targets(images, targets)
            with unchecked():
                batch, targets = self.prepare_training(images, targets, rng)
                return self.forward(batch, targets, rng, samples, samples.proposals)[1]
        if proposals is None:
            proposals = self._proposer.propose(images)
        else:
            proposals = self._checked(images, proposals)
        return self.region_losses(images, targets, proposals, rng=rng)

    def stages(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every array a prediction computes on the way, by name, in that order.

        transform/image, body/..., fpn/..., box/pooled, box/features, box/cls_logits, box/deltas,
        det/boxes, det/labels, det/scores (in the network's input), and out/..., the same in the
        image.
        """
        return super().stages(image)
