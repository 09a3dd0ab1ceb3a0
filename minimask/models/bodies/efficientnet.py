"""EfficientNet (Tan and Le 2019): one small network, and larger ones by one rule.

B0 was found by search; B1 to B7 have more layers and channels, both times a factor that follows
from one number ("compound scaling", section 3.3).  The network's ninth stage, a 1x1 convolution to
1280 channels, belongs to its classifier and is not here, as in EfficientDet.  Nor is stochastic
depth, which training a classifier of a thousand classes needs to last for 350 epochs: detectors
are fine-tuned for few, and every image shall see the whole network.

Layers have the numbers they have in torchvision's `features`.

Letters: N images, C channels, H W height and width of a map.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minimask.models.bodies.inverted_residual import ConvNorm, InvertedResidual, Norms, rounded
from minimask.models.bodies.stacked import Layer, StackedBody
from minimask.nn import Sequential


class Row(NamedTuple):
    """One row of the paper's table 1."""

    expansion: int  # "MBConv1", "MBConv6"
    kernel: int
    stride: int  # of the first block
    channels: int
    blocks: int  # "layers"


STEM = 32  # channels of stage 1, a 3x3 convolution of stride 2
STAGES = (  # stages 2 to 8
    Row(1, 3, 1, 16, 1),
    Row(6, 3, 2, 24, 2),
    Row(6, 5, 2, 40, 2),
    Row(6, 3, 2, 80, 3),
    Row(6, 5, 1, 112, 3),
    Row(6, 5, 2, 192, 4),
    Row(6, 3, 1, 320, 1),
)
SCALES: dict[str, tuple[float, float]] = {  # factors of channels and of blocks
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}
SQUEEZE = 4  # the gate has a quarter of the channels of the block's input


class EfficientNet(StackedBody):
    """A convolution and seven stages of MBConv blocks; of each size the last map: C2 .. C5."""

    paper = "EfficientNet, table 1"
    formula = "y = narrow(gate · depthwise(widen(x))) + x, where the size stays"

    def __init__(
        self,
        scale: str,  # "b0" .. "b7"
        rng: np.random.Generator,
        *,
        norm: str = "frozen_batch",
        norm_eps: float = 1e-5,
        width: float = 1.0,  # a factor of all channels besides that of the scale
        dilated: bool = False,  # the last two stages keep stride 16
    ):
        wide, deep = SCALES[scale]
        wide, norms = wide * width, Norms(norm, norm_eps)
        channels = rounded(STEM * wide)
        stem = ConvNorm(3, channels, 3, rng, stride=2, norms=norms, activation="silu")
        layers, starts, stride, dilation = [Layer(stem, channels, 2)], [0], 2, 1
        for row in STAGES:
            if row.stride == 2:
                starts.append(len(layers))
            if dilated and stride * row.stride == 32:
                dilation = 2
            elif dilation == 1:
                stride *= row.stride
            blocks = []
            for i in range(math.ceil(row.blocks * deep)):
                out = rounded(row.channels * wide)
                first = row.stride if i == 0 else 1
                blocks.append(_mbconv(row, channels, out, first, rng, dilation, norms))
                channels = out
            layers.append(Layer(Sequential(*blocks), channels, stride))
        ends = [i - 1 for i in [*starts[2:], len(layers)]]
        super().__init__(layers, starts, [None, *ends])


def _mbconv(
    row: Row,
    channels: int,
    out_channels: int,
    stride: int,
    rng: np.random.Generator,
    dilation: int,
    norms: Norms,
) -> InvertedResidual:
    return InvertedResidual(
        channels,
        rounded(channels * row.expansion),
        out_channels,
        row.kernel,
        rng,
        stride=stride,
        dilation=dilation,
        squeezed=max(1, channels // SQUEEZE),
        activation="silu",
        gate_activations=("silu", "sigmoid"),
        norms=norms,
    )


def maker(scale: str) -> Callable[..., EfficientNet]:
    """What builds the network of this scale."""

    def make(rng: np.random.Generator, **options: object) -> EfficientNet:
        return EfficientNet(scale, rng, **options)  # type: ignore[arg-type]

    return make
