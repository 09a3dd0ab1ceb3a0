"""Weights of RetinaNet: what their shapes show, and which named network they are of.

The rows of the class scores are anchors times classes, the anchor first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

SCORES = "head.classification_head.cls_logits"
TOWER = "head.classification_head.conv"
BOXES = "head.regression_head.bbox_reg.weight"
P6 = "backbone.fpn.extra_blocks.p6.weight"
PER_CELL = 9  # anchors: three sizes of three shapes
PAPER_DEPTH = 4  # convolutions before each answer


@dataclass(frozen=True)
class RetinaHeads:
    """What the names and shapes of a RetinaNet's heads show."""

    anchors: int  # at each place
    outputs: int  # classes, and one for background, which is never learned
    pyramid: int  # channels of the maps
    depth: int  # convolutions before each answer
    norm: str | None  # after each of them
    coarse_from: str  # what P6 is made of: "p5" or "c5"

    @property
    def options(self) -> dict[str, Any]:
        """Those of a factory that are not as in the paper's heads and torchvision's first ones."""
        found: dict[str, Any] = {}
        if self.depth != PAPER_DEPTH:
            found["head_depth"] = self.depth
        if self.norm is not None:
            found["head_norm"] = self.norm
        if self.coarse_from != "p5":
            found["coarse_levels_from"] = self.coarse_from
        return found

    def preset(self, depth: int | None, *, small: bool) -> str | None:
        """The named network with these heads; None: there is none.

        Args:
            depth: of its ResNet, of those in presets; None: of another.
            small: whether its body is that of the laptop's networks.
        """
        if small and (self.pyramid, self.depth, self.norm) == (64, 2, "group"):
            return "retinanet_laptop" if self.coarse_from == "p5" else None
        if depth is None or (self.pyramid, self.depth) != (256, PAPER_DEPTH):
            return None
        if (self.norm, self.coarse_from) == (None, "p5"):
            return f"retinanet_resnet{depth}_fpn"
        second = (depth, self.norm, self.coarse_from) == (50, "group", "c5")
        return "retinanet_resnet50_fpn_v2" if second else None


def heads(shapes: Shapes) -> RetinaHeads | None:
    """The heads of a RetinaNet; None: another network, or shapes that no RetinaNet has."""
    scores, boxes = shapes.get(f"{SCORES}.weight"), shapes.get(BOXES)
    if scores is None or boxes is None:
        return None
    anchors, left = divmod(boxes[0], 4)
    if left or not anchors or scores[0] % anchors:
        return None
    depth = 0
    while f"{TOWER}.{depth}.0.weight" in shapes:
        depth += 1
    p6 = shapes.get(P6)
    return RetinaHeads(
        anchors,
        scores[0] // anchors,
        scores[1],
        depth,
        "group" if f"{TOWER}.0.1.weight" in shapes else None,
        "c5" if p6 is not None and p6[1] != scores[1] else "p5",
    )
