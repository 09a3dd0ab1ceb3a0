"""Convolution: every output value is a weighted sum of the window of input values under it.

    y[n, k, i, j] = bias[k] + sum over c, u, v of
                    weight[k, c, u, v] x[n, c, i stride - padding + u dilation, ...]

with zeros outside the image.  Deep-learning "convolution" does not flip the window: it is what
signal processing calls correlation.  `conv_transpose2d` is its adjoint: the same weights, run
from output to input.
"""

from __future__ import annotations

import numpy as np

from minimask.kernels import dispatch
from minimask.kernels.conv2d.geometry import Geometry, Pair, geometry, pair
from minimask.kernels.dispatch import Variant
from minimask.kernels.relu import finish

VARIANTS = {
    "reference": Variant("reference", "cpu", "the formula: windows as a view, one sum over them"),
    "im2col": Variant(
        "cpu.im2col", "cpu", "copy all windows into columns, one matrix product each"
    ),
    "cpu": Variant(
        "cpu.compiled", "cpu", "no columns: tiles in cache, sums in vector registers, all cores"
    ),
    "winograd": Variant(
        "cpu.winograd", "cpu", "3x3 at stride 1: a quarter of the products (Winograd)"
    ),
    "grouped": Variant("cpu.grouped", "cpu", "groups of few channels: pixels fill the vectors"),
    "fused": Variant("cpu.fused", "cpu", "bias, sum and ReLU while a tile is still in the cache"),
    "numba_1_direct": Variant("numba.forward_1_direct", "gpu", "one thread a value", by_name=True),
    "numba_2_shared": Variant(
        "numba.forward_2_shared", "gpu", "as cuda_2_shared, in tiles of 8 x 8", by_name=True
    ),
    "numba_3_registers": Variant(
        "numba.forward_3_registers",
        "gpu",
        "as cuda_3_registers, 2 x 4 values a thread",
        by_name=True,
    ),
    "numba_6_grouped": Variant(
        "numba.forward_6_grouped",
        "gpu",
        "as cuda_6_grouped, in patches for 8 x 8 pixels",
        by_name=True,
    ),
    "cuda_1_direct": Variant(
        "cuda.launch", "gpu", "the formula, one thread a value", rung="direct"
    ),
    "cuda_2_shared": Variant(
        "cuda.launch", "gpu", "a matrix product in tiles: operands in shared memory", rung="shared"
    ),
    "cuda_3_registers": Variant(
        "cuda.launch", "gpu", "a thread owns 4 x 8 values, in registers", rung="registers"
    ),
    "cuda_4_vectorized": Variant(
        "cuda.launch",
        "gpu",
        "8 x 8 values, float4, two buffers, tables of offsets",
        rung="vectorized",
    ),
    "cuda_5_tensor_cores": Variant(
        "cuda.launch",
        "gpu",
        "tensor cores, operands rounded to TF32",
        rung="tensor_cores",
        by_name=True,
    ),
    "cuda_6_grouped": Variant(
        "cuda.launch_grouped",
        "gpu",
        "groups of few channels: a patch of the image, all windows on it",
        rung="grouped",
    ),
    "cuda_library": Variant(
        "cuda.launch",
        "gpu",
        "columns, and the product of cuBLAS: the yardstick",
        "library",
        by_name=True,
    ),
}


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    residual: np.ndarray | None = None,
    relu: bool = False,
    variant: str | None = None,
) -> np.ndarray:
    """Slide K learned windows over N images.

    Args:
        x: (N, C, H, W) float32 or float64; N may be 0.
        weight: (K, C / groups, kh, kw), the dtype of x.
        bias: (K,) or None, added to every value of its output channel.
        stride: pixels the window moves per step; this and the next two an int, or a pair
            (vertical, horizontal).
        padding: rows and columns of zeros around the image.
        dilation: pixels between neighboring weights of the window.
        groups: input and output channels are cut into this many parts, each convolved alone.
        residual: (N, K, OH, OW), the dtype of x, added to the result; or None.
        relu: whether a ReLU follows at the end.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        (N, K, OH, OW) with OH = floor((H + 2 padding - dilation (kh - 1) - 1) / stride) + 1.

    Raises:
        ValueError: shapes or options that do not fit; a window larger than the padded image.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    g = _geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    _check_dtypes(x=x, weight=weight, bias=bias, residual=residual)
    _check_bias(bias, g.filters)
    arrays, function = (x, weight, bias), "conv2d"
    if residual is None and not relu:
        return dispatch.call(__name__, VARIANTS, function, *arrays, g=g, variant=variant)
    _check_residual(residual, g.output_shape)
    name = dispatch.choose(__name__, VARIANTS, function, *arrays, residual, variant=variant)
    fused = "conv2d_fused"
    if dispatch.implements(__name__, VARIANTS[name], fused):
        arguments, options = (*arrays, residual), {"relu": relu, "g": g}
        return dispatch.call(__name__, VARIANTS, fused, *arguments, **options, variant=name)
    y = dispatch.call(__name__, VARIANTS, function, *arrays, g=g, variant=name)
    return finish(y, residual, relu)


def conv2d_backward_input(
    grad: np.ndarray,
    weight: np.ndarray,
    input_shape: tuple[int, int, int, int],
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    variant: str | None = None,
) -> np.ndarray:
    """How much the loss changes with every input pixel: grad times weight, over windows on it.

    Args:
        grad: (N, K, OH, OW), the loss's gradient with respect to the output.
        weight: (K, C / groups, kh, kw), the dtype of grad.
        input_shape: (N, C, H, W) of the input; the strides alone do not determine it.
        stride: as in `conv2d`, like all further arguments.
        padding: as in `conv2d`.
        dilation: as in `conv2d`.
        groups: as in `conv2d`.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        (N, C, H, W).

    Raises:
        ValueError: as `conv2d`, or a gradient that is not of the output's shape.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    g = _geometry(input_shape, weight.shape, stride, padding, dilation, groups)
    _check_dtypes(grad=grad, weight=weight)
    _check_grad(grad, g)
    function = "conv2d_backward_input"
    return dispatch.call(__name__, VARIANTS, function, grad, weight, None, g=g, variant=variant)


