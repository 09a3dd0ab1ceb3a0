"""Layers: convolutions, linear, norms.

Weights start as uniform numbers within 1 / sqrt(fan in) unless the network that holds the layer
draws others.  Parameter names and shapes are PyTorch's, so that its files fit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.autograd.arrays import array_module
from minimask.autograd.checkpoint import recomputing
from minimask.functional.convolution import Pair
from minimask.nn import budget, init
from minimask.nn.module import Module


def _parameter(array: np.ndarray) -> Tensor:
    return Tensor(np.asarray(array, np.float32), requires_grad=True)


def _pair(value: Pair) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)


def _options(**options: Any) -> str:
    """Only what differs from the default: padding 1 is worth a word, groups 1 is not."""
    usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    words = [f", {n} {v}" for n, v in options.items() if n != "bias" and v != usual[n]]
    return "".join(words) + ("" if options["bias"] else ", no bias")


class Linear(Module):
    """x W^T + b for rows x (..., in_features); weight (out_features, in_features)."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: np.random.Generator
    ) -> None:
        budget.take(out_features, in_features)
        bound = 1 / math.sqrt(max(in_features, 1))
        self.weight = _parameter(init.uniform((out_features, in_features), rng, bound))
        self.bias = _parameter(init.uniform((out_features,), rng, bound)) if bias else None

    def forward(self, x: Any) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return F.linear(x, self.weight, self.bias)

    def describe(self) -> str:
        """Features in and out."""
        return f"{self.weight.shape[1]} -> {self.weight.shape[0]}"


class Conv2d(Module):
    """Convolution; weight (out_channels, in_channels / groups, kh, kw)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        rng: np.random.Generator,
    ) -> None:
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups: {groups} divides not both {in_channels} input and {out_channels} output "
                "channels"
            )
        shape = (out_channels, in_channels // groups, *_pair(kernel_size))
        budget.take(*shape)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = _parameter(init.uniform(shape, rng, bound))
        self.bias = _parameter(init.uniform((out_channels,), rng, bound)) if bias else None
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Any, *, residual: Any = None, relu: bool = False) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H_out, W_out); then a sum and ReLU."""
        return F.conv2d(x, self.weight, self.bias, residual=residual, relu=relu, **self.geometry())

    def geometry(self) -> dict[str, Any]:
        """Stride, padding, dilation and groups, as `functional.conv2d` takes them."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def describe(self) -> str:
        """Channels, kernel and whatever differs from the default."""
        out_channels, in_channels, kh, kw = self.weight.shape
        return f"{in_channels * self.groups} -> {out_channels}, {kh}x{kw}" + _options(
            **self.geometry(),
            bias=self.bias is not None,
        )


class ConvTranspose2d(Module):
    """Transposed convolution; weight (in_channels, out_channels, kh, kw)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        bias: bool = True,
        rng: np.random.Generator,
    ) -> None:
        shape = (in_channels, out_channels, *_pair(kernel_size))
        budget.take(*shape)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = _parameter(init.uniform(shape, rng, bound))
        self.bias = _parameter(init.uniform((out_channels,), rng, bound)) if bias else None
        self.stride, self.padding = stride, padding

    def forward(self, x: Any, *, relu: bool = False) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, (H - 1) stride - 2 padding + kh, ...)."""
        return F.conv_transpose2d(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding, relu=relu
        )

    def describe(self) -> str:
        """Channels, kernel and whatever differs from the default."""
        in_channels, out_channels, kh, kw = self.weight.shape
        return f"{in_channels} -> {out_channels}, {kh}x{kw}" + _options(
            stride=self.stride, padding=self.padding, bias=self.bias is not None
        )


def _scale_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What a batch norm with given statistics does to every channel: scale x + shift, (C,) each."""
    var = norm.running_var
    scale = norm.weight * (1 / array_module(var).sqrt(var + var.dtype.type(norm.eps)))
    scale = scale if isinstance(scale, Tensor) else Tensor(scale)
    return scale, norm.bias - scale * norm.running_mean


