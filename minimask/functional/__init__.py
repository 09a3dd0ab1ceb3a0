"""The layers and losses of Mask R-CNN as operations on Tensors.

Shapes: N images, C channels, H W height and width, R boxes, K classes, P pooled size.  The work
is done by `minimask.kernels`; here each kernel meets its gradient.
"""

from minimask.autograd.ops import log_softmax, sigmoid, softmax
from minimask.functional.activation import relu
from minimask.functional.convolution import conv2d, conv_transpose2d, linear, max_pool2d, resize
from minimask.functional.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    generalized_iou_loss,
    sigmoid_focal_loss,
    smooth_l1,
)
from minimask.functional.normalization import batch_norm, batch_norm_train, group_norm
from minimask.functional.roi_ops import roi_align, roi_align_levels, roi_pool, roi_warp
from minimask.functional.smooth_activation import hard_sigmoid, hard_swish, silu

__all__ = [
    "batch_norm",
    "batch_norm_train",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "generalized_iou_loss",
    "group_norm",
    "hard_sigmoid",
    "hard_swish",
    "linear",
    "log_softmax",
    "max_pool2d",
    "relu",
    "resize",
    "roi_align",
    "roi_align_levels",
    "roi_pool",
    "roi_warp",
    "sigmoid",
    "sigmoid_focal_loss",
    "silu",
    "smooth_l1",
    "softmax",
]
