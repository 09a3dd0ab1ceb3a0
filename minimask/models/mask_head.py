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
from minimask.data.masks import ObjectMasks
from minimask.kernels.roi_align import roi_align
from minimask.models.box_head import C4BoxHead, SampledRoIs, background_class
from minimask.models.conv_layer import ConvLayer
from minimask.models.initialization import conv, conv_transpose, linear, tiny_normal
from minimask.models.mini_masks import mini_mask_targets
from minimask.models.polygon_targets import polygon_targets
from minimask.nn import Module, Sequential
from minimask.system.device import download, upload

POOLED_SIZE = 14  # Mask R-CNN, figure 4 right
TOGETHER = 2**26  # pixels of ground-truth masks cut at once: as float32 256 MB
OUTPUTS = ("sigmoid", "softmax", "agnostic")


class MaskHead(Sequential):
    """3x3 convolutions that keep the 14 x 14 layout (Mask R-CNN, figure 4 right)."""

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        rng: np.random.Generator,
        **norm: Any,  # norm and norm_eps of a `ConvLayer`
    ):
        sizes = [in_channels, *channels]
        super().__init__(
            *(ConvLayer(before, after, 3, rng, **norm) for before, after in pairwise(sizes))
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
    masks: Array | ObjectMasks,
    boxes: np.ndarray,
    matched: np.ndarray,
    size: int,
    *,
    target: str = "soft",
    aligned: bool = False,
    like: Array | None = None,
) -> Array:
    """What each RoI's mask should be: its object's mask, cut out by the RoI.

    Only masks that an RoI stands for are looked at, and `TOGETHER` pixels of them at a time.

    Args:
        masks: (G, H, W) uint8 or bool, the ground truth in the network's input.
        boxes: (R, 4) the RoIs, by their edges.
        matched: (R,) the object each RoI stands for.
        size: M.
        target: "soft": the share of each cell that is object; "hard": 1 where it is at least half;
            "polygon": drawn from the object's polygons, "hard" for objects known by pixels alone;
            "mini": see `mini_masks`.
        aligned: whether RoIAlign, which cuts them out, is shifted by half a cell.
        like: an array of the device to compute on; default: where the masks are.

    Returns:
        (R, M, M) float32, 0 .. 1.
    """
    if like is None:
        like = boxes if isinstance(masks, ObjectMasks) else masks
    if target == "polygon" and isinstance(masks, ObjectMasks):
        return _drawn_targets(masks, boxes, matched, size, aligned, like)
    if target == "mini":
        on_cpu = masks if isinstance(masks, ObjectMasks) else download(masks, "gt masks")
        return upload(mini_mask_targets(on_cpu, boxes, matched, size), like, "mask targets")
    share = array_module(like).zeros((len(boxes), size, size), np.float32)
    used, place = np.unique(matched, return_inverse=True)
    count = max(1, TOGETHER // max(1, masks.shape[1] * masks.shape[2]))
    for first in range(0, len(used), count):
        mine = np.flatnonzero((place >= first) & (place < first + count))
        rois = np.concatenate([(place[mine] - first)[:, None], boxes[mine]], axis=1)
        some = _some(masks, used[first : first + count], like)
        cut = roi_align(
            some[:, None],
            upload(rois.astype(np.float32), like, "RoIs"),
            size,
            spatial_scale=1.0,
            sampling_ratio=0,
            aligned=aligned,
        )[:, 0]
        if len(mine) == len(boxes):
            share = cut
        else:
            share[upload(mine, like, "RoIs")] = cut
    return share if target == "soft" else (share >= 0.5).astype(np.float32)


def _drawn_targets(
    masks: ObjectMasks,
    boxes: np.ndarray,
    matched: np.ndarray,
    size: int,
    aligned: bool,
    like: Array,
) -> Array:
    """The targets (R, M, M) of RoIs whose objects may have polygons; see `mask_targets`."""
    known = {i: masks.outline(i) for i in np.unique(matched).tolist()}
    drawn = np.array([known[i] is not None for i in matched.tolist()], bool)
    targets = array_module(like).zeros((len(boxes), size, size), np.float32)
    if drawn.any():
        outlines = [o for o in map(known.get, matched.tolist()) if o is not None]
        polygon_masks = polygon_targets(outlines, boxes[drawn], size)
        targets[upload(np.flatnonzero(drawn), like, "RoIs")] = upload(
            polygon_masks, like, "mask targets"
        )
    if not drawn.all():
        rest = {"target": "hard", "aligned": aligned, "like": like}
        cut = mask_targets(masks, boxes[~drawn], matched[~drawn], size, **rest)
        targets[upload(np.flatnonzero(~drawn), like, "RoIs")] = cut
    return targets


def _some(masks: Array | ObjectMasks, chosen: np.ndarray, like: Array) -> Array:
    """Some of the masks as an array where `like` lives; all of an array are not copied."""
    if isinstance(masks, ObjectMasks):
        return upload(np.asarray(masks[chosen]).view(np.uint8), like, "gt masks")
    if len(chosen) < len(masks):
        masks = masks[chosen if isinstance(masks, np.ndarray) else upload(chosen, masks)]
    return upload(masks, like, "gt masks") if isinstance(masks, np.ndarray) else masks


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
    gt_masks: Sequence[np.ndarray | ObjectMasks],
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
        gt_masks: per image (G, H, W) uint8 or bool in the network's input.
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
                masks,
                s.boxes[s.positive],
                s.matched[s.positive],
                size,
                target=target,
                aligned=aligned,
                like=like,
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
