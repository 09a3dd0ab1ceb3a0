"""RoIPool: a fixed-size crop of the feature map for every box, by the maximum of whole cells.

Fast R-CNN (arXiv:1504.08083), section 2.1.  Letters: N images, C channels, H W height and width, R
regions of interest (RoIs), P pooled size (PH rows, PW columns).
"""

from __future__ import annotations

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
from minimask.kernels.dispatch import Variant, call, checks_values

VARIANTS = {
    "reference": Variant("reference", "cpu", "the definition: cut out each bin, take its argmax"),
    "cpu": Variant(
        "cpu.compiled",
        "cpu",
        "compiled: channels side by side, one vector instruction compares them all",
    ),
    "numba_1_naive": Variant("numba.forward_1_naive", "gpu", "one thread an output", by_name=True),
    "numba_2_columns": Variant(
        "numba.forward_2_columns", "gpu", "columns first, in shared memory", by_name=True
    ),
    "numba_backward_1_atomic": Variant(
        "numba.backward_1_atomic", "gpu", "one thread an output, atomic additions", by_name=True
    ),
    "numba_backward_2_gather": Variant(
        "numba.backward_2_gather", "gpu", "a block owns a tile of a plane", by_name=True
    ),
    "cuda_1_naive": Variant("cuda.launch", "gpu", "one thread an output", rung="naive"),
    "cuda_2_columns": Variant(
        "cuda.launch",
        "gpu",
        "a block per RoI and 32 channels, borders once, each column of a bin read once",
        rung="columns",
    ),
    "cuda_backward_1_atomic": Variant(
        "cuda.launch_backward",
        "gpu",
        "one thread an output, which adds atomically, in any order",
        rung="atomic",
    ),
    "cuda_backward_2_gather": Variant(
        "cuda.launch_backward",
        "gpu",
        "a block owns a tile of a plane, bins bid for its cells; the same bits in every run",
        rung="gather",
    ),
}


def roi_pool(
    features: np.ndarray,
    rois: np.ndarray,
    output_size: int | tuple[int, int],
    *,
    spatial_scale: float = 1.0,
    variant: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut every RoI out of its image's features as a PH x PW grid, the largest value of each bin.

    Coordinates are rounded twice, which is what RoIAlign removes.  First the corners, to whole
    cells: floor(x * spatial_scale + 0.5), both corner cells included, so that a side has
    x1 - x0 + 1 cells, at least 1.  Then the bins: bin p of a side of n cells runs from cell
    floor(p n / P) up to, not including, cell ceil((p + 1) n / P), and is cut off at the map.

    A bin with no cell, outside the map, gives 0 and argmax -1; so does every bin of a RoI with an
    infinite or NaN coordinate.  An inverted box counts as one cell at its first corner.  NaN is
    larger than everything: a bin that holds one gives NaN.  Of equal values the first wins, row
    by row.

    Bins are computed in integers.  Systems that divide in float32 get one cell more in 0.3 % of
    bins, e.g. the last of 7 over 57 cells.

    Args:
        features: (N, C, H, W).  Integer or bool masks are taken as numbers and give float32.
        rois: (R, 5), image index x0 y0 x1 y1; corners are rounded in this array's type.
        output_size: P, or (PH, PW).
        spatial_scale: feature cells per unit of the boxes.
        variant: a name in VARIANTS; default: the fastest for these arrays.

    Returns:
        output (R, C, PH, PW) in the features' type, and argmax (R, C, PH, PW) int32: where in its
        H x W plane each value was, `row * W + column`, or -1.

    Raises:
        ValueError: shapes or options out of range, an image index that names no image.
        TypeError: arrays that hold no real numbers.
    """
    features = check_features(features)
    rois = check_rois(rois, features.shape[0])
    size, scale = check_size(output_size), check_scale(spatial_scale)
    arrays = (features, rois)
    return call(__name__, VARIANTS, "forward", *arrays, size=size, scale=scale, variant=variant)


def roi_pool_backward(
    grad: np.ndarray,
    rois: np.ndarray,
    argmax: np.ndarray,
    input_shape: Shape,
    *,
    variant: str | None = None,
) -> np.ndarray:
    """The gradient of `roi_pool` for its features: each bin's gradient to the cell that won.

    Cells that won several bins get the sum, added in the order of the RoIs, so that results are
    the same bit for bit in every run and with any number of threads.  Only the naive GPU variants
    add by atomics, in an order that varies.

    Args:
        grad: (R, C, PH, PW), the gradient of the output.
        rois: (R, 5), as given to `roi_pool`; the image index is what counts.
        argmax: (R, C, PH, PW), as returned by `roi_pool`.
        input_shape: (N, C, H, W) of the features.
        variant: a name in VARIANTS; default: the fastest for these arrays.

    Returns:
        (N, C, H, W) in grad's type.

    Raises:
        ValueError: shapes that do not fit, an image index or argmax out of range.
        TypeError: arrays that hold no real numbers.
    """
    shape = check_shape(input_shape)
    grad = check_grad(grad, len(rois), shape)
    rois = check_rois(rois, shape[0])
    if argmax.shape != grad.shape:
        raise ValueError(f"argmax: expected grad's shape {grad.shape}, got {argmax.shape}")
    if (
        argmax.size
        and checks_values(argmax)
        and not (-1 <= argmax.min() and argmax.max() < shape[2] * shape[3])
    ):
        raise ValueError(
            f"argmax: expected -1 or a cell of the {shape[2]} x {shape[3]} plane, at most "
            f"{shape[2] * shape[3] - 1}, got {argmax.min()} to {argmax.max()}; "
            "is input_shape that of the features?"
        )
    arrays = (grad, rois, argmax)
    return call(__name__, VARIANTS, "backward", *arrays, shape=shape, variant=variant)