class BatchNorm2d(Module):
    """Batch norm: the batch's statistics in training, collected ones in prediction.

    Args:
        channels: how many channels.
        eps: keeps the division finite.
        momentum: share of the newest batch in the collected statistics.
    """

    running_mean: np.ndarray
    running_var: np.ndarray
    num_batches_tracked: np.ndarray

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        budget.take(channels, 4)
        self.eps, self.momentum = eps, momentum
        self.fixed = False  # True: uses the collected statistics in training too
        self.weight = _parameter(np.ones(channels))
        self.bias = _parameter(np.zeros(channels))
        self.register_buffer("running_mean", np.zeros(channels, np.float32))
        self.register_buffer("running_var", np.ones(channels, np.float32))
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64))

    def forward(self, x: Any, *, residual: Any = None, relu: bool = False) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W); in training it also updates the collected statistics."""
        after = {"residual": residual, "relu": relu}
        if not self.measures:
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(x, self.weight, self.bias, mean, var, eps=self.eps, **after)
        y, mean, var = F.batch_norm_train(x, self.weight, self.bias, eps=self.eps, **after)
        if recomputing():  # this batch was counted the first time
            return y
        count = x.size // x.shape[1]
        var = var * var.dtype.type(count / (count - 1))  # what is collected estimates new images
        for running, batch in ((self.running_mean, mean), (self.running_var, var)):
            running *= running.dtype.type(1 - self.momentum)
            running += running.dtype.type(self.momentum) * batch
        self.num_batches_tracked += 1
        return y

    @property
    def measures(self) -> bool:
        """Whether the batch's own statistics are used, and collected."""
        return self.training and not self.fixed

    def scale_shift(self) -> tuple[Tensor, Tensor]:
        """The collected statistics as a scale and a shift of every channel, (C,) each."""
        return _scale_shift(self)

    def describe(self) -> str:
        """The number of channels."""
        return f"{self.weight.shape[0]}"


class FrozenBatchNorm2d(Module):
    """Batch norm of a pretrained network with nothing left to learn: all four arrays are buffers.

    Args:
        channels: how many channels.
        eps: keeps the division finite.
    """

    weight: np.ndarray
    bias: np.ndarray
    running_mean: np.ndarray
    running_var: np.ndarray

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        budget.take(channels, 4)
        self.eps = eps
        self.register_buffer("weight", np.ones(channels, np.float32))
        self.register_buffer("bias", np.zeros(channels, np.float32))
        self.register_buffer("running_mean", np.zeros(channels, np.float32))
        self.register_buffer("running_var", np.ones(channels, np.float32))

    def forward(self, x: Any, *, residual: Any = None, relu: bool = False) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        after = {"residual": residual, "relu": relu}
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, self.weight, self.bias, mean, var, eps=self.eps, **after)

    def scale_shift(self) -> tuple[Tensor, Tensor]:
        """The statistics as a scale and a shift of every channel, (C,) each."""
        return _scale_shift(self)

    def describe(self) -> str:
        """The number of channels."""
        return f"{self.weight.shape[0]}"


class GroupNorm(Module):
    """Group norm: statistics of every image alone, the same in training and prediction."""

    def __init__(self, num_groups: int, channels: int, *, eps: float = 1e-5) -> None:
        budget.take(channels, 2)
        self.num_groups, self.eps = num_groups, eps
        self.weight = _parameter(np.ones(channels))
        self.bias = _parameter(np.zeros(channels))

    def forward(self, x: Any, *, residual: Any = None, relu: bool = False) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y = F.group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)
        if relu:
            return F.relu(y, residual)
        return y if residual is None else y + residual

    def describe(self) -> str:
        """Groups and channels."""
        return f"{self.num_groups} groups of {self.weight.shape[0]}"


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        """Any shape -> the same shape."""
        return F.relu(x)


class MaxPool2d(Module):
    """The largest value of every window; windows touch each other unless a stride is given."""

    def __init__(self, kernel_size: Pair, *, stride: Pair | None = None, padding: Pair = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Any) -> Tensor:
        """(N, C, H, W) -> (N, C, H / stride, W / stride), rounded down."""
        return F.max_pool2d(x, self.kernel_size, stride=self.stride, padding=self.padding)


class Identity(Module):
    """Nothing: stands where another network has a layer."""

    def forward(self, x: Any) -> Any:
        """Return x."""
        return x
