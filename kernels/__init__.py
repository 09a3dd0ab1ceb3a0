"""The operations Mask R-CNN is made of, each as a ladder of implementations.

Every operation has a folder: `reference.py` is NumPy that looks like the formula, `cpu.py` is
compiled and parallel.  The arrays decide the device, `variant=` or `using(...)` the rung.
Importing this package compiles nothing and needs neither Numba nor a GPU.
"""

from __future__ import annotations

if __name__ == "kernels":
    raise ImportError(
        "this folder is the package `minimask.kernels`: run `pip install -e .` and import that"
    )

# An operation and its folder may share a name, and `minimask.kernels.nms` is to be the function.
# Importing a submodule binds its name to the module, once; the lines below then bind the function
# for good.  They are cheap: an operation's own imports wait until it runs.
from minimask.kernels.batch_norm import batch_norm_backward, channel_moments, scale_shift
from minimask.kernels.box_iou import best_overlaps, box_iou
from minimask.kernels.conv2d import (
    conv2d,
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv_transpose2d,
)
from minimask.kernels.dispatch import Variant, unchecked, using
from minimask.kernels.max_pool2d import max_pool2d, max_pool2d_backward
from minimask.kernels.nms import batched_nms, batched_nms_padded, nms
from minimask.kernels.optimizer import adamw_step, sgd_step
from minimask.kernels.relu import relu, relu_backward
from minimask.kernels.resize import resize, resize_backward
from minimask.kernels.roi_align import (
    roi_align,
    roi_align_backward,
    roi_align_levels,
    roi_align_levels_backward,
)
from minimask.kernels.roi_pool import roi_pool, roi_pool_backward

OPERATIONS = {
    "box_iou": ("box_iou", "best_overlaps"),
    "nms": ("nms", "batched_nms", "batched_nms_padded"),
    "roi_pool": ("roi_pool", "roi_pool_backward"),
    "roi_align": (
        "roi_align",
        "roi_align_backward",
        "roi_align_levels",
        "roi_align_levels_backward",
    ),
    "conv2d": (
        "conv2d",
        "conv2d_backward_input",
        "conv2d_backward_weight",
        "conv2d_backward_bias",
        "conv_transpose2d",
    ),
    "max_pool2d": ("max_pool2d", "max_pool2d_backward"),
    "relu": ("relu", "relu_backward"),
    "resize": ("resize", "resize_backward"),
    "batch_norm": ("channel_moments", "scale_shift", "batch_norm_backward"),
    "optimizer": ("sgd_step", "adamw_step"),
}

__all__ = [
    "OPERATIONS",
    "Variant",
    "adamw_step",
    "batch_norm_backward",
    "batched_nms",
    "batched_nms_padded",
    "best_overlaps",
    "box_iou",
    "channel_moments",
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv_transpose2d",
    "max_pool2d",
    "max_pool2d_backward",
    "nms",
    "relu",
    "relu_backward",
    "resize",
    "resize_backward",
    "roi_align",
    "roi_align_backward",
    "roi_align_levels",
    "roi_align_levels_backward",
    "roi_pool",
    "roi_pool_backward",
    "scale_shift",
    "sgd_step",
    "unchecked",
    "using",
]
