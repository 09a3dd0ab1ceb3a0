"""What MobileNetV3 and EfficientNet share: inverted residuals with squeeze and excitation.

A 1x1 convolution widens, a depthwise one looks at each channel's surroundings, a gate weighs the
channels, and a 1x1 convolution without activation narrows again (MobileNetV2, figure 3d;
MobileNetV3, figure 4).  Parameter names are torchvision's.

Letters: N images, C channels, H W height and width of a map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.models.bodies.resnet import make_norm
from minimask.models.initialization import conv
from minimask.nn import Conv2d, Module, Sequential, conv_norm

ACTIVATIONS: dict[str, Callable[[Any], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "hard_swish": F.hard_swish,
    "sigmoid": F.sigmoid,
    "hard_sigmoid": F.hard_sigmoid,
}


def rounded(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least one, but never less than nine tenths.

    MobileNetV2's code, after which all networks of the family count.
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels else nearest + divisor


@dataclass(frozen=True)
class Norms:
    """The normalization after every convolution of a body."""

    kind: str
    eps: float

    def of(self, channels: int) -> Module:
        """A new one."""
        return make_norm(self.kind, channels, self.eps)


class ConvNorm(Sequential):
    """A convolution that keeps the size at stride 1, its norm, and an activation or none."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        rng: np.random.Generator,
        *,
        norms: Norms,
        activation: str | None,
        **options: Any,  # stride, dilation, groups
    ):
        convolution = conv(in_channels, out_channels, kernel_size, rng, bias=False, **options)
        super().__init__(convolution, norms.of(out_channels))
        self.activation = activation

    def forward(self, x: Tensor, **after: Any) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H / stride, W / stride); `residual` is added."""
        convolution, norm = self
        assert isinstance(convolution, Conv2d)
        if self.activation in (None, "relu"):  # in one pass
            return conv_norm(convolution, norm, x, relu=self.activation == "relu", **after)
        assert self.activation is not None
        return ACTIVATIONS[self.activation](conv_norm(convolution, norm, x, **after))


class SqueezeExcitation(Module):
    """Every channel times a number in 0..1 that hangs on the means of all channels.

    Squeeze-and-Excitation Networks (Hu et al. 2017), section 3.
    """

    def __init__(
        self, channels: int, squeezed: int, rng: np.random.Generator, *, activation: str, gate: str
    ):
        self.fc1 = conv(channels, squeezed, 1, rng)
        self.fc2 = conv(squeezed, channels, 1, rng)
        self.activation, self.gate = activation, gate

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        means = x.mean(axis=(2, 3), keepdims=True)
        weights = self.fc2(ACTIVATIONS[self.activation](self.fc1(means)))
        return x * ACTIVATIONS[self.gate](weights)


class InvertedResidual(Module):
    """Wide inside, narrow at both ends, where the shortcut is if the ends are alike.

    Args:
        in_channels: C of the input.
        expanded: channels inside; if no more than the input's, nothing widens.
        out_channels: of the output.
        kernel_size: of the depthwise convolution.
        rng: of the weights.
        stride: of the depthwise convolution.
        dilation: of the depthwise convolution; a dilated one has stride 1.
        squeezed: channels inside the gate; None: no gate.
        activation: inside.
        gate_activations: the two of the gate.
        norms: after every convolution.
    """

    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        kernel_size: int,
        rng: np.random.Generator,
        *,
        stride: int,
        dilation: int = 1,
        squeezed: int | None,
        activation: str,
        gate_activations: tuple[str, str],
        norms: Norms,
    ):
        self.has_shortcut = stride == 1 and in_channels == out_channels
        how: dict[str, Any] = {"norms": norms, "activation": activation}
        parts: list[Module] = []
        if expanded != in_channels:
            parts.append(ConvNorm(in_channels, expanded, 1, rng, **how))
        stride = 1 if dilation > 1 else stride
        look: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": expanded}
        parts.append(ConvNorm(expanded, expanded, kernel_size, rng, **look, **how))
        if squeezed is not None:
            first, gate = gate_activations
            gated = SqueezeExcitation(expanded, squeezed, rng, activation=first, gate=gate)
            parts.append(gated)
        parts.append(ConvNorm(expanded, out_channels, 1, rng, norms=norms, activation=None))
        self.block = Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)."""
        y: Tensor = self.block(x, residual=x if self.has_shortcut else None)
        return y
