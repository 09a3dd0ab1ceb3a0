"""Matterport's mask targets: every object's mask is first kept as a small square, to save memory.

A mask is cut out at its own box and resized to 56 x 56 pixels, whatever its shape; the RoI is cut
from that square.  Thin objects lose detail twice.

Letters: G objects, R RoIs, H W of the network's input, M side of a mask target.
"""

from __future__ import annotations

import numpy as np

from minimask.data.masks import ObjectMasks
from minimask.data.sample import boxes_of_masks
from minimask.models.box_corners import from_edges
from minimask.models.crop_and_resize import crop_masks
from minimask.models.scikit_image import resize_floats

SIDE = 56


def mini_masks(masks: np.ndarray | ObjectMasks, boxes: np.ndarray) -> np.ndarray:
    """Masks (G, H, W) in their whole-pixel boxes (G, 4) -> (G, 56, 56) bool.

    Of a box without a pixel the square is empty.
    """
    small = np.zeros((len(boxes), SIDE, SIDE), bool)
    for i, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
        if x1 > x0 and y1 > y0:
            cut = np.asarray(masks[i])[y0:y1, x0:x1]
            small[i] = np.rint(resize_floats(cut, SIDE, SIDE)) > 0
    return small


def mini_mask_targets(
    masks: np.ndarray | ObjectMasks, boxes: np.ndarray, matched: np.ndarray, size: int
) -> np.ndarray:
    """What each RoI's mask should be: its part of its object's small square, 0 or 1.

    Args:
        masks: (G, H, W) the ground truth in the network's input.
        boxes: (R, 4) the RoIs, by their edges.
        matched: (R,) the object of each.
        size: M.

    Returns:
        (R, M, M) float32.
    """
    used, place = np.unique(matched, return_inverse=True)
    matched_masks = masks[used]
    own = boxes_of_masks(
        matched_masks if isinstance(matched_masks, ObjectMasks) else matched_masks.astype(bool)
    )
    small = mini_masks(matched_masks, own)[place]
    rois, own = from_edges(boxes.astype(np.float32), "pixels"), from_edges(own, "pixels")[place]
    corner = np.concatenate([own[:, :2]] * 2, axis=1)
    side = np.maximum(own[:, 2:] - own[:, :2], 1)  # an object of one pixel
    return np.rint(crop_masks(small, (rois - corner) / np.tile(side, 2), size))
