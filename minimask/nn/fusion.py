"""The sequence conv -> norm -> (+ residual) -> ReLU, computed in one pass where the norm allows it.

`conv_norm(conv, norm, x, relu=True)` means `relu(norm(conv(x)))`, in that order, and gives the same
up to rounding.  It is here because three passes over an output cost more than the arithmetic.
"""

from __future__ import annotations

from typing import Any

from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.autograd.hooks import inside
from minimask.nn.layers import BatchNorm2d, Conv2d, FrozenBatchNorm2d
from minimask.nn.module import Module


def conv_norm(
    conv: Conv2d, norm: Module, x: Any, *, residual: Any = None, relu: bool = False
) -> Tensor:
    """First `conv`, then `norm`, then + `residual`, then ReLU if `relu`: the last two if asked for.

    A batch norm with given statistics is a scale and a shift of every channel, and a scaled
    convolution is the convolution with scaled weights:

        scale (weight * x + bias) + shift = (scale weight) * x + (scale bias + shift)

    So it is folded into the weights, in prediction and, where norms are frozen, in training: one
    pass over the output instead of three, and nothing kept in between.  A norm that measures its
    statistics must see the convolution's output first.

    Args:
        conv: the convolution.
        norm: batch norm, trained or frozen, or group norm.
        x: (N, C, H, W).
        residual: (N, C_out, H_out, W_out), or None.
        relu: whether negative values become 0.

    Returns:
        (N, C_out, H_out, W_out).
    """
    if isinstance(norm, FrozenBatchNorm2d) or (isinstance(norm, BatchNorm2d) and not norm.measures):
        scale, bias = norm.scale_shift()
    else:
        result: Tensor = norm(conv(x), residual=residual, relu=relu)
        return result
    with inside(conv):
        weight = conv.weight * ops.reshape(scale, (-1, 1, 1, 1))
        if conv.bias is not None:
            bias = bias + conv.bias * scale
        return F.conv2d(x, weight, bias, residual=residual, relu=relu, **conv.geometry())
