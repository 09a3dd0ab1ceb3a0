"""MobileNetV3 (Howard et al. 2019): inverted residuals found by search, for small processors.

Layers have the numbers they have in torchvision's `features`; maps are those that torchvision's
detectors take, of every section the first layer, which is the one that halves the size.

Letters: N images, C channels, H W height and width of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from minimask.models.bodies.inverted_residual import ConvNorm, InvertedResidual, Norms, rounded
from minimask.models.bodies.stacked import Layer, StackedBody

STEM = 16  # channels of the first convolution
WIDER = 6  # the last 1x1 convolution has so many times the channels before it


class Row(NamedTuple):
    """One row of the paper's tables 1 and 2."""

    kernel: int
    expanded: int  # "exp size"
    out: int
    gate: bool  # "SE"
    activation: str  # "NL"
    stride: int


RE, HS = "relu", "hard_swish"
LARGE = (  # table 1
    Row(3, 16, 16, False, RE, 1),
    Row(3, 64, 24, False, RE, 2),
    Row(3, 72, 24, False, RE, 1),
    Row(5, 72, 40, True, RE, 2),
    Row(5, 120, 40, True, RE, 1),
    Row(5, 120, 40, True, RE, 1),
    Row(3, 240, 80, False, HS, 2),
    Row(3, 200, 80, False, HS, 1),
    Row(3, 184, 80, False, HS, 1),
    Row(3, 184, 80, False, HS, 1),
    Row(3, 480, 112, True, HS, 1),
    Row(3, 672, 112, True, HS, 1),
    Row(5, 672, 160, True, HS, 2),
    Row(5, 960, 160, True, HS, 1),
    Row(5, 960, 160, True, HS, 1),
)
SMALL = (  # table 2
    Row(3, 16, 16, True, RE, 2),
    Row(3, 72, 24, False, RE, 2),
    Row(3, 88, 24, False, RE, 1),
    Row(5, 96, 40, True, HS, 2),
    Row(5, 240, 40, True, HS, 1),
    Row(5, 240, 40, True, HS, 1),
    Row(5, 120, 48, True, HS, 1),
    Row(5, 144, 48, True, HS, 1),
    Row(5, 288, 96, True, HS, 2),
    Row(5, 576, 96, True, HS, 1),
    Row(5, 576, 96, True, HS, 1),
)


class MobileNetV3(StackedBody):
    """A convolution, the table's blocks, and a 1x1 convolution that widens."""

    paper = "MobileNetV3, tables 1 and 2"
    formula = "y = narrow(gate · depthwise(widen(x))) + x, where the size stays"

    def __init__(
        self,
        rows: Sequence[Row],
        rng: np.random.Generator,
        *,
        norm: str = "frozen_batch",
        norm_eps: float = 1e-5,
        width: float = 1.0,
        dilated: bool = False,  # the last stage keeps stride 16
    ):
        norms = Norms(norm, norm_eps)
        channels = rounded(STEM * width)
        stem = ConvNorm(3, channels, 3, rng, stride=2, norms=norms, activation=HS)
        layers, starts, stride, dilation = [Layer(stem, channels, 2)], [0], 2, 1
        for row in rows:
            if row.stride == 2:
                starts.append(len(layers))
            if dilated and stride * row.stride == 32:
                dilation = 2
            elif dilation == 1:
                stride *= row.stride
            block = _block(row, channels, width, rng, dilation, norms)
            channels = rounded(row.out * width)
            layers.append(Layer(block, channels, stride))
        starts.append(len(layers))
        wide = WIDER * channels
        last = ConvNorm(channels, wide, 1, rng, norms=norms, activation=HS)
        super().__init__([*layers, Layer(last, wide, stride)], starts, [None, *starts[1:]])
        self.use([1, 2, 3, 5])


def _block(
    row: Row, channels: int, width: float, rng: np.random.Generator, dilation: int, norms: Norms
) -> InvertedResidual:
    """A row of the table, on so many channels."""
    expanded = rounded(row.expanded * width)
    return InvertedResidual(
        channels,
        expanded,
        rounded(row.out * width),
        row.kernel,
        rng,
        stride=row.stride,
        dilation=dilation,
        squeezed=rounded(expanded // 4) if row.gate else None,
        activation=row.activation,
        gate_activations=("relu", "hard_sigmoid"),
        norms=norms,
    )


def maker(rows: Sequence[Row]) -> Callable[..., MobileNetV3]:
    """What builds the network of a table."""

    def make(rng: np.random.Generator, **options: object) -> MobileNetV3:
        return MobileNetV3(rows, rng, **options)  # type: ignore[arg-type]

    return make
