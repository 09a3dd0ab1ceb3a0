"""The layer that pyramids and heads are made of: a convolution, a norm where asked for, ReLU."""

from __future__ import annotations

from typing import Any

import numpy as np

from minimask.autograd import Tensor
from minimask.models.bodies.resnet import make_norm
from minimask.models.initialization import Draw, conv, fan_out_normal
from minimask.nn import Conv2d, Module, Sequential, conv_norm


class ConvLayer(Sequential):
    """A convolution that keeps the size, a norm and ReLU in one pass; torchvision's names.

    Parameters are 0.weight and 0.bias; with a norm, whose shift makes the bias superfluous,
    0.weight and those of the norm under 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        rng: np.random.Generator,
        *,
        norm: str | None = None,  # "batch", "frozen_batch", "group"; None: none
        norm_eps: float = 1e-5,
        relu: bool = True,
        draw: Draw = fan_out_normal,
    ):
        bias = norm is None
        parts: list[Module] = [
            conv(in_channels, out_channels, kernel_size, rng, bias=bias, draw=draw)
        ]
        if norm is not None:
            parts.append(make_norm(norm, out_channels, norm_eps))
        super().__init__(*parts)
        self._relu = relu

    def forward(self, x: Tensor, **before_relu: Any) -> Tensor:
        """(N, C, H, W) -> (N, C_out, H, W); a `residual` of that shape is added before ReLU."""
        convolution, *norm = self
        assert isinstance(convolution, Conv2d)
        if norm:
            return conv_norm(convolution, norm[0], x, relu=self._relu, **before_relu)
        return convolution(x, relu=self._relu, **before_relu)
