"""The mask head: which part of its box does the object fill (Mask R-CNN, section 3)?

Letters: R regions, C channels, K mask channels, M = 28 side of a predicted mask, G true objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor, zero_like
from minimask.autograd.arrays import Array, array_module
from minimask.autograd.hooks import stage
from minimask.conventions import Convention
from minimask.kernels.roi_align import roi_align
from minimask.models.box_head import BoxBranch, Regions, background_class
from minimask.models.initialization import conv, conv_transpose, tiny_normal
from minimask.models.proposals import sigmoid
from minimask.nn import Module, Sequential
from minimask.system.device import download, upload

POOLED_SIZE = 14  # Mask R-CNN, figure 4 right


class ConvReLU(Sequential):
    """A convolution, and the positive part in the same pass; parameters 0.weight and 0.bias."""

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


class MaskBranch(BoxBranch):
    """Both heads: box and class of every region, mask of those that hold an object."""

    def __init__(
        self,
        boxes: BoxBranch,
        mask_head: Module,
        mask_predictor: Module,
        mask_size: int = 2 * POOLED_SIZE,
    ):
        super().__init__(boxes.box_head, boxes.box_predictor, boxes.pooled_size)
        self.mask_head = mask_head
        self.mask_predictor = mask_predictor
        self.mask_size = mask_size  # M


def mask_channels(num_classes: int, convention: Convention) -> int:
    """How many masks the predictor draws of a region (Mask R-CNN, section 4.1 and table 2b).

    A mask per class; where classes compete, background is one of them; or one for all classes.
    """
    if convention.mask_output == "agnostic":
        return 1
    with_background = convention.background == "first" or convention.mask_output == "softmax"
    return num_classes if with_background else num_classes - 1


def mask_targets(
    masks: Array, boxes: np.ndarray, matched: np.ndarray, size: int, convention: Convention
) -> Array:
    """What each region's mask should be: its object's mask, cut out by the region.

    Args:
        masks: (G, H, W) uint8, the true masks in the network's input, where the network is.
        boxes: (R, 4) the regions.
        matched: (R,) the object each region stands for.
        size: M.
        convention: `mask_target`, `mask_target_aligned`.

    Returns:
        (R, M, M) float32: the share of each cell that is object, or 0 and 1.
    """
    if len(boxes) == 0:
        return array_module(masks).zeros((0, size, size), np.float32)
    rois = np.concatenate([matched[:, None].astype(np.float32), boxes.astype(np.float32)], axis=1)
    share = roi_align(
        masks[:, None],
        upload(rois, masks, "regions"),
        size,
        spatial_scale=1.0,
        sampling_ratio=0,
        aligned=convention.mask_target_aligned,
    )[:, 0]
    return share if convention.mask_target == "soft" else (share >= 0.5).astype(np.float32)


def draw_regions(regions: Regions, convention: Convention, rng: np.random.Generator) -> Regions:
    """The regions with as many positives as masks are learned on, drawn by chance.

    The mask branch costs more than all else, and learns as well from a part of the positives.
    """
    positives = np.flatnonzero(regions.positive)
    limit = convention.mask_batch_size_per_image
    if limit is None or len(positives) <= limit:
        return regions
    drawn = np.zeros_like(regions.positive)
    drawn[rng.choice(positives, limit, replace=False)] = True
    return replace(regions, positive=drawn)


@stage("mask loss")
def mask_loss(
    logits: Tensor,
    regions: Sequence[Regions],
    masks: Sequence[np.ndarray],
    convention: Convention,
) -> Tensor:
    """How wrong the true class's mask is in the regions that stand for an object.

    Args:
        logits: (R, K, M, M) for the positive regions of all images after each other.
        regions: per image, all of them.
        masks: per image (G, H, W) uint8 in the network's input.
        convention: `mask_output`, and how the targets are made.

    Returns:
        A scalar: mean binary cross-entropy, near ln 2 before training; 0 without regions.  Where
        classes compete, mean cross-entropy between them and background, near ln K.
    """
    if logits.shape[0] == 0:
        return zero_like(logits)
    there = logits.data
    targets = array_module(there).concatenate(
        [
            mask_targets(
                upload(m, there, "true masks"),
                r.boxes[r.positive],
                r.matched[r.positive],
                logits.shape[-1],
                convention,
            )
            for m, r in zip(masks, regions, strict=True)
            if r.positive.any()
        ]
    )
    labels = np.concatenate([r.labels[r.positive] for r in regions])
    if convention.mask_output == "agnostic":
        return F.binary_cross_entropy_with_logits(logits[:, 0], targets)
    chosen = array_module(there).arange(len(labels)), upload(labels, there)
    if convention.mask_output == "sigmoid":
        return F.binary_cross_entropy_with_logits(logits[chosen], targets)
    log_probs = F.log_softmax(logits, axis=1)
    outside = log_probs[:, background_class(logits.shape[1], convention)]
    return -(log_probs[chosen] * targets + outside * (1 - targets)).mean()


@stage("mask results")
def mask_probabilities(logits: Array, labels: np.ndarray, convention: Convention) -> np.ndarray:
    """The predicted class's mask of each region, (R, K, M, M), (R,) -> (R, M, M), on the CPU.

    Where classes compete it is the class's share against its strongest rival alone, background
    among them: the mask, which begins at one half, then is where no other class is likelier.

    Args:
        logits: (R, K, M, M) from the predictor.
        labels: (R,) as the network counts them.
        convention: `mask_output`.
    """
    if convention.mask_output == "agnostic":
        return download(sigmoid(logits[:, 0]), "masks")
    chosen = array_module(logits).arange(len(labels)), upload(labels, logits)
    if convention.mask_output == "sigmoid":
        return download(sigmoid(logits[chosen]), "masks")
    # above one half where the class is the likeliest, as one reads a map of competing classes
    rivals = logits.copy()
    rivals[chosen] = -np.inf
    return download(sigmoid(logits[chosen] - rivals.max(axis=1)), "masks")
