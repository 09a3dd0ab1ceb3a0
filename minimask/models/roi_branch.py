"""What the branches of the second stage share."""

from __future__ import annotations

from minimask.models.roi_pooling import RoIPooler
from minimask.models.sealed import Sealed


class RoIBranch(Sealed):
    """A branch of `RoIHeads`: what one question about every RoI needs, and how it is answered.

    A branch only declares its attributes; `RoIHeads`, which is all of them in one module, sets
    them.  So a parameter is `roi_heads.mask_head...` and an option `roi_heads.mask_on`, whichever
    file they are used in.
    """

    pooler: RoIPooler
    background: str  # "first" or "last" of the network's classes
    first_label: int  # the network's index of label 0
