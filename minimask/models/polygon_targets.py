"""Mask targets drawn from polygons, as detectron2 draws them: no pixel of the image is asked.

Letters: R RoIs, M side of a predicted mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask.data.mask_outlines import Outline
from minimask.data.segmentation import decode

SHORTEST = np.float32(0.1)  # pixels: sides of boxes count as at least as long


def polygon_targets(outlines: Sequence[Outline], boxes: np.ndarray, size: int) -> np.ndarray:
    """What the mask of each RoI should be: its object's polygons, seen through the RoI.

    They are moved by the RoI's corner, stretched to M x M, and filled by COCO's rule
    (detectron2: `rasterize_polygons_within_box`).

    Args:
        outlines: R, of the object that each RoI stands for.
        boxes: (R, 4) float32 the RoIs.
        size: M.

    Returns:
        (R, M, M) float32, 0 or 1.
    """
    targets = np.zeros((len(boxes), size, size), np.float32)
    for target, outline, box in zip(targets, outlines, np.asarray(boxes, np.float32), strict=True):
        factor = np.float32(size) / np.maximum(box[2:] - box[:2], SHORTEST)
        polygons = [((p - box[:2]) * factor).ravel().tolist() for p in outline]
        target[...] = decode(polygons, size, size)
    return targets
