"""RoIAlign over a feature pyramid: its checks, and one call for each level on the CPU.

Letters: N images, C channels, H W height and width of a level, L levels, R regions of interest,
P pooled size (PH rows, PW columns).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minimask.kernels.checks import Shape
from minimask.kernels.dispatch import checks_values


def forward_each(
    forward: Callable[..., np.ndarray],
    features: tuple[np.ndarray, ...],
    rois: np.ndarray,
    levels: np.ndarray,
    *,
    size: tuple[int, int],
    scales: Sequence[float],
    **options: Any,
) -> np.ndarray:
    """L times (N, C, H, W), (R, 5), (R,) -> (R, C, PH, PW): the RoIs of each level together."""
    out = np.zeros((len(rois), features[0].shape[1], *size), features[0].dtype)
    for i, (level, scale) in enumerate(zip(features, scales, strict=True)):
        here = np.flatnonzero(levels == i)
        if len(here):
            out[here] = forward(level, rois[here], size=size, scale=scale, reduce="mean", **options)
    return out


def backward_each(
    backward: Callable[..., np.ndarray],
    grad: np.ndarray,
    rois: np.ndarray,
    levels: np.ndarray,
    *,
    shapes: Sequence[Shape],
    scales: Sequence[float],
    **options: Any,
) -> tuple[np.ndarray, ...]:
    """(R, C, PH, PW), (R, 5), (R,) -> L times (N, C, H, W)."""
    out = []
    for i, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
        here = np.flatnonzero(levels == i)
        out.append(backward(grad[here], rois[here], shape=shape, scale=scale, **options))
    return tuple(out)


def check_pyramid(shapes: Sequence[Shape], scales: Sequence[float], name: str) -> None:
    """ValueError unless there are levels, as many scales, and N and C are the same in all."""
    if not shapes or len(shapes) != len(scales):
        raise ValueError(
            f"{name}: expected one or more levels and as many spatial_scales, got {len(shapes)} "
            f"levels and {len(scales)} scales"
        )
    if len({tuple(shape[:2]) for shape in shapes}) > 1 or any(len(s) != 4 for s in shapes):
        raise ValueError(
            f"{name}: expected levels (N, C, H, W) with the same N and C, got "
            + ", ".join(str(tuple(shape)) for shape in shapes)
        )


def check_levels(levels: np.ndarray, rois: int, count: int) -> np.ndarray:
    """`levels` as (R,) int64.

    Raises:
        ValueError: another shape, or an index that is not one of 0 .. count - 1.
        TypeError: no array of integers.
    """
    if not hasattr(levels, "dtype") or levels.dtype.kind not in "iu":
        kind = levels.dtype if hasattr(levels, "dtype") else type(levels).__name__
        raise TypeError(f"levels: expected an array of integers, one for each RoI, got {kind}")
    if levels.shape != (rois,):
        raise ValueError(f"levels: expected shape ({rois},), one for each RoI, got {levels.shape}")
    if checks_values(levels):
        wrong = (levels < 0) | (levels >= count)
        if wrong.any():
            i = int(wrong.argmax())
            raise ValueError(
                f"levels[{i}]: {int(levels[i])} is not one of the {count} levels (0 to {count - 1})"
            )
    return levels.astype(np.int64, copy=False)
