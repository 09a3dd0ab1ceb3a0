"""RoIAlign: a fixed-size crop of the feature map for every box, by bilinear samples.

Mask R-CNN (arXiv:1703.06870), section 3.  Letters: N images, C channels, H W height and width, R
regions of interest (RoIs), P pooled size (PH rows, PW columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask.kernels.checks import (
    Shape,
    check_features,
    check_grad,
    check_rois,
    check_scale,
    check_shape,
    check_size,
)
from minimask.kernels.dispatch import Variant, call, device_of, emulating
from minimask.kernels.roi_align.levels import check_levels, check_pyramid

VARIANTS = {
    "reference": Variant(
        "reference", "cpu", "the definition: every sample interpolated, then the mean"
    ),
    "separable": Variant("cpu.separable", "cpu", "two small matrix products a RoI: out = A F B^T"),
    "cpu": Variant(
        "cpu.compiled",
        "cpu",
        "the same, compiled: only the cells a bin reads, a core per feature plane",
    ),
    "cpu_lanes": Variant(
        "cpu.lanes", "cpu", "the channels of a cell side by side: one instruction for all of them"
    ),
    "numba_1_naive": Variant(
        "numba.forward_1_naive",
        "gpu",
        "one thread an output, every sample interpolated",
        by_name=True,
    ),
    "numba_3_separable": Variant(
        "numba.forward_3_separable", "gpu", "merged weights of rows and columns", by_name=True
    ),
    "numba_backward_1_atomic": Variant(
        "numba.backward_1_atomic", "gpu", "one thread an output, atomic additions", by_name=True
    ),
    "numba_backward_3_gather": Variant(
        "numba.backward_3_gather",
        "gpu",
        "a thread owns a cell and looks for its RoIs",
        by_name=True,
    ),
    "cuda_1_naive": Variant(
        "cuda.launch", "gpu", "one thread an output, every sample interpolated", rung="naive"
    ),
    "cuda_2_channels_last": Variant(
        "cuda.launch",
        "gpu",
        "the channels of a cell side by side: whole lines are read",
        rung="channels_last",
    ),
    "cuda_3_separable": Variant(
        "cuda.launch_levels",
        "gpu",
        "out = A F B^T: a bin reads a cell once, with merged weights; or all levels in one launch",
        rung="separable",
    ),
    "cuda_3_separable_half": Variant(
        "cuda.launch_levels",
        "gpu",
        "the same, features and output in float16, sums in float32",
        rung="half",
        by_name=True,
    ),
    "cuda_backward_1_atomic": Variant(
        "cuda.launch_backward",
        "gpu",
        "an atomic addition for each sample and corner, in any order",
        rung="atomic",
    ),
    "cuda_backward_2_merged": Variant(
        "cuda.launch_backward",
        "gpu",
        "merged weights: an atomic addition for each bin and cell",
        rung="merged",
    ),
    "cuda_backward_3_gather": Variant(
        "cuda.launch_backward",
        "gpu",
        "cells look for their RoIs: no atomics, the same bits each time, all levels in a launch",
        rung="gather",
    ),
}
HALF = "cuda_3_separable_half"


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
        features: (N, C, H, W).  Integer or bool masks are taken as numbers and give float32, as
            does float16 on the CPU; on a GPU float16 stays float16 ("cuda_3_separable_half").  GPU
            variants from the second on read channels-last memory without a copy: a view of shape
            (N, C, H, W) of an array (N, H, W, C).
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
    if not _stays_half(features, variant):
        features = check_features(features)
    elif features.ndim != 4 or 0 in features.shape[2:]:
        check_features(features)  # says what is wrong
    else:
        variant = HALF
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

    The adjoint: sum(grad * roi_align(x)) = sum(roi_align_backward(grad) * x) for every x.  The
    default variants add in a fixed order, so results are the same bit for bit in every run and with
    any number of threads; "cuda_backward_1_atomic" and "cuda_backward_2_merged" add in any order.

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


def roi_align_levels(
    features: Sequence[np.ndarray],
    rois: np.ndarray,
    levels: np.ndarray,
    output_size: int | tuple[int, int],
    *,
    spatial_scales: Sequence[float],
    sampling_ratio: int = 0,
    aligned: bool = True,
    variant: str | None = None,
) -> np.ndarray:
    """`roi_align` (mean) where every RoI is cut from a level of a feature pyramid of its own.

    Args:
        features: L levels (N, C, H, W) of one type, N and C the same, H and W their own.
        rois: (R, 5), image index x0 y0 x1 y1, in the same units for all levels.
        levels: (R,) integers, the level of each RoI, 0 to L - 1.  Where nobody has looked (on a GPU
            inside `unchecked()`), a RoI of a level there is not has no samples: its output is 0.
        output_size: P, or (PH, PW).
        spatial_scales: L times the feature cells per unit of the boxes.
        sampling_ratio: as in `roi_align`.
        aligned: as in `roi_align`.
        variant: a name in VARIANTS that has this function; default: the fastest for these arrays.

    Returns:
        (R, C, PH, PW) in the features' type.

    Raises:
        ValueError: shapes or options out of range; no level, or more than 8 on a GPU; an image or
            level index that names none.
        TypeError: arrays that hold no real numbers, levels of several types or no integers.
    """
    pyramid = tuple(features)
    if pyramid and all(_stays_half(level, variant) for level in pyramid):
        variant = HALF
    else:
        pyramid = tuple(check_features(level) for level in pyramid)
    check_pyramid([level.shape for level in pyramid], spatial_scales, "features")
    if len({level.dtype for level in pyramid}) > 1:
        types = ", ".join(str(level.dtype) for level in pyramid)
        raise TypeError(
            f"features: the levels are of different types: {types}; convert them to one"
        )
    rois = check_rois(rois, pyramid[0].shape[0])
    return call(
        __name__,
        VARIANTS,
        "forward_pyramid",
        pyramid,
        rois,
        check_levels(levels, len(rois), len(pyramid)),
        variant=variant,
        size=check_size(output_size),
        scales=tuple(check_scale(scale) for scale in spatial_scales),
        ratio=_check_ratio(sampling_ratio),
        aligned=bool(aligned),
    )


def roi_align_levels_backward(
    grad: np.ndarray,
    rois: np.ndarray,
    levels: np.ndarray,
    input_shapes: Sequence[Shape],
    *,
    spatial_scales: Sequence[float],
    sampling_ratio: int = 0,
    aligned: bool = True,
    variant: str | None = None,
) -> tuple[np.ndarray, ...]:
    """The gradients of `roi_align_levels` for its levels, each as of `roi_align_backward`.

    Args:
        grad: (R, C, PH, PW), the gradient of the output.
        rois: (R, 5), as given to `roi_align_levels`, like the options.
        levels: (R,) integers, the level of each RoI.
        input_shapes: L times (N, C, H, W).
        spatial_scales: as in `roi_align_levels`.
        sampling_ratio: as in `roi_align`.
        aligned: as in `roi_align`.
        variant: a name in VARIANTS that has this function; default: the fastest for these arrays.

    Returns:
        L times (N, C, H, W) in grad's type.

    Raises:
        ValueError: shapes or options out of range; no level, or more than 8 on a GPU; an image or
            level index that names none.
        TypeError: arrays that hold no real numbers, levels that are no integers.
    """
    shapes = tuple(check_shape(shape) for shape in input_shapes)
    check_pyramid(shapes, spatial_scales, "input_shapes")
    grad = check_grad(grad, len(rois), shapes[0])
    rois = check_rois(rois, shapes[0][0])
    return call(
        __name__,
        VARIANTS,
        "backward_pyramid",
        grad,
        rois,
        check_levels(levels, len(rois), len(shapes)),
        variant=variant,
        shapes=shapes,
        scales=tuple(check_scale(scale) for scale in spatial_scales),
        ratio=_check_ratio(sampling_ratio),
        aligned=bool(aligned),
    )


def _stays_half(features: Any, variant: str | None) -> bool:
    """Whether features are float16 and on a GPU, so that the variant for float16 takes them."""
    return (
        getattr(features, "dtype", None) == np.float16
        and variant in (None, HALF)
        and (emulating() or device_of(features) == "gpu")
    )


def _check_ratio(sampling_ratio: int) -> int:
    if int(sampling_ratio) != sampling_ratio or sampling_ratio < 0:
        raise ValueError(
            "sampling_ratio: expected the samples a bin along each axis, or 0 for one per cell, "
            f"got {sampling_ratio}"
        )
    return int(sampling_ratio)
