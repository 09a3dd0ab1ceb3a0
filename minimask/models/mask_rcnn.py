"""Mask R-CNN: Faster R-CNN with a branch that draws every object's outline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask.data.sample import Target
from minimask.models.faster_rcnn import FasterRCNN


class MaskRCNN(FasterRCNN):
    """Mask R-CNN (He et al. 2017): a Faster R-CNN whose `roi_heads` have a mask head."""

    def check_targets(self, images: Sequence[np.ndarray], targets: Sequence[Target]) -> None:
        """What Faster R-CNN asks of targets, and that they have masks."""
        for i, target in enumerate(targets):
            if target.masks is None:
                raise ValueError(f"targets[{i}]: Mask R-CNN learns from masks, but these are None")
        super().check_targets(images, targets)
