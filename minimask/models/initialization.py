"""The random numbers networks start from, as torchvision's models draw them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minimask.nn import Conv2d, ConvTranspose2d, Linear, init

Draw = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


def fan_out_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Keeps the size of gradients through relu (He et al. 2015): residual networks, mask head."""
    return init.kaiming_normal(shape, rng, mode="fan_out")


def uniform_fan_in(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Keeps the size of activations without relu: the feature pyramid."""
    return init.kaiming_uniform(shape, rng, a=1.0)


def small_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Nearly zero, so that the first outputs say "I do not know": the region proposal network."""
    return init.normal(shape, rng, std=0.01)


def tiny_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Closer to zero still: the mask logits, as in the paper's own code."""
    return init.normal(shape, rng, std=0.001)


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    rng: np.random.Generator,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
    draw: Draw = fan_out_normal,
) -> Conv2d:
    """A convolution that keeps the size at stride 1; its bias, if any, starts at 0."""
    layer = Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2 * dilation,
        dilation=dilation,
        groups=groups,
        bias=bias,
        rng=rng,
    )
    layer.weight.data[...] = draw(layer.weight.shape, rng)
    if layer.bias is not None:
        layer.bias.data[...] = 0
    return layer


def conv_transpose(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    rng: np.random.Generator,
    *,
    stride: int,
    padding: int = 0,
) -> ConvTranspose2d:
    """A transposed convolution for a relu after it; its bias starts at 0."""
    layer = ConvTranspose2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=padding, rng=rng
    )
    layer.weight.data[...] = fan_out_normal(layer.weight.shape, rng)
    if layer.bias is not None:
        layer.bias.data[...] = 0
    return layer


def linear(in_features: int, out_features: int, rng: np.random.Generator) -> Linear:
    """A fully connected layer; weight and bias uniform within 1 / sqrt(in_features)."""
    return Linear(in_features, out_features, rng=rng)
