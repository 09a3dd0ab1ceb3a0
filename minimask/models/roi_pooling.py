"""RoIAlign over a pyramid: each RoI is cut from the level where it is of ordinary size.

Letters: R RoIs (regions of interest: proposals, or boxes of detections), C channels, P pooled
size, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.autograd.arrays import Array
from minimask.conventions import check_choice
from minimask.models.box_corners import normalized, to_edges
from minimask.models.crop_and_resize import crop_levels
from minimask.system.device import upload

POOLED_LEVELS = 4  # P6 serves the proposals only (FPN, section 4.2)
CANONICAL_SIZE = 224  # FPN, section 4.2: an RoI as large as an ImageNet crop ...
CANONICAL_LEVEL = 4  # ... comes from C4's level, as in the network without a pyramid


def pyramid_levels(
    boxes: np.ndarray, rule: str = "torchvision", lowest: int = 2, highest: int = 5
) -> np.ndarray:
    """The level each RoI is cut from: 4 for 224 pixels, one less for half of that (FPN, eq. 1).

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


@dataclass(frozen=True)
class RoIPooler:
    """Cuts a small square of features for every RoI, from the level where it is of ordinary size.

    Attributes:
        op: "align"; "warp": samples in rounded RoIs; "pool": maxima of cells; "crop": single
            samples, the outermost on the RoI's sides, see `crop_and_resize`.
        reduce: of a bin's samples: "mean" or "max" (RoIPool: always the maximum).
        level_rule: see `pyramid_levels`.
        sampling_ratio: RoIAlign's samples per bin and axis; 0: as many as cells.
        aligned: RoIAlign shifted by half a cell.
        fixed_strides: strides as a network makes them, also where it rounded a map's size up.
        levels: of a pyramid, how many RoIs are cut from, the finest first.
        corners: what boxes are named by, see `box_corners`.
    """

    op: str = "align"
    reduce: str = "mean"
    level_rule: str = "torchvision"
    sampling_ratio: int = 2  # Mask R-CNN, section 3: four samples in each bin
    aligned: bool = False
    fixed_strides: bool = False
    levels: int = POOLED_LEVELS
    corners: str = "edges"

    def __post_init__(self) -> None:
        check_choice("roi_op", self.op, ("align", "warp", "pool", "crop"))
        check_choice("roi_reduce", self.reduce, ("mean", "max"))

    def __call__(
        self, pyramid: Sequence[Tensor], rois: np.ndarray, output_size: int, image_height: int
    ) -> Tensor:
        """Pool the RoIs of all images.

        Args:
            pyramid: levels (N, C, H, W), finest first; no more than `self.levels` are used.
            rois: (R, 5) image index and box in pixels of the network's input, by `corners`.
            output_size: P.
            image_height: of the padded input; the levels' strides follow from it.

        Returns:
            (R, C, P, P)
        """
        pyramid = pyramid[: self.levels]
        ratios = [np.log2(image_height / level.shape[2]) for level in pyramid]
        strides = [2.0 ** (np.ceil(r) if self.fixed_strides else round(r)) for r in ratios]
        lowest, highest = (round(np.log2(stride)) for stride in (strides[0], strides[-1]))
        highest = min(highest, lowest + len(pyramid) - 1)  # maps may have the same stride
        image_width = image_height * pyramid[0].shape[3] / pyramid[0].shape[2]
        boxes = self._sized(rois[:, 1:], image_height, image_width)
        levels = pyramid_levels(boxes, self.level_rule, lowest, highest)
        levels, scales = levels - lowest, [1 / stride for stride in strides]
        if self.op == "crop":
            whole = normalized(rois[:, 1:], self.corners, image_height, image_width)
            rois = np.concatenate([rois[:, :1], whole], axis=1)
            return crop_levels(pyramid, rois, levels, output_size)
        rois = self.by_edges(rois)
        if self.op != "align" or self.reduce != "mean":
            return self._pool_each_level(pyramid, rois, levels, output_size, scales)
        like = pyramid[0].data
        return F.roi_align_levels(
            pyramid,
            upload(rois, like, "RoIs"),
            upload(levels, like, "levels"),
            output_size,
            spatial_scales=scales,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
        )

    def by_edges(self, rois: np.ndarray) -> np.ndarray:
        """The same RoIs (R, 5), their boxes named by the edges of their pixels."""
        if self.corners == "edges":
            return rois
        return np.concatenate([rois[:, :1], to_edges(rois[:, 1:], self.corners)], axis=1)

    def _sized(self, boxes: np.ndarray, height: float, width: float) -> np.ndarray:
        """Boxes (R, 4) as large as they are for the choice of a level.

        Where they count pixels it is their share of the input: the first and last pixel's centers
        are taken for its borders.
        """
        if self.corners == "edges":
            return boxes
        size = np.array([width, height, width, height], np.float32)
        return normalized(boxes, self.corners, height, width) * size

    def _pool_each_level(
        self,
        pyramid: Sequence[Tensor],
        rois: np.ndarray,
        levels: np.ndarray,
        output_size: int,
        scales: Sequence[float],
    ) -> Tensor:
        """The layers that RoIAlign is compared with (Mask R-CNN, table 2c), level after level."""
        order, parts = [], []
        for i, (level, scale) in enumerate(zip(pyramid, scales, strict=True)):
            index = np.flatnonzero(levels == i)
            if len(index):
                level_rois = upload(rois[index], level.data, "RoIs")
                parts.append(self._pool_level(level, level_rois, output_size, scale))
                order.append(index)
        if len(parts) == 1:
            return parts[0]
        back = np.argsort(np.concatenate(order))
        return ops.concatenate(parts)[upload(back, pyramid[0].data)]

    def _pool_level(self, level: Tensor, rois: Array, output_size: int, scale: float) -> Tensor:
        if self.op == "pool":
            return F.roi_pool(level, rois, output_size, spatial_scale=scale)
        options: dict[str, Any] = {
            "spatial_scale": scale,
            "sampling_ratio": self.sampling_ratio,
            "reduce": self.reduce,
        }
        if self.op == "warp":
            return F.roi_warp(level, rois, output_size, **options)
        return F.roi_align(level, rois, output_size, aligned=self.aligned, **options)
