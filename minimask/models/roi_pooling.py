"""RoIAlign over a pyramid: each region is cut from the level where it is of ordinary size.

Letters: R regions, C channels, P pooled size, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.autograd.arrays import Array
from minimask.conventions import TORCHVISION, Convention
from minimask.system.device import upload

CANONICAL_SIZE = 224  # FPN, section 4.2: a region as large as an ImageNet crop ...
CANONICAL_LEVEL = 4  # ... comes from C4's level, as in the network without a pyramid


def pyramid_levels(
    boxes: np.ndarray, rule: str = "torchvision", lowest: int = 2, highest: int = 5
) -> np.ndarray:
    """The level each region is cut from: 4 for 224 pixels, one less for half of that (FPN, eq. 1).

    The systems differ in a millionth, which decides at exact powers of two:

    * "paper": floor(4 + log2(side / 224))
    * "torchvision": floor(4 + log2(side / 224) + 1e-6)
    * "detectron2": floor(4 + log2(side / 224 + 1e-8))
    * "mmdet": 2 + floor(log2(side / 56 + 1e-6))
    * "matterport": 4 + round(log2(side / 224))

    Args:
        boxes: (R, 4) in pixels of the network's input.
        rule: one of the above; side is the square root of the area.
        lowest: the first level there is.
        highest: the last level there is.

    Returns:
        (R,) int64 between `lowest` and `highest`.
    """
    side = np.sqrt(box_ops.area(np.asarray(boxes, np.float32)))
    with np.errstate(divide="ignore"):  # a box without area: log2(0) = -inf, the lowest level
        if rule == "torchvision":
            level = np.floor(CANONICAL_LEVEL + np.log2(side / CANONICAL_SIZE) + np.float32(1e-6))
        elif rule == "detectron2":
            level = np.floor(CANONICAL_LEVEL + np.log2(side / CANONICAL_SIZE + np.float32(1e-8)))
        elif rule == "mmdet":
            level = 2 + np.floor(np.log2(side / 56 + np.float32(1e-6)))
        elif rule == "matterport":
            level = CANONICAL_LEVEL + np.round(np.log2(side / CANONICAL_SIZE))
        elif rule == "paper":
            level = np.floor(CANONICAL_LEVEL + np.log2(side / CANONICAL_SIZE))
        else:
            raise ValueError(f"rule: no such rule: {rule!r}")
    return np.clip(np.nan_to_num(level, nan=lowest), lowest, highest).astype(np.int64)


def as_rois(boxes_per_image: Sequence[np.ndarray]) -> np.ndarray:
    """Boxes of several images in one array: N times (R, 4) -> (sum of R, 5), image index first."""
    index = np.repeat(np.arange(len(boxes_per_image)), [len(b) for b in boxes_per_image])
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *boxes_per_image])
    return np.concatenate([index[:, None].astype(np.float32), boxes.astype(np.float32)], axis=1)


def pool_regions(
    pyramid: Sequence[Tensor],
    rois: np.ndarray,
    output_size: int,
    image_height: int,
    convention: Convention = TORCHVISION,
) -> Tensor:
    """Cut a small square of features for every region.

    Args:
        pyramid: levels (N, C, H, W), finest first.
        rois: (R, 5) image index and box in pixels of the network's input.
        output_size: P.
        image_height: of the padded input; the levels' strides follow from it.
        convention: `level_rule`, `roi_op`, `roi_reduce`, `sampling_ratio`, `roi_aligned`.

    Returns:
        (R, C, P, P)
    """
    strides = [2.0 ** round(np.log2(image_height / level.shape[2])) for level in pyramid]
    lowest = round(np.log2(strides[0]))
    levels = pyramid_levels(rois[:, 1:], convention.level_rule, lowest, lowest + len(pyramid) - 1)
    scales = [1 / stride for stride in strides]
    there = pyramid[0].data
    if convention.roi_op != "align" or convention.roi_reduce != "mean":
        return _pool_each_level(pyramid, rois, levels - lowest, output_size, scales, convention)
    return F.roi_align_levels(
        pyramid,
        upload(rois, there, "regions"),
        upload(levels - lowest, there, "levels"),
        output_size,
        spatial_scales=scales,
        sampling_ratio=convention.sampling_ratio,
        aligned=convention.roi_aligned,
    )


def _pool_each_level(
    pyramid: Sequence[Tensor],
    rois: np.ndarray,
    levels: np.ndarray,
    output_size: int,
    scales: Sequence[float],
    convention: Convention,
) -> Tensor:
    """The layers that RoIAlign is compared with (Mask R-CNN, table 2c), a level after the other."""
    order, parts = [], []
    for i, (level, scale) in enumerate(zip(pyramid, scales, strict=True)):
        here = np.flatnonzero(levels == i)
        if len(here):
            regions = upload(rois[here], level.data, "regions")
            parts.append(_pool_level(level, regions, output_size, scale, convention))
            order.append(here)
    if len(parts) == 1:
        return parts[0]
    back = np.argsort(np.concatenate(order))
    return ops.concatenate(parts)[upload(back, pyramid[0].data)]


def _pool_level(
    level: Tensor, rois: Array, output_size: int, scale: float, convention: Convention
) -> Tensor:
    if convention.roi_op == "pool":
        return F.roi_pool(level, rois, output_size, spatial_scale=scale)
    options: dict[str, Any] = {
        "spatial_scale": scale,
        "sampling_ratio": convention.sampling_ratio,
        "reduce": convention.roi_reduce,
    }
    if convention.roi_op == "warp":
        return F.roi_warp(level, rois, output_size, **options)
    return F.roi_align(level, rois, output_size, aligned=convention.roi_aligned, **options)
