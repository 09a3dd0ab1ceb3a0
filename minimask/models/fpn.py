"""The feature pyramid (Lin et al. 2017): strong features at every scale.

Letters: N images, C channels of the pyramid, H W height and width of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.autograd.hooks import record
from minimask.models.backbone import Backbone
from minimask.models.bodies import Body
from minimask.models.bodies.stacked import Layer
from minimask.models.conv_layer import ConvLayer
from minimask.models.initialization import conv, uniform_fan_in
from minimask.nn import Module


class FPN(Module):
    """From the top down, each level adds what the coarser one knows (FPN, figure 3)."""

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        rng: np.random.Generator,
        **norm: Any,  # norm and norm_eps of a `ConvLayer`
    ):
        how = {"relu": False, "draw": uniform_fan_in, **norm}
        self.inner_blocks = [ConvLayer(c, channels, 1, rng, **how) for c in in_channels]
        self.layer_blocks = [ConvLayer(channels, channels, 3, rng, **how) for _ in in_channels]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """C2 .. C5 -> P2 .. P5 with equal channels, and P6, which is every other cell of P5."""
        pyramid = self.top_down(features)
        return [*pyramid, F.max_pool2d(pyramid[-1], 1, stride=2, padding=0)]

    def top_down(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The same without P6."""
        merged = self.inner_blocks[-1](features[-1])
        pyramid = [self.layer_blocks[-1](merged)]
        steps = zip(features, self.inner_blocks, self.layer_blocks, strict=True)
        for c, lateral, block in list(steps)[-2::-1]:
            above = F.resize(merged, c.shape[2:], mode="nearest")
            merged = lateral(c, residual=above)
            pyramid.insert(0, block(merged))
        return pyramid


class FPNBackbone(Backbone):
    """A body and its pyramid."""

    def __init__(self, body: Body, channels: int, rng: np.random.Generator, **norm: Any):
        self.body = body
        self.fpn = FPN(body.out_channels, channels, rng, **norm)
        self.channels = channels

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> P2 .. P6, five levels (N, C, H / 4, W / 4) .. (N, C, H / 64, W / 64)."""
        features = self.body(images)
        for i, level in enumerate(features):
            record(f"body/{i}", level)
        pyramid = self.fpn(features)
        for i, level in enumerate(pyramid[:-1]):
            record(f"fpn/{i}", level)
        record("fpn/pool", pyramid[-1])
        return pyramid


class SingleScaleBackbone(Backbone):
    """A body whose last map alone is used, as before the pyramid (Faster R-CNN).

    C4, stride 16, is used as it is, and so is dilated C5; C5, stride 32, with `channels` given,
    goes through a 1x1 convolution to that many, so that heads made for a pyramid fit.

    Attributes:
        rest: the layers that were cut off the body after its map; they may serve as a head.
    """

    def __init__(
        self,
        body: Body,
        rng: np.random.Generator,
        channels: int | None = None,
        rest: Sequence[Layer] = (),
    ):
        self.body, self.rest = body, list(rest)
        last = body.out_channels[-1]
        self.reduce = None
        if channels is not None:
            self.reduce = conv(last, channels, 1, rng, draw=uniform_fan_in)
        self.channels = last if channels is None else channels

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> one level (N, C, H / 16, W / 16) or (N, C, H / 32, W / 32)."""
        features = self.body(images)
        for i, level in enumerate(features):
            record(f"body/{i}", level)
        last = features[-1]
        level = last if self.reduce is None else self.reduce(last)
        record("neck", level)
        return [level]
