"""U-Net (Ronneberger, Fischer and Brox, 2015), with convolutions that keep the size.

    image  64 64 ------------------------------------> 128 64 64 -> scores
             down 128 128 -------------------> 256 128 128 up
                  down 256 256 ------> 512 256 256 up
                       down 512 512 -> 1024 512 512 up
                            down 1024 1024 up

On the way down each halving doubles the channels; on the way up each doubling is joined with the
map of the same size from the way down (figure 1).  The paper's convolutions have no padding, so
that its maps are cut to fit and its output is smaller than its input; here they have, and nothing
is cut.  Its loss weighs the borders between touching cells; that is left out.

Letters: N images, C channels, H W of the padded input, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.autograd.hooks import record, stage
from minimask.models.bodies.resnet import make_norm
from minimask.models.initialization import conv, conv_transpose
from minimask.models.semantic import PixelNetwork, drop
from minimask.nn import Identity, Module, conv_norm

WIDTHS = (64, 128, 256, 512, 1024)


class DoubleConv(Module):
    """Two 3x3 convolutions, each with its norm, if any, and ReLU."""

    def __init__(
        self, in_channels: int, channels: int, rng: np.random.Generator, norm: str, eps: float
    ):
        bias = norm == "none"  # a norm has its own
        self.conv1 = conv(in_channels, channels, 3, rng, bias=bias)
        self.norm1 = _norm(norm, channels, eps)
        self.conv2 = conv(channels, channels, 3, rng, bias=bias)
        self.norm2 = _norm(norm, channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels, H, W)."""
        for layer, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            if isinstance(norm, Identity):
                x = layer(x, relu=True)
            else:
                x = conv_norm(layer, norm, x, relu=True)
        return x


def _norm(kind: str, channels: int, eps: float) -> Module:
    return Identity() if kind == "none" else make_norm(kind, channels, eps)


class UNet(PixelNetwork):
    """A contracting path, an expanding path, and a bridge between them at every size."""

    def __init__(
        self,
        outputs: int,
        rng: np.random.Generator,
        *,
        widths: Sequence[int] = WIDTHS,
        norm: str = "none",
        norm_eps: float = 1e-5,
        dropout: float = 0.5,
    ):
        """Make the layers.

        Args:
            outputs: K + 1.
            rng: draws the weights.
            widths: channels at each size, the finest first; each size is half the one before.
            norm: "none" as in the paper, "batch", "frozen_batch" or "group".
            norm_eps: keeps the norm's division finite.
            dropout: share of the coarsest map that training leaves out (section 3.1).
        """
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"widths: expected two numbers of channels or more, got {list(widths)}"
            )
        self.stride = 2 ** (len(widths) - 1)
        self.dropout = dropout
        self.down = [
            DoubleConv(before, after, rng, norm, norm_eps)
            for before, after in zip((3, *widths[:-1]), widths, strict=True)
        ]
        coarser, finer = widths[:0:-1], widths[-2::-1]
        self.enlarge = [
            conv_transpose(c, f, 2, rng, stride=2) for c, f in zip(coarser, finer, strict=True)
        ]
        self.up = [DoubleConv(2 * f, f, rng, norm, norm_eps) for f in finer]
        self.score = conv(widths[0], outputs, 1, rng)

    def forward(self, images: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """(N, 3, H, W) -> logits (N, K + 1, H, W); H and W multiples of `stride`."""
        x, skips = images, []
        with stage("contracting path"):
            for i, block in enumerate(self.down):
                x = block(x if i == 0 else F.max_pool2d(x, 2))
                skips.append(x)
                record(f"down/{i}", x)
            x = drop(x, self.dropout, rng)
        with stage("expanding path"):
            for i, (enlarge, block, skip) in enumerate(
                zip(self.enlarge, self.up, skips[-2::-1], strict=True)
            ):
                x = block(ops.concatenate([skip, enlarge(x)], axis=1))
                record(f"up/{i}", x)
            scores: Tensor = self.score(x)
            return scores
