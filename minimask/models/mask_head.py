"""The mask head: which part of its box does the object fill (Mask R-CNN, section 3)?

Letters: R RoIs, C channels, K mask channels, M = 28 side of a predicted mask, G ground-truth
objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor, ops, zero_like
from minimask.autograd.arrays import Array, array_module, sigmoid
from minimask.autograd.hooks import record, stage
from minimask.conventions import check_choice
from minimask.kernels.roi_align import roi_align
from minimask.models.box_head import C4BoxHead, SampledRoIs, background_class
from minimask.models.initialization import conv, conv_transpose, linear, tiny_normal
from minimask.nn import Module, Sequential
from minimask.system.device import download, upload

POOLED_SIZE = 14  # Mask R-CNN, figure 4 right
OUTPUTS = ("sigmoid", "softmax", "agnostic")


class ConvReLU(Sequential):
    """A convolution, and ReLU in the same pass; parameters 0.weight and 0.bias."""

    def forward(self, x: Tensor, **after: Any) -> Tensor:
        """(R, C, H, W) -> (R, C_out, H, W)."""
        return super().forward(x, relu=True, **after)


class MaskHead(Sequential):
    """3x3 convolutions that keep the 14 x 14 layout (Mask R-CNN, figure 4 right)."""

    def __init__(self, in_channels: int, channels: Sequence[int], rng: np.random.Generator):
        sizes = [in_channels, *channels]
        super().__init__(
            *(ConvReLU(conv(before, after, 3, rng)) for before, after in pairwise(sizes))
        )


class MaskPredictor(Module):
    """Twice the resolution, then one mask per class: classes do not compete."""

    def __init__(self, in_channels: int, channels: int, masks: int, rng: np.random.Generator):
        self.conv5_mask = conv_transpose(in_channels, channels, 2, rng, stride=2)
        self.mask_fcn_logits = conv(channels, masks, 1, rng, draw=tiny_normal)

    def forward(self, features: Tensor) -> Tensor:
        """(R, C, 14, 14) -> logits (R, K, 28, 28)."""
        return self.mask_fcn_logits(self.conv5_mask(features, relu=True))


class MaskMLP(Module):
    """Fully connected layers in place of the convolutions (Mask R-CNN, table 2e).

    They can only predict a mask as a vector, without its layout.
    """

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


class C4MaskHead(Module):
    """The box head's stage with the same weights; its 7 x 7 features keep their layout."""

    def __init__(self, box_head: C4BoxHead):
        self._shared = box_head  # private: its parameters are the box head's

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C4 channels, 14, 14) -> (R, C5 channels, 7, 7)."""
        return self._shared.res5(pooled)


def mask_channels(num_classes: int, output: str, background: str) -> int:
    """How many masks the predictor draws of an RoI (Mask R-CNN, section 4.1 and table 2b).

    A mask per class ("sigmoid"); where classes compete ("softmax"), background is one of them; or
    one for all classes ("agnostic").
    """
    check_choice("mask_output", output, OUTPUTS)
    if output == "agnostic":
        return 1
    with_background = background == "first" or output == "softmax"
    return num_classes if with_background else num_classes - 1


def mask_targets(
    masks: Array,
    boxes: np.ndarray,
    matched: np.ndarray,
    size: int,
    *,
    target: str = "soft",
    aligned: bool = False,
) -> Array:
    """What each RoI's mask should be: its object's mask, cut out by the RoI.

    Args:
        masks: (G, H, W) uint8, the ground truth in the network's input, where the network is.
        boxes: (R, 4) the RoIs.
        matched: (R,) the object each RoI stands for.
        size: M.
        target: "soft": the share of each cell that is object; "hard": 1 where it is at least half.
        aligned: whether RoIAlign, which cuts them out, is shifted by half a cell.

    Returns:
        (R, M, M) float32, 0 .. 1.
    """
    if len(boxes) == 0:
        return array_module(masks).zeros((0, size, size), np.float32)
    rois = np.concatenate([matched[:, None].astype(np.float32), boxes.astype(np.float32)], axis=1)
    share = roi_align(
        masks[:, None],
        upload(rois, masks, "RoIs"),
        size,
        spatial_scale=1.0,
        sampling_ratio=0,
        aligned=aligned,
    )[:, 0]
    return share if target == "soft" else (share >= 0.5).astype(np.float32)


def subsample_positives(
    sampled: SampledRoIs, limit: int | None, rng: np.random.Generator
) -> SampledRoIs:
    """The RoIs with as many positives as masks are learned on, drawn by chance; None: all.

    The mask branch costs more than all else, and learns as well from a part of the positives.
    """
    positives = np.flatnonzero(sampled.positive)
    if limit is None or len(positives) <= limit:
        return sampled
    drawn = np.zeros_like(sampled.positive)
    drawn[rng.choice(positives, limit, replace=False)] = True
    return replace(sampled, positive=drawn)


@stage("mask loss")
def mask_loss(
    logits: Tensor,
    sampled: Sequence[SampledRoIs],
    gt_masks: Sequence[np.ndarray],
    *,
    output: str = "sigmoid",
    background: str = "first",
    target: str = "soft",
    aligned: bool = False,
) -> Tensor:
    """How wrong the ground-truth class's mask is in the RoIs that stand for an object.

    Args:
        logits: (R, K, M, M) for the positive RoIs of all images after each other.
        sampled: per image, all of its RoIs.
        gt_masks: per image (G, H, W) uint8 in the network's input.
        output: what the logits are, see `mask_channels`.
        background: which of the network's classes is background, "first" or "last".
        target: as for `mask_targets`.
        aligned: likewise.

    Returns:
        A scalar: mean binary cross-entropy, near ln 2 before training; 0 without RoIs.  Where
        classes compete, mean cross-entropy between them and background, near ln K.
    """
    if logits.shape[0] == 0:
        return zero_like(logits)
    like, size = logits.data, logits.shape[-1]
    targets = array_module(like).concatenate(
        [
            mask_targets(
                upload(masks, like, "gt masks"),
                s.boxes[s.positive],
                s.matched[s.positive],
                size,
                target=target,
                aligned=aligned,
            )
            for masks, s in zip(gt_masks, sampled, strict=True)
            if s.positive.any()
        ]
    )
    record("mask/targets", targets)
    labels = np.concatenate([s.labels[s.positive] for s in sampled])
    if output == "agnostic":
        return F.binary_cross_entropy_with_logits(logits[:, 0], targets)
    own_class = array_module(like).arange(len(labels)), upload(labels, like)
    if output == "sigmoid":
        return F.binary_cross_entropy_with_logits(logits[own_class], targets)
    log_probs = F.log_softmax(logits, axis=1)
    outside = log_probs[:, background_class(logits.shape[1], background)]
    return -(log_probs[own_class] * targets + outside * (1 - targets)).mean()


@stage("mask results")
def mask_probabilities(logits: Array, labels: np.ndarray, output: str = "sigmoid") -> np.ndarray:
    """The predicted class's mask of each RoI, (R, K, M, M), (R,) -> (R, M, M), on the CPU.

    Where classes compete it is the class's share against its strongest rival alone, background
    among them: the mask, which begins at one half, then is where no other class is likelier.

    Args:
        logits: (R, K, M, M) from the predictor.
        labels: (R,) as the network counts them.
        output: what the logits are, see `mask_channels`.
    """
    if output == "agnostic":
        return download(sigmoid(logits[:, 0]), "masks")
    own_class = array_module(logits).arange(len(labels)), upload(labels, logits)
    if output == "sigmoid":
        return download(sigmoid(logits[own_class]), "masks")
    # above one half where the class is the likeliest, as one reads a map of competing classes
    rivals = logits.copy()
    rivals[own_class] = -np.inf
    return download(sigmoid(logits[own_class] - rivals.max(axis=1)), "masks")