def conv2d_backward_weight(
    grad: np.ndarray,
    x: np.ndarray,
    weight_shape: tuple[int, int, int, int],
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    variant: str | None = None,
) -> np.ndarray:
    """How much the loss changes with every weight: dw = sum of grad * window over all positions.

    Args:
        grad: (N, K, OH, OW), the loss's gradient with respect to the output.
        x: (N, C, H, W), the input, the dtype of grad.
        weight_shape: (K, C / groups, kh, kw).
        stride: as in `conv2d`, like all further arguments.
        padding: as in `conv2d`.
        dilation: as in `conv2d`.
        groups: as in `conv2d`.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        (K, C / groups, kh, kw); zeros for an empty batch.

    Raises:
        ValueError: as `conv2d`, or a gradient that is not of the output's shape.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    g = _geometry(x.shape, weight_shape, stride, padding, dilation, groups)
    _check_dtypes(grad=grad, x=x)
    _check_grad(grad, g)
    function = "conv2d_backward_weight"
    return dispatch.call(__name__, VARIANTS, function, grad, x, g=g, variant=variant)


def conv2d_backward_bias(grad: np.ndarray, *, variant: str | None = None) -> np.ndarray:
    """How much the loss changes with every bias: the sum of grad over images and positions.

    Args:
        grad: (N, K, OH, OW) float32 or float64, the loss's gradient with respect to the output.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        (K,).

    Raises:
        ValueError: grad is not four-dimensional.
        TypeError: grad is not float32 or float64.
    """
    if grad.ndim != 4:
        raise ValueError(f"grad: expected shape (N, K, OH, OW), got {grad.shape}")
    _check_dtypes(grad=grad)
    return dispatch.call(__name__, VARIANTS, "conv2d_backward_bias", grad, variant=variant)


def conv_transpose2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    relu: bool = False,
    variant: str | None = None,
) -> np.ndarray:
    """Spread every input value over a window of the output: upsampling with learned weights.

    The adjoint of `conv2d` with the same weight, stride and padding, that is
    `sum(conv2d(y, weight) * x) == sum(y * conv_transpose2d(x, weight))`.  So it is computed as the
    input gradient of that convolution, and its own gradients are convolutions:

        dx = conv2d(grad, weight),   dweight = conv2d_backward_weight(x, grad, weight.shape)

    (in the second, `x` stands where the convolution's output gradient stands).

    Args:
        x: (N, C_in, H, W) float32 or float64; N may be 0.
        weight: (C_in, C_out, kh, kw), the dtype of x.  The first axis is the input's.
        bias: (C_out,) or None.
        stride: output pixels per input pixel; an int or a pair (vertical, horizontal).
        padding: rows and columns cut from every side of the output.
        relu: whether a ReLU follows at the end.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        (N, C_out, (H - 1) stride - 2 padding + kh, (W - 1) stride - 2 padding + kw).

    Raises:
        ValueError: shapes or options that do not fit; an output without pixels.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    shape = transposed_shape(x.shape, weight.shape, stride, padding)
    _check_dtypes(x=x, weight=weight, bias=bias)
    _check_bias(bias, weight.shape[1])
    step, border = pair("stride", stride, 1), pair("padding", padding, 0)
    height, width = shape[2:]
    if min(height, width) < 1:
        raise ValueError(
            f"padding: {border} leaves an output of {height}x{width} pixels for x {x.shape} "
            f"and weight {weight.shape}; pad less"
        )
    g = _geometry(shape, weight.shape, step, border, 1, 1)
    arrays, function = (x, weight, bias), "conv2d_backward_input"
    name = dispatch.choose(__name__, VARIANTS, function, *arrays, variant=variant)
    if relu and dispatch.implements(__name__, VARIANTS[name], "conv_transpose2d_fused"):
        return dispatch.call(
            __name__, VARIANTS, "conv_transpose2d_fused", *arrays, relu=relu, g=g, variant=name
        )
    y = dispatch.call(__name__, VARIANTS, function, *arrays, g=g, variant=name)
    return finish(y, None, relu)


def transposed_shape(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: int | Pair = 1,
    padding: int | Pair = 0,
) -> tuple[int, int, int, int]:
    """(N, C_out, H, W) of `conv_transpose2d`; 0 or less where `padding` cuts off all there is.

    Raises:
        ValueError: shapes or options that do not fit.
    """
    if len(input_shape) != 4 or len(weight_shape) != 4 or input_shape[1] != weight_shape[0]:
        raise ValueError(
            "weight: expected shape (C_in, C_out, kh, kw) for x (N, C_in, H, W), "
            f"got {weight_shape} for x {input_shape}"
        )
    step, border = pair("stride", stride, 1), pair("padding", padding, 0)
    height, width = (
        (input_shape[2 + axis] - 1) * step[axis] - 2 * border[axis] + weight_shape[2 + axis]
        for axis in (0, 1)
    )
    return input_shape[0], weight_shape[1], height, width


def _geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: int | Pair,
    padding: int | Pair,
    dilation: int | Pair,
    groups: int,
) -> Geometry:
    # the same few layers come again and again: the checked sizes are remembered by their arguments
    return geometry(
        tuple(input_shape),
        tuple(weight_shape),
        stride=_hashable(stride),
        padding=_hashable(padding),
        dilation=_hashable(dilation),
        groups=groups,
    )


