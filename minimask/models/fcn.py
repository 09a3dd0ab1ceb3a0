"""Fully convolutional networks for semantic segmentation (Long, Shelhamer and Darrell, 2015).

        image    1/8        1/16       1/32
          |       |          |          |
          |      pool3      pool4      pool5 -> fc6 -> fc7 -> score_fr
          |       |          |                                  |  FCN-32s: x32
          |       |     score_pool4 ------------------(+)-- upscore2
          |       |                                    |  FCN-16s: x16
          |   score_pool3 --------(+)--------- upscore_pool4
          |                        |  FCN-8s: x8
          +------ upscore ---------+

A classifier's fully connected layers become convolutions, so that it says a class at every place
of its coarsest map; two finer maps add what that one is too coarse for (figure 3).

Letters: N images, C channels, H W of the padded input, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.autograd.hooks import record, stage
from minimask.models.initialization import conv
from minimask.models.semantic import PixelNetwork, drop
from minimask.nn import Conv2d, ConvTranspose2d

COARSEST = 32  # pixels: the stride of the map that is scored first
FINEST = (32, 16, 8)  # of the maps that may be scored last: FCN-32s, FCN-16s, FCN-8s


def bilinear_filter(factor: int) -> np.ndarray:
    """The filter with which a transposed convolution of that stride interpolates linearly.

    Args:
        factor: how many times larger the image becomes; at least 2.

    Returns:
        (2 factor, 2 factor) float32: the tent 1 - |distance| / factor in both directions.
    """
    distance = np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
    return np.outer(1 - distance, 1 - distance).astype(np.float32)


def upscore(channels: int, factor: int, *, learned: bool) -> ConvTranspose2d:
    """Enlarge each of the score maps by itself, at first by linear interpolation (section 3.3).

    Args:
        channels: C.
        factor: how many times.
        learned: whether the filters change in training; the last ones do not (section 4.3).
    """
    layer = ConvTranspose2d(
        channels,
        channels,
        2 * factor,
        stride=factor,
        padding=factor // 2,
        bias=False,
        rng=np.random.default_rng(0),  # all of it is replaced
    )
    layer.weight.data[...] = 0
    layer.weight.data[range(channels), range(channels)] = bilinear_filter(factor)
    layer.weight.requires_grad = learned
    return layer


def score(in_channels: int, outputs: int, rng: np.random.Generator) -> Conv2d:
    """A score of each class at each place of a map; 0 at first (section 4.3)."""
    layer = conv(in_channels, outputs, 1, rng)
    layer.weight.data[...] = 0
    return layer


class FCN(PixelNetwork):
    """FCN-32s, FCN-16s or FCN-8s on any body that has maps of these strides."""

    stride = COARSEST

    def __init__(
        self,
        body: Any,
        outputs: int,
        rng: np.random.Generator,
        *,
        finest: int = 8,
        head_channels: Sequence[int] = (4096, 4096),
        head_kernel: int = 7,
        dropout: float = 0.5,
        pooled: bool = False,
    ):
        """Put the scores on a body.

        Args:
            body: images to maps; see `minimask.models.bodies`.
            outputs: K + 1.
            rng: draws fc6 and fc7.
            finest: the stride of the finest map that is scored: 32, 16 or 8.
            head_channels: of fc6 and fc7; none: the coarsest map is scored as it is.
            head_kernel: of fc6, in cells of the coarsest map; fc7 has 1.
            dropout: share of the outputs of fc6 and fc7 that training leaves out.
            pooled: score the maps of half the stride after max pooling, as VGG has it, whose maps
                come before its pooling: pool4 is conv4_3 pooled, pool3 is conv3_3 pooled.

        Raises:
            ValueError: the body has no map of a stride that is needed.
        """
        self.pooled = pooled
        channels = dict(zip(body.strides, body.out_channels, strict=True))
        if pooled:
            channels |= {s: channels[s // 2] for s in (8, 16) if s // 2 in channels}
        for needed in FINEST[: FINEST.index(finest) + 1]:
            if needed not in channels:
                strides = ", ".join(map(str, channels))
                raise ValueError(
                    f"body: FCN-{finest}s needs a map of stride {needed}, not in {strides}"
                )
        self.body = body
        self.finest, self.dropout = finest, dropout
        last, kernel = channels[COARSEST], head_kernel
        self.head = []
        for width in head_channels:
            self.head.append(conv(last, width, kernel, rng))
            last, kernel = width, 1
        self.score_fr = score(last, outputs, rng)
        self.upscore2 = self.score_pool4 = self.upscore_pool4 = self.score_pool3 = None
        if finest <= 16:
            self.upscore2 = upscore(outputs, 2, learned=True)
            self.score_pool4 = score(channels[16], outputs, rng)
        if finest <= 8:
            self.upscore_pool4 = upscore(outputs, 2, learned=True)
            self.score_pool3 = score(channels[8], outputs, rng)
        self.upscore = upscore(outputs, finest, learned=False)

    def forward(self, images: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """(N, 3, H, W) -> logits (N, K + 1, H, W); H and W multiples of 32."""
        maps = self._maps(images)
        with stage("scores"):
            x = maps[COARSEST]
            for layer in self.head:
                x = drop(layer(x, relu=True), self.dropout, rng)
            scores: Tensor = self.score_fr(x)
            record("score/32", scores)
            for stride, enlarge, finer in (
                (16, self.upscore2, self.score_pool4),
                (8, self.upscore_pool4, self.score_pool3),
            ):
                if enlarge is None or finer is None:
                    break
                skip = finer(maps[stride])
                scores = enlarge(scores) + skip
                record(f"score/{stride}", skip)
                record(f"fused/{stride}", scores)
            full: Tensor = self.upscore(scores)
            return full

    def _maps(self, images: Tensor) -> dict[int, Tensor]:
        """The body's maps by their stride."""
        with stage("backbone"):
            maps = self.body(images)
        for i, level in enumerate(maps):
            record(f"body/{i}", level)
        found = dict(zip(self.body.strides, maps, strict=True))
        if self.pooled:
            halves = [s for s in (8, 16) if s // 2 in found and s >= self.finest]
            found |= {s: F.max_pool2d(found[s // 2], 2) for s in halves}
        return found
