"""RoIAlign: a fixed-size crop of the feature map for every box, by bilinear samples.

Mask R-CNN (arXiv:1703.06870), section 3.  Letters: N images, C channels, H W height and width, R
regions of interest (RoIs), P pooled size (PH rows, PW columns).
"""

from __future__ import annotations

import numpy as np

from minimask.kernels.dispatch import Variant, call
from minimask.kernels.rois import (
    Shape,
    check_features,
    check_grad,
    check_rois,
    check_scale,
    check_shape,
    check_size,
)

VARIANTS = {
    "reference": Variant(
        "reference", "cpu", "the definition: every sample interpolated, then the mean"
    ),
    "separable": Variant("separable", "cpu", "two small matrix products a RoI: out = A F B^T"),
    "cpu": Variant(
        "cpu", "cpu", "the same, compiled: only the cells a bin reads, a core per feature plane"
    ),
}


def roi_align(
    features: np.ndarray,
    rois: np.ndarray,
    output_size: int | tuple[int, int],
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    reduce: str = "mean",
    variant: str | None = None,
) -> np.ndarray:
    """Cut every RoI out of its image's features as a PH x PW grid, without rounding its corners.

    The scaled box is divided into PH x PW bins, and each bin's value is the mean (or maximum) of
    samples on a regular grid in it.  A sample is interpolated bilinearly between the four cells
    around it; up to one cell beyond the outermost centers it takes the nearest cell's value,
    farther out (y < -1 or y > H) it is 0.

    What happens at the edges of the definition:

    - a RoI with an infinite or NaN coordinate has no samples: its output is 0;
    - `aligned=False` widens a RoI to at least one cell, so inverted boxes count as one cell at
      their first corner;
    - `aligned=True` with `sampling_ratio=0` gives a zero-area or inverted RoI no samples, output
      0; with a fixed ratio the samples run along the inverted box, a mirrored crop;
    - a NaN feature makes the outputs NaN whose samples read it (variant "separable": the RoI's
      whole output).

    Args:
        features: (N, C, H, W).  Integer or bool masks are taken as numbers and give float32.
        rois: (R, 5), image index x0 y0 x1 y1.  Their type decides how the box is rounded when it
            is scaled and when its samples are counted; positions are float64.
        output_size: P, or (PH, PW).
        spatial_scale: feature cells per unit of the boxes, 1/16 for boxes in pixels on a map of
            stride 16.
        sampling_ratio: samples a bin along each axis; 0: one for every cell begun, which makes
            the crop cover the RoI whatever its size.
        aligned: True: cell i's value sits at its center i + 0.5, so that a crop of a shifted
            image is the shifted crop.  False: at i, as the first implementations had it and the
            published torchvision weights expect.
        reduce: "mean" or "max" of a bin's samples.
        variant: a name in VARIANTS; default: the fastest for these arrays.

    Returns:
        (R, C, PH, PW) in the features' type.

    Raises:
        ValueError: shapes or options out of range, an image index that names no image.
        TypeError: arrays that hold no real numbers.
    """
    if reduce not in ("mean", "max"):
        raise ValueError(f'reduce: expected "mean" or "max", got {reduce!r}')
    features = check_features(features)
    rois = check_rois(rois, features.shape[0])
    return call(
        __name__,
        VARIANTS,
        "forward",
        features,
        rois,
        variant=variant,
        size=check_size(output_size),
        scale=check_scale(spatial_scale),
        ratio=_check_ratio(sampling_ratio),
        aligned=bool(aligned),
        reduce=reduce,
    )


def roi_align_backward(
    grad: np.ndarray,
    rois: np.ndarray,
    input_shape: Shape,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    variant: str | None = None,
) -> np.ndarray:
    """The gradient of `roi_align` (mean) for its features: each bin's share to the cells it read.

    The adjoint: sum(grad * roi_align(x)) = sum(roi_align_backward(grad) * x) for every x.  Each
    variant adds in a fixed order, so results are the same bit for bit in every run and with any
    number of threads.

    Args:
        grad: (R, C, PH, PW), the gradient of the output.
        rois: (R, 5), as given to `roi_align`, like the options.
        input_shape: (N, C, H, W) of the features.
        spatial_scale: as in `roi_align`.
        sampling_ratio: as in `roi_align`.
        aligned: as in `roi_align`.
        variant: a name in VARIANTS; default: the fastest for these arrays.

    Returns:
        (N, C, H, W) in grad's type.

    Raises:
        ValueError: shapes or options out of range, an image index that names no image.
        TypeError: arrays that hold no real numbers.
    """
    shape = check_shape(input_shape)
    grad = check_grad(grad, len(rois), shape)
    rois = check_rois(rois, shape[0])
    return call(
        __name__,
        VARIANTS,
        "backward",
        grad,
        rois,
        variant=variant,
        shape=shape,
        scale=check_scale(spatial_scale),
        ratio=_check_ratio(sampling_ratio),
        aligned=bool(aligned),
    )


def _check_ratio(sampling_ratio: int) -> int:
    if int(sampling_ratio) != sampling_ratio or sampling_ratio < 0:
        raise ValueError(
            "sampling_ratio: expected the samples a bin along each axis, or 0 for one per cell, "
            f"got {sampling_ratio}"
        )
    return int(sampling_ratio)
