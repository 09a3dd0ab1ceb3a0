"""VGG (Simonyan and Zisserman 2014): 3x3 convolutions and pooling, nothing else.

The body of the first Faster R-CNN, which takes conv5_3, stride 16, as its only map.  Layers have
the numbers they have in torchvision's `features`, where ReLU and norms count too.

Letters: N images, C channels, H W height and width of a map.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minimask.autograd import Tensor
from minimask.models.bodies.inverted_residual import rounded
from minimask.models.bodies.resnet import make_norm
from minimask.models.bodies.stacked import Layer, StackedBody
from minimask.models.initialization import conv
from minimask.nn import Conv2d, MaxPool2d, Module, ReLU, conv_norm

# Table 1, columns A, B, D and E: 3x3 convolutions of every stage; each stage ends in pooling
DEPTHS: dict[int, tuple[int, int, int, int, int]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
CHANNELS = (64, 128, 256, 512, 512)


class VGG(StackedBody):
    """Five stages of convolutions, each followed by pooling; maps are conv3 .. conv5 and pool5."""

    paper = "VGG, table 1"
    formula = "y = relu(conv3×3(x))"

    def __init__(
        self,
        depth: int,
        rng: np.random.Generator,
        *,
        norm: str | None = None,  # after every convolution; None: none
        norm_eps: float = 1e-5,
        width: float = 1.0,
    ):
        layers: list[Layer] = []
        last: list[int] = []  # of every stage before its pooling
        in_channels, stride = 3, 1
        for count, channels in zip(DEPTHS[depth], CHANNELS, strict=True):
            channels = rounded(channels * width)
            for _ in range(count):
                parts: list[Module] = [conv(in_channels, channels, 3, rng)]  # also before a norm
                if norm is not None:
                    parts.append(make_norm(norm, channels, norm_eps))
                layers += [Layer(part, channels, stride) for part in [*parts, ReLU()]]
                in_channels = channels
            last.append(len(layers) - 1)
            stride *= 2
            layers.append(Layer(MaxPool2d(2), channels, stride))
        # the pooling that halves belongs to the stage it begins; pool5 is a map, not a stage
        starts = [0, *(i + 1 for i in last[:-1]), len(layers) - 1]
        super().__init__(layers, starts, [None, None, *last[2:], len(layers) - 1])

    def step(self, i: int, x: Tensor) -> Tensor:
        """(N, C, H, W) -> a convolution with what follows it, in one pass; or pooling."""
        layer = self._layer(i)
        if isinstance(layer, Conv2d):
            after = self._layer(i + 1)
            if isinstance(after, ReLU):
                result: Tensor = layer(x, relu=True)
                return result
            return conv_norm(layer, after, x, relu=True)
        return super().step(i, x) if isinstance(layer, MaxPool2d) else x

    def sections(self) -> list[list[Module]]:
        """The five stages of convolutions; pool5 has nothing to learn."""
        return [s for s in super().sections() if any(isinstance(m, Conv2d) for m in s)]


def maker(depth: int, with_norms: bool) -> Callable[..., VGG]:
    """What builds VGG of this depth, with norms or without."""

    def make(rng: np.random.Generator, *, norm: str, norm_eps: float, width: float) -> VGG:
        if not with_norms and norm != "frozen_batch":  # which stands for: none asked for
            raise ValueError(f'norm: vgg{depth} has no norms, "vgg{depth}_bn" does; got {norm!r}')
        kind = norm if with_norms else None
        return VGG(depth, rng, norm=kind, norm_eps=norm_eps, width=width)

    return make
