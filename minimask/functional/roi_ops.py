"""RoIAlign, RoIPool and RoIWarp: features of boxes of any size on a fixed grid.

N images   C channels   H, W height and width   R regions of interest (RoIs)   P pooled size
"""

# ruff: noqa: D102  (forward and backward are documented once, in Function)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from minimask.autograd import Context, Function, Tensor
from minimask.autograd.arrays import Array, contiguous_on_gpu
from minimask.functional.convolution import max_pool2d
from minimask.kernels.checks import check_size
from minimask.kernels.dispatch import unchecked
from minimask.kernels.roi_align import roi_align as align
from minimask.kernels.roi_align import roi_align_backward as align_gradient
from minimask.kernels.roi_align import roi_align_levels as align_levels
from minimask.kernels.roi_align import roi_align_levels_backward as align_levels_gradient
from minimask.kernels.roi_pool import roi_pool as pool
from minimask.kernels.roi_pool import roi_pool_backward as pool_gradient
from minimask.kernels.rois import quantize_rois

OutputSize: TypeAlias = int | tuple[int, int]


class RoIAlign(Function):
    """The mean of bilinear samples in every cell of a grid over every RoI."""

    @staticmethod
    def forward(
        ctx: Context, features: Array, rois: Array, *, output_size: OutputSize, **options: Any
    ) -> Array:
        ctx.save(rois, features.shape, options)
        return _as_features(align(features, rois, output_size, **options), features)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # to the features; boxes are given, not learned
        rois, shape, options = ctx.saved
        with unchecked():  # the forward pass has checked them
            gradient = align_gradient(contiguous_on_gpu(grad), rois, shape, **options)
        return gradient.astype(grad.dtype, copy=False), None


class RoIAlignLevels(Function):
    """RoIAlign over a pyramid: every RoI from the level it belongs to."""

    @staticmethod
    def forward(
        ctx: Context,
        rois: Array,
        levels: Array,
        *features: Array,
        output_size: OutputSize,
        **options: Any,
    ) -> Array:
        ctx.save(rois, levels, [f.shape for f in features], options)
        pooled = align_levels(features, rois, levels, output_size, **options)
        return _as_features(pooled, features[0])

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # each level gets its own RoIs' gradients
        rois, levels, shapes, options = ctx.saved
        with unchecked():
            gradients = align_levels_gradient(
                contiguous_on_gpu(grad), rois, levels, shapes, **options
            )
        return None, None, *[g.astype(grad.dtype, copy=False) for g in gradients]


class RoIPool(Function):
    """The largest feature in every cell of a grid over every RoI."""

    @staticmethod
    def forward(
        ctx: Context, features: Array, rois: Array, *, output_size: OutputSize, spatial_scale: float
    ) -> Array:
        out, argmax = pool(features, rois, output_size, spatial_scale=spatial_scale)
        ctx.save(rois, argmax, features.shape)
        return _as_features(out, features)

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:  # only the largest feature counts
        rois, argmax, shape = ctx.saved
        with unchecked():
            gradient = pool_gradient(contiguous_on_gpu(grad), rois, argmax, shape)
        return gradient.astype(grad.dtype, copy=False), None


def _as_features(pooled: Array, features: Array) -> Array:
    """The result in the features' type: where float16 is computed in float32, it is rounded back.

    Features that are no floats, such as bool masks, give the float32 that the kernel made of them.
    """
    return pooled.astype(features.dtype, copy=False) if features.dtype.kind == "f" else pooled


def _constant(op: str, rois: Any) -> Array:
    """The RoIs as an array: none of the operations has a gradient for them."""
    if not isinstance(rois, Tensor):
        return rois
    if rois.requires_grad:
        raise TypeError(f"{op} has no gradient for `rois`: pass rois.detach()")
    return rois.data


def roi_align(
    features: Any,
    rois: Any,
    output_size: OutputSize,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    reduce: str = "mean",
) -> Tensor:
    """Sample every RoI on a grid without rounding its borders (Mask R-CNN, section 3).

    Args:
        features: (N, C, H, W); the result has their type, also where it is float16.
        rois: (R, 5) array: image index, then x0 y0 x1 y1 in pixels of the input image.
        output_size: cells P, or (PH, PW).
        spatial_scale: feature pixels per image pixel, e.g. 1 / 16.
        sampling_ratio: samples per cell and axis; 0 means as many as the cell has pixels.
        aligned: whether pixel i's center is at i + 0.5 (else at i, as first published).
        reduce: "mean" of a cell's samples, or "max" (table 2c; needs a fixed `sampling_ratio`).

    Returns:
        (R, C, PH, PW); the gradient goes to the features only.
    """
    samples = 1
    if reduce == "max":
        # the samples themselves, as cells of a finer grid; the largest alone gets the gradient
        if sampling_ratio < 1:
            raise ValueError(
                'roi_align: reduce="max" needs a sampling_ratio of at least 1, got '
                f"{sampling_ratio}"
            )
        samples, sampling_ratio = sampling_ratio, 1
    elif reduce != "mean":
        raise ValueError(f'roi_align: reduce must be "mean" or "max", got {reduce!r}')
    height, width = check_size(output_size)
    pooled = RoIAlign.apply(
        features,
        _constant("roi_align", rois),
        output_size=(height * samples, width * samples),
        spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
    )
    return pooled if samples == 1 else max_pool2d(pooled, samples)


def roi_warp(
    features: Any,
    rois: Any,
    output_size: OutputSize,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    reduce: str = "mean",
) -> Tensor:
    """Sample bilinearly, but in RoIs rounded as RoIPool rounds them (Mask R-CNN, table 2c).

    Arguments and result as for `roi_align`, with pixel centers at i + 0.5.
    """
    return roi_align(
        features,
        quantize_rois(_constant("roi_warp", rois), spatial_scale),
        output_size,
        sampling_ratio=sampling_ratio,
        aligned=True,
        reduce=reduce,
    )


def roi_align_levels(
    pyramid: Sequence[Any],
    rois: Any,
    levels: Any,
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[float],
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:
    """`roi_align`, each RoI on its own level of a pyramid.

    Args:
        pyramid: levels (N, C, H, W).
        rois: (R, 5) array: image index, then x0 y0 x1 y1 in pixels of the input image.
        levels: (R,) integers: the place in `pyramid` that each RoI is cut from.
        output_size: cells P, or (PH, PW).
        spatial_scales: of each level, feature pixels per image pixel.
        sampling_ratio: as in `roi_align`.
        aligned: as in `roi_align`.

    Returns:
        (R, C, PH, PW); the gradient goes to the levels only.
    """
    return RoIAlignLevels.apply(
        _constant("roi_align_levels", rois),
        _constant("roi_align_levels", levels),
        *pyramid,
        output_size=output_size,
        spatial_scales=tuple(spatial_scales),
        sampling_ratio=sampling_ratio,
        aligned=aligned,
    )


def roi_pool(
    features: Any, rois: Any, output_size: OutputSize, *, spatial_scale: float = 1.0
) -> Tensor:
    """Take the maximum in every cell of a grid with rounded borders (Fast R-CNN, section 2.1).

    Args:
        features: (N, C, H, W); the result has their type, also where it is float16.
        rois: (R, 5) array: image index, then x0 y0 x1 y1 in pixels of the input image.
        output_size: cells P, or (PH, PW).
        spatial_scale: feature pixels per image pixel, e.g. 1 / 16.

    Returns:
        (R, C, PH, PW); the gradient goes to the features only.
    """
    return RoIPool.apply(
        features,
        _constant("roi_pool", rois),
        output_size=output_size,
        spatial_scale=spatial_scale,
    )
