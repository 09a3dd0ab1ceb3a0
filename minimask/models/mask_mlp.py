"""Fully connected layers in place of the mask head's convolutions (Mask R-CNN, table 2e).

They can only predict a mask as a vector, without its layout.  Letters: R regions, C channels, K
mask channels, M = 28 side of a predicted mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.models.initialization import linear, tiny_normal
from minimask.nn import Module


class MaskMLP(Module):
    """Fully connected layers on the features of a region."""

    def __init__(self, in_features: int, widths: Sequence[int], rng: np.random.Generator):
        self.layers = [
            linear(before, after, rng) for before, after in pairwise([in_features, *widths])
        ]

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C, 14, 14) -> (R, width)."""
        x = ops.reshape(pooled, (pooled.shape[0], -1))
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


class MaskMLPPredictor(Module):
    """Every pixel of every mask is an output of its own."""

    def __init__(self, width: int, masks: int, size: int, rng: np.random.Generator):
        self.mask_logits = linear(width, masks * size**2, rng)
        self.mask_logits.weight.data[...] = tiny_normal(self.mask_logits.weight.shape, rng)
        self.masks, self.size = masks, size

    def forward(self, features: Tensor) -> Tensor:
        """(R, width) -> logits (R, K, M, M)."""
        return ops.reshape(self.mask_logits(features), (-1, self.masks, self.size, self.size))
