"""The heads of the network without a pyramid: its fourth stage, run on every region.

Mask R-CNN, figure 4 left ("res5").  Letters: R regions, C channels.
"""

from __future__ import annotations

from minimask.autograd import Tensor
from minimask.nn import Module, Sequential

POOLED_SIZE = 14  # the stage halves it: 7 x 7 for the classes, twice that for the masks


class C4BoxHead(Module):
    """The residual network's last stage on the features of a region, then their mean."""

    def __init__(self, res5: Sequential):
        self.res5 = res5

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C4 channels, 14, 14) -> (R, C5 channels)."""
        return self.res5(pooled).mean(axis=(2, 3))


class C4MaskHead(Module):
    """The same stage, with the same weights; its 7 x 7 features keep their layout."""

    def __init__(self, box_head: C4BoxHead):
        self._shared = box_head  # private: its parameters are the box head's

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C4 channels, 14, 14) -> (R, C5 channels, 7, 7)."""
        return self._shared.res5(pooled)
