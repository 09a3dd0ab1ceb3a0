"""What roi_pool and roi_align do alike with regions of interest: split, group and round them.

Letters: N images, R regions of interest (RoIs).
"""

from __future__ import annotations

import numpy as np

from minimask.kernels.checks import as_float


def split_rois(rois: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image each RoI lies in, (R,) int64, and its box, (R, 4) in the type of `rois`."""
    return rois[:, 0].astype(np.int64), rois[:, 1:]


def by_image(image: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray]:
    """RoIs grouped by image: `order` (R,), and `first` (N + 1,), where each group begins."""
    order = np.argsort(image, kind="stable")
    return order, np.searchsorted(image[order], np.arange(images + 1))


def quantize_rois(rois: np.ndarray, spatial_scale: float) -> np.ndarray:
    """The whole cells RoIPool takes a RoI for: corners rounded, both ends included.

    RoIWarp samples this region (Mask R-CNN, section 3 and table 2c); a shift of a hundredth of a
    pixel can move it by a cell.

    Args:
        rois: (R, 5), image index x0 y0 x1 y1; integers are computed in floating point.
        spatial_scale: feature cells per unit of the boxes.

    Returns:
        (R, 5): image index and box in feature cells, at least one cell wide and high; what is not
        finite stays so.
    """
    rois = as_float("rois", rois)
    with np.errstate(all="ignore"):  # a box may be infinite or NaN
        corner = np.floor(rois[:, 1:] * rois.dtype.type(spatial_scale) + rois.dtype.type(0.5))
        low, high = corner[:, :2], corner[:, 2:] + 1
        return np.concatenate([rois[:, :1], low, np.maximum(high, low + 1)], axis=1)
