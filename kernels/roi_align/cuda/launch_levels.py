"""Launches the forms of the third forward rung: all levels of a pyramid at once, and float16.

Letters: N images, C channels, H W height and width, L levels, R regions of interest, P pooled size
(PH rows, PW columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask.kernels.launch import Program, contiguous, empty, program, require_float32, zeros
from minimask.kernels.roi_align.cuda.launch import (
    HALF,
    channels_last,
    forward_channels_last,
    forward_separable,
    launch_planned,
)
from minimask.kernels.roi_align.cuda.plan import SPARE_TAPS, Pair, make_plan, widest_load

__all__ = [
    "forward_half",
    "forward_pyramid_half",
    "forward_pyramid_separable",
    "forward_separable",
    "level_arguments",
]

LEVELS = program(__file__, "forward_3_separable_levels.cu")
MOST_LEVELS = 8


def level_arguments(
    maps: Sequence[Any], sides: Sequence[Pair], scales: Sequence[float]
) -> tuple[Any, ...]:
    """The maps, heights, widths and scales of 8 levels; those there are not have no cells."""
    missing = MOST_LEVELS - len(maps)
    if missing < 0:
        raise ValueError(f"the GPU kernels take at most {MOST_LEVELS} levels, got {len(maps)}")
    maps, sides = [*maps, *[maps[0]] * missing], [*sides, *[(0, 0)] * missing]
    heights, widths = zip(*sides, strict=True)
    return (*maps, *heights, *widths, *scales, *[1.0] * missing)


def forward_pyramid_separable(
    features: tuple[Any, ...],
    rois: Any,
    levels: Any,
    *,
    size: Pair,
    scales: Sequence[float],
    ratio: int,
    aligned: bool,
) -> Any:
    """L times (N, C, H, W), (R, 5), (R,) -> (R, C, PH, PW)."""
    for level in features:
        require_float32(features=level)
    options: dict[str, Any] = {"size": size, "scales": scales, "ratio": ratio, "aligned": aligned}
    return _forward_levels(LEVELS, "roi_align_forward_levels", 4, features, rois, levels, **options)


def _forward_levels(
    rung: Program,
    kernel: str,
    widest: int,
    features: tuple[Any, ...],
    rois: Any,
    levels: Any,
    *,
    size: Pair,
    scales: Sequence[float],
    ratio: int,
    aligned: bool,
) -> Any:
    require_float32(rois=rois)
    rois, levels = contiguous("rois", rois), contiguous("levels", levels)
    images, channels = features[0].shape[:2]
    width, dtype = widest_load(channels, widest), features[0].dtype
    sides = [f.shape[2:] for f in features]
    longest = (max(h for h, _ in sides), max(w for _, w in sides))
    plan = make_plan((len(rois), channels), size, width, dtype.itemsize, longest)
    if plan is None:
        raise ValueError(
            f"features: a map of {longest[0]} x {longest[1]} cells and {size[0]} x {size[1]} bins "
            "do not fit in a block's shared memory; use roi_align level by level"
        )
    out = empty((len(rois), channels, *size), dtype, features[0])
    if out.size:
        pyramid = level_arguments([channels_last(f) for f in features], sides, scales)
        most = (longest[0] + SPARE_TAPS * plan.rows, longest[1] + SPARE_TAPS * size[1])
        numbers = (images, channels, *size, ratio, aligned, *plan[:3], *most)
        launch_planned(rung, f"{kernel}_by_{width}", plan, *pyramid, rois, levels, *numbers, out)
    return out


# ------------------------------------------------------------------------------ float16


def forward_half(
    features: Any, rois: Any, *, size: Pair, scale: float, ratio: int, aligned: bool, reduce: str
) -> Any:
    """(N, C, H, W) -> (R, C, PH, PW), both float16; features of another type are rounded first."""
    if reduce == "max":  # a sample is not rounded, the largest is
        wide = features.astype(np.float16).astype(np.float32)
        out = forward_channels_last(
            wide, rois, size=size, scale=scale, ratio=ratio, aligned=aligned, reduce=reduce
        )
        return out.astype(np.float16)
    levels = zeros(len(rois), np.int64, rois)
    options: dict[str, Any] = {"size": size, "scales": (scale,), "ratio": ratio, "aligned": aligned}
    return forward_pyramid_half((features,), rois, levels, **options)


def forward_pyramid_half(
    features: tuple[Any, ...],
    rois: Any,
    levels: Any,
    *,
    size: Pair,
    scales: Sequence[float],
    ratio: int,
    aligned: bool,
) -> Any:
    """As `forward_pyramid_separable`, in float16; features of another type are rounded first."""
    features = tuple(f.astype(np.float16, copy=False) for f in features)
    options: dict[str, Any] = {"size": size, "scales": scales, "ratio": ratio, "aligned": aligned}
    return _forward_levels(HALF, "roi_align_forward_half", 8, features, rois, levels, **options)