def _hashable(value: int | Pair) -> int | Pair:
    return tuple(value) if isinstance(value, list) else value


def _check_dtypes(**arrays: np.ndarray | None) -> None:
    (first, like), *others = ((name, a) for name, a in arrays.items() if a is not None)
    if like.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{first}: expected float32 or float64, got {like.dtype}; convert with .astype"
        )
    for name, array in others:
        if array.dtype != like.dtype:
            raise TypeError(
                f"{name}: expected {like.dtype} as {first} has, got {array.dtype}; "
                "convert one of them with .astype"
            )


def _check_bias(bias: np.ndarray | None, filters: int) -> None:
    if bias is not None and bias.shape != (filters,):
        raise ValueError(f"bias: expected shape ({filters},), got {bias.shape}")


def _check_residual(residual: np.ndarray | None, shape: tuple[int, ...]) -> None:
    if residual is not None and residual.shape != shape:
        raise ValueError(f"residual: expected the output's shape {shape}, got {residual.shape}")


def _check_grad(grad: np.ndarray, g: Geometry) -> None:
    if grad.shape != g.output_shape:
        raise ValueError(
            f"grad: expected the output's shape {g.output_shape} for an input {g.input_shape} and "
            f"a weight {g.weight_shape}, got {grad.shape}"
        )
