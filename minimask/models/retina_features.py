"""The pyramid of RetinaNet: P3 to P7, of which the two coarsest are convolutions of their own.

Letters: N images, C channels of the pyramid, H W height and width of the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.autograd.hooks import record
from minimask.conventions import check_choice
from minimask.models.backbone import Backbone
from minimask.models.bodies import Body
from minimask.models.fpn import FPN
from minimask.models.initialization import conv, uniform_fan_in
from minimask.nn import Module

SOURCES = ("p5", "c5")  # what P6 is made of: RetinaNet's footnote 2 has C5, torchvision's v1 P5
FINEST_STRIDE = 8  # P2 is left out "for computational reasons" (footnote 2)


class CoarseLevels(Module):
    """P6 and P7, each a 3x3 convolution with stride 2 (RetinaNet, footnote 2)."""

    def __init__(self, in_channels: int, channels: int, rng: np.random.Generator):
        self.p6 = conv(in_channels, channels, 3, rng, stride=2, draw=uniform_fan_in)
        self.p7 = conv(channels, channels, 3, rng, stride=2, draw=uniform_fan_in)

    def forward(self, coarsest: Tensor) -> list[Tensor]:
        """(N, C, H / 32, W / 32) -> P6 and P7, halved once and twice."""
        p6 = self.p6(coarsest)
        return [p6, self.p7(F.relu(p6))]


class RetinaFPN(FPN):
    """C3 .. C5 to P3 .. P7."""

    def __init__(
        self, in_channels: Sequence[int], channels: int, rng: np.random.Generator, source: str
    ):
        check_choice("coarse_levels_from", source, SOURCES)
        super().__init__(in_channels, channels, rng)
        self.from_body = source == "c5"
        start = in_channels[-1] if self.from_body else channels
        self.extra_blocks = CoarseLevels(start, channels, rng)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """C3 .. C5 -> P3 .. P7 with equal channels."""
        pyramid = self.top_down(features)
        return [*pyramid, *self.extra_blocks(features[-1] if self.from_body else pyramid[-1])]


class RetinaBackbone(Backbone):
    """A body, and the pyramid on its maps of stride 8 and more."""

    def __init__(self, body: Body, channels: int, rng: np.random.Generator, source: str = "p5"):
        self.body = body
        self.first = sum(stride < FINEST_STRIDE for stride in body.strides)
        self.fpn = RetinaFPN(body.out_channels[self.first :], channels, rng, source)
        self.channels = channels

    @property
    def levels(self) -> int:
        """How many maps there are."""
        return len(self.fpn.layer_blocks) + 2

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> P3 .. P7, levels (N, C, H / 8, W / 8) .. (N, C, H / 128, W / 128)."""
        features = self.body(images)
        for i, level in enumerate(features):
            record(f"body/{i}", level)
        pyramid = self.fpn(features[self.first :])
        for i, level in enumerate(pyramid):
            record(f"fpn/{i}", level)
        return pyramid
