"""TensorFlow's crop_and_resize: a grid of single bilinear samples over every box, corners included.

The first and last sample of a row lie on the box's sides, where RoIAlign's lie in the middle of
cells; what lies outside the map is 0.  So it is RoIAlign with one sample per cell in boxes that are
half a cell larger on every side, times what is inside: forward and backward are its kernels'.

Boxes are normalized (see `box_corners`).  Letters: R RoIs, P samples of a row, H W of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.system.device import upload


def sample_places(low: np.ndarray, high: np.ndarray, cells: int, count: int) -> np.ndarray:
    """Where along an axis of `cells` the samples of each box lie: (R,), (R,) -> (R, count) float32.

    Computed as TensorFlow does, step by step in float32: at a map's last cell the rounding decides
    whether a sample is still inside.
    """
    last = np.float32(cells - 1)
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    if count == 1:
        return (np.float32(0.5) * (low + high) * last)[:, None]
    step = (high - low) * last / np.float32(count - 1)
    return (low * last)[:, None] + np.arange(count, dtype=np.float32) * step[:, None]


def crop_levels(
    pyramid: Sequence[Tensor], rois: np.ndarray, levels: np.ndarray, size: int
) -> Tensor:
    """Cut every RoI out of its level.

    Args:
        pyramid: levels (N, C, H, W).
        rois: (R, 5) image index and normalized box.
        levels: (R,) the place in `pyramid` of each.
        size: P.

    Returns:
        (R, C, P, P); the gradient goes to the levels only.
    """
    around = rois.astype(np.float32)
    inside = np.ones((len(rois), 1, size, size), np.float32)
    for i, level in enumerate(pyramid):
        mine = np.flatnonzero(levels == i)
        for axis, cells in ((0, level.shape[3]), (1, level.shape[2])):
            places = sample_places(rois[mine, 1 + axis], rois[mine, 3 + axis], cells, size)
            half = (places[:, -1] - places[:, 0]) / np.float32(2 * max(size - 1, 1))
            # pixel centers are at + 0.5 for RoIAlign
            around[mine, 1 + axis] = places[:, 0] - half + np.float32(0.5)
            around[mine, 3 + axis] = places[:, -1] + half + np.float32(0.5)
            inside_map = (places >= 0) & (places <= cells - 1)
            inside[mine] *= (
                inside_map[:, None, None, :] if axis == 0 else inside_map[:, None, :, None]
            )
    like = pyramid[0].data
    pooled = F.roi_align_levels(
        pyramid,
        upload(around, like, "RoIs"),
        upload(levels, like, "levels"),
        size,
        spatial_scales=[1.0] * len(pyramid),
        sampling_ratio=1,
        aligned=True,
    )
    if inside.all():
        return pooled
    return pooled * upload(inside.astype(pooled.dtype), like, "inside")


def crop_masks(masks: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """Cut one box out of each mask: (R, H, W), (R, 4) normalized -> (R, P, P) float32."""
    rows, columns = (
        sample_places(boxes[:, i], boxes[:, i + 2], masks.shape[2 - i], size) for i in (1, 0)
    )
    (top, bottom, down), (left, right, along) = (
        _neighbours(places, cells)
        for places, cells in ((rows, masks.shape[1]), (columns, masks.shape[2]))
    )
    mask = np.arange(len(masks))[:, None, None]
    masks = masks.astype(np.float32)

    def row(at: np.ndarray) -> np.ndarray:
        before, after = (masks[mask, at[:, :, None], x[:, None, :]] for x in (left, right))
        return before + (after - before) * along[:, None, :]

    upper, lower = row(top), row(bottom)
    inside = _inside(rows, masks.shape[1])[:, :, None] & _inside(columns, masks.shape[2])[:, None]
    return np.where(inside, upper + (lower - upper) * down[:, :, None], np.float32(0))


def _neighbours(places: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low = np.floor(places)
    before, after = (np.clip(i, 0, cells - 1).astype(np.int64) for i in (low, np.ceil(places)))
    return before, after, places - low


def _inside(places: np.ndarray, cells: int) -> np.ndarray:
    return (places >= 0) & (places <= cells - 1)
