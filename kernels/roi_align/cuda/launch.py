"""Launches the CUDA C++ rungs 1 to 3, which pool from one map; launch_levels.py the others.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size
(PH rows, PW columns).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minimask.kernels.launch import (
    Program,
    blocks,
    contiguous,
    empty,
    program,
    require_float32,
)
from minimask.kernels.roi_align.cuda.plan import Pair, Plan, make_plan, widest_load

NAIVE = program(__file__, "forward_1_naive.cu")
CHANNELS_LAST = program(__file__, "forward_2_channels_last.cu")
SEPARABLE = program(__file__, "forward_3_separable.cu")
HALF = program(__file__, "forward_3_separable_half.cu")


def forward_naive(
    features: Any, rois: Any, *, size: Pair, scale: float, ratio: int, aligned: bool, reduce: str
) -> Any:
    """(N, C, H, W), (R, 5) -> (R, C, PH, PW)."""
    require_float32(features=features, rois=rois)
    features, rois = contiguous("features", features), contiguous("rois", rois)
    out = empty((len(rois), features.shape[1], *size), np.float32, features)
    options = (*features.shape, *size, scale, ratio, aligned, reduce == "max")
    NAIVE.launch(
        "roi_align_forward", blocks(out.size, 256), 256, features, rois, out.size, *options, out
    )
    return out


# ------------------------------------------------------------------------------ channels last


def channels_last(features: Any) -> Any:
    """(N, C, H, W) -> (N, H, W, C) in this order in memory; what lies so already is not copied."""
    turned = features.transpose(0, 2, 3, 1)
    if turned.shape[2] * turned.shape[3] >= 2**31:
        raise ValueError(
            f"features: a row of {turned.shape[2]} cells with {turned.shape[3]} channels is more "
            "than 2**31 numbers; split the channels into parts"
        )
    if turned.flags.c_contiguous:
        return contiguous("features", turned)
    return _turn(contiguous("features", features))


def _turn(features: Any) -> Any:
    images, channels, height, width = features.shape
    out = empty((images, height, width, channels), features.dtype, features)
    if out.size:
        grid = (blocks(height * width, 32), blocks(channels, 32), images)
        rung = HALF if features.dtype == np.float16 else CHANNELS_LAST
        rung.launch("roi_align_transpose", grid, (32, 8), features, channels, height * width, out)
    return out


def forward_channels_last(
    features: Any, rois: Any, *, size: Pair, scale: float, ratio: int, aligned: bool, reduce: str
) -> Any:
    """(N, C, H, W), (R, 5) -> (R, C, PH, PW)."""
    require_float32(features=features, rois=rois)
    width = widest_load(features.shape[1], 4)
    plan = make_plan((len(rois), features.shape[1]), size, width, 4)
    options: dict[str, Any] = {"size": size, "scale": scale, "ratio": ratio, "aligned": aligned}
    if plan is None:  # rows of bins too long to be staged
        return forward_naive(features, rois, reduce=reduce, **options)
    rois = contiguous("rois", rois)
    out = empty((len(rois), features.shape[1], *size), np.float32, features)
    numbers = (*features.shape, *size, scale, ratio, aligned, reduce == "max", *plan[:3])
    if out.size:
        arrays = (channels_last(features), rois)
        launch_planned(CHANNELS_LAST, f"roi_align_forward_by_{width}", plan, *arrays, *numbers, out)
    return out


def launch_planned(rung: Program, kernel: str, plan: Plan, *arguments: Any) -> None:
    """Launch a kernel that pools, with blocks as planned."""
    rung.launch(kernel, plan.grid, plan.threads, *arguments, shared=plan.shared)


def forward_separable(
    features: Any, rois: Any, *, size: Pair, scale: float, ratio: int, aligned: bool, reduce: str
) -> Any:
    """(N, C, H, W), (R, 5) -> (R, C, PH, PW)."""
    require_float32(features=features, rois=rois)
    width = widest_load(features.shape[1], 4)
    plan = make_plan((len(rois), features.shape[1]), size, width, 4, features.shape[2:])
    options: dict[str, Any] = {"size": size, "scale": scale, "ratio": ratio, "aligned": aligned}
    if plan is None or reduce == "max":  # a maximum has no merged weights
        return forward_channels_last(features, rois, reduce=reduce, **options)
    rois = contiguous("rois", rois)
    out = empty((len(rois), features.shape[1], *size), np.float32, features)
    numbers = (*features.shape, *size, scale, ratio, aligned, *plan[:3])
    if out.size:
        arrays = (channels_last(features), rois)
        launch_planned(SEPARABLE, f"roi_align_forward_by_{width}", plan, *arrays, *numbers, out)
    return out
