"""Detectors that judge regions of an image: what those with and without a first stage share.

Letters: N images, R objects or RoIs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask.autograd import Tensor
from minimask.data.sample import Target
from minimask.kernels.dispatch import unchecked
from minimask.models.detections import Instances
from minimask.models.detector import Detector
from minimask.models.roi_heads import RoIHeads
from minimask.models.transform import ImageTransform


class RegionDetector(Detector):
    """A detector whose `roi_heads` decide what is in each region.

    Subclasses call `Detector.__init__` and set `roi_heads`.
    """

    roi_heads: RoIHeads
    example = "model.roi_heads.score_thresh = 0.5"

    @property
    def selection(self) -> RoIHeads:
        """The second stage decides."""
        return self.roi_heads

    @property
    def needs(self) -> tuple[str, ...]:
        """What there are heads for."""
        heads = {"masks": self.roi_heads.mask_head, "keypoints": self.roi_heads.keypoint_head}
        return tuple(name for name, head in heads.items() if head is not None)

    def check_heads(self, target: Target, name: str) -> None:
        """Masks and keypoints, where there are heads that learn them."""
        self.roi_heads.check_target(target, name)

    def mask_boxes(self, instances: Instances, transform: ImageTransform) -> np.ndarray | None:
        """The unrefined boxes, where masks are predicted in those."""
        if self.roi_heads.mask_on != "proposals":
            return None
        return transform.to_image(instances.proposals)

    def where_else(self, name: str) -> str:
        """Options of the factory belong to a part: `rpn_nms_thresh` is `model.rpn.nms_thresh`."""
        for part, prefixes in (("rpn", ("rpn_",)), ("roi_heads", ("box_", ""))):
            for prefix in prefixes:
                inner = name.removeprefix(prefix)
                if name.startswith(prefix) and hasattr(getattr(self, part, None), inner):
                    return f"; what you want is model.{part}.{inner}"
        return ""

    def region_losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target],
        proposals: Sequence[np.ndarray],
        *,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """The losses of the second stage alone, on proposals from elsewhere.

        Args:
            images: as for `losses`.
            targets: as for `losses`.
            proposals: for each image (R, 4) in its pixels, as `propose` gives them.
            rng: draws the RoIs to learn from.

        Returns:
            loss_classifier and loss_box_reg, loss_mask and loss_keypoint of what the model has.
        """
        self.check_targets(images, targets)
        if len(proposals) != len(images):
            raise ValueError(f"proposals: of {len(proposals)} images, but there are {len(images)}")
        with unchecked():
            batch, targets = self.prepare_training(images, targets, rng)
            pyramid = self.backbone(Tensor(batch.images))
            resized = [t.to_network(p) for t, p in zip(batch.transforms, proposals, strict=True)]
            return self.roi_heads(pyramid, resized, batch, targets, rng)[1]
