"""Layers with parameters, and how they are named, saved and initialized."""

from minimask.nn import init
from minimask.nn.fusion import conv_norm
from minimask.nn.layers import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    FrozenBatchNorm2d,
    GroupNorm,
    Identity,
    Linear,
    MaxPool2d,
    ReLU,
)
from minimask.nn.module import Module, ModuleList, Sequential

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "FrozenBatchNorm2d",
    "GroupNorm",
    "Identity",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "ReLU",
    "Sequential",
    "conv_norm",
    "init",
]
