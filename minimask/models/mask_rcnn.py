"""Mask R-CNN: Faster R-CNN with a branch that draws every object's outline."""

from __future__ import annotations

from minimask.models.faster_rcnn import FasterRCNN


class MaskRCNN(FasterRCNN):
    """Mask R-CNN (He et al. 2017): a Faster R-CNN whose `roi_heads` have a mask head."""
