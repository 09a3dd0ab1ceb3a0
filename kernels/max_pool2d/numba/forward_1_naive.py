"""Max pooling, forward, in Numba-CUDA, twin of forward_1_naive.cu: one thread an output value.

Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

from minimask.kernels.launch import blocks, contiguous, empty, require_float32
from minimask.kernels.max_pool2d.windows import Pair, Windows, output_shape
from minimask.kernels.numba_cuda import cuda, device, jit, launch


@device
def wins(value, best):
    """Whether a value takes the place of the largest so far: it is larger, or the first NaN."""
    return not (value <= best) and best == best


@jit
def max_pool2d_forward_kernel(
    x, window_y, window_x, stride_y, stride_x, padding_y, padding_x, out, argmax
):
    """X (planes, H, W); threads of a warp take neighbors along a row."""
    planes, out_height, out_width = out.shape
    height, width = x.shape[1], x.shape[2]
    t = cuda.grid(1)
    if t >= planes * out_height * out_width:
        return
    plane, k = t // (out_height * out_width), t % (out_height * out_width)
    i, j = k // out_width, k % out_width
    top, left = max(i * stride_y - padding_y, 0), max(j * stride_x - padding_x, 0)
    bottom = min(i * stride_y - padding_y + window_y, height)
    right = min(j * stride_x - padding_x + window_x, width)
    best, winner = x[plane, top, left], top * width + left
    for v in range(top, bottom):
        for u in range(left, right):
            if wins(x[plane, v, u], best):
                best, winner = x[plane, v, u], v * width + u
    out[plane, i, j] = best
    argmax[plane, i, j] = winner


def max_pool2d(x: Any, *, window: Pair, stride: Pair, padding: Pair) -> tuple[Any, Any]:
    """(N, C, H, W) -> output and argmax, (N, C, OH, OW) each."""
    require_float32(x=x)
    shape = output_shape(x.shape, Windows(window, stride, padding))
    out, argmax = empty(shape, x.dtype, x), empty(shape, "int32", x)
    planes = shape[0] * shape[1]
    source = contiguous("x", x).reshape(planes, *x.shape[2:])
    views = out.reshape(planes, *shape[2:]), argmax.reshape(planes, *shape[2:])
    launch(
        max_pool2d_forward_kernel,
        blocks(out.size, 64),
        64,
        source,
        *window,
        *stride,
        *padding,
        *views,
    )
    return out, argmax
