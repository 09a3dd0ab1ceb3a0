"""Batch normalization: bring every channel to mean 0 and variance 1, then to a learned range.

    y = weight (x - mean) / sqrt(var + eps) + bias          per channel (Ioffe & Szegedy 2015)

Forward is two calls: `channel_moments`, then `scale_shift` with the scale weight rstd and the shift
bias - mean weight rstd, where rstd = 1 / sqrt(var + eps).  With frozen statistics only the second
is left.
"""

from __future__ import annotations

import numpy as np

from minimask.kernels import dispatch
from minimask.kernels.dispatch import Variant
from minimask.kernels.relu import finish

VARIANTS = {
    "reference": Variant("reference", "cpu", "the formulas, one array operation after another"),
    "cpu": Variant(
        "cpu.compiled", "cpu", "one worker per channel: the sums of a formula in one pass"
    ),
    "numba_1_channels": Variant(
        "numba.rung_1_channels", "gpu", "one block a channel", by_name=True
    ),
    "numba_2_slices": Variant(
        "numba.rung_2_slices",
        "gpu",
        "channels cut into slices, kept by their threads",
        by_name=True,
    ),
    "cuda_1_channels": Variant(
        "cuda.launch", "gpu", "one block a channel, sums of sums in a fixed order", "channels"
    ),
    "cuda_2_slices": Variant(
        "cuda.launch",
        "gpu",
        "channels cut into slices, kept in registers; four values wide",
        "slices",
    ),
}


def channel_moments(x: np.ndarray, *, variant: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of every channel over images and positions.

    Args:
        x: (N, C, H, W) float32 or float64, at least one value per channel.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        mean (C,) and var (C,), the biased variance (divided by N H W), the dtype of x.

    Raises:
        ValueError: x has no values to average.
        TypeError: x is not float32 or float64.
    """
    _check_images("x", x)
    if x.shape[0] * x.shape[2] * x.shape[3] == 0:
        raise ValueError(f"x: the mean over no values is undefined, got shape {x.shape}")
    return dispatch.call(__name__, VARIANTS, "channel_moments", x, variant=variant)


def scale_shift(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    residual: np.ndarray | None = None,
    *,
    relu: bool = False,
    variant: str | None = None,
) -> np.ndarray:
    """y[n, c, i, j] = scale[c] x[n, c, i, j] + shift[c], and what often follows, in one pass.

    Args:
        x: (N, C, H, W) float32 or float64; N may be 0.
        scale: (C,), the dtype of x.
        shift: (C,), the dtype of x.
        residual: (N, C, H, W), the dtype of x, added to the result; or None.
        relu: whether a ReLU follows at the end.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        (N, C, H, W).

    Raises:
        ValueError: scale or shift is not one number per channel; a residual of another shape.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    _check_images("x", x)
    _check_channels(x, scale=scale, shift=shift)
    if residual is not None:
        _check_like("residual", residual, "x", x)
    arrays, function = (x, scale, shift), "scale_shift"
    name = dispatch.choose(__name__, VARIANTS, function, *arrays, residual, variant=variant)
    if VARIANTS[name].device == "cpu":
        arguments = (*arrays, residual)
        return dispatch.call(__name__, VARIANTS, function, *arguments, relu=relu, variant=name)
    return finish(
        dispatch.call(__name__, VARIANTS, function, *arrays, variant=name), residual, relu
    )


def batch_norm_backward(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    *,
    variant: str | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of batch normalization whose mean and variance were taken from x itself.

    With x^ = (x - mean) rstd and means over images and positions,

        dbias = sum of grad,   dweight = sum of grad x^,
        dx = weight rstd (grad - mean of grad - x^ mean of (grad x^)).

    Args:
        grad: (N, C, H, W) float32 or float64, the gradient with respect to the output.
        x: (N, C, H, W), the input, the dtype of grad, like all further arrays.
        weight: (C,).
        mean: (C,), as `channel_moments` returned it.
        rstd: (C,), 1 / sqrt(var + eps).
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        dx (N, C, H, W), dweight (C,), dbias (C,).

    Raises:
        ValueError: shapes that differ.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    _check_images("grad", grad)
    _check_like("x", x, "grad", grad)
    _check_channels(grad, weight=weight, mean=mean, rstd=rstd)
    function = "batch_norm_backward"
    return dispatch.call(__name__, VARIANTS, function, grad, x, weight, mean, rstd, variant=variant)


def _check_images(name: str, x: np.ndarray) -> None:
    if x.ndim != 4:
        raise ValueError(f"{name}: expected shape (N, C, H, W), got {x.shape}")
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected float32 or float64, got {x.dtype}; convert with .astype")


def _check_like(name: str, x: np.ndarray, other: str, like: np.ndarray) -> None:
    if x.shape != like.shape or x.dtype != like.dtype:
        raise ValueError(
            f"{name}: expected the shape and dtype of {other}, {like.shape} {like.dtype}, "
            f"got {x.shape} {x.dtype}"
        )


def _check_channels(x: np.ndarray, **vectors: np.ndarray) -> None:
    for name, vector in vectors.items():
        if vector.shape != (x.shape[1],):
            raise ValueError(
                f"{name}: expected one value per channel, ({x.shape[1]},), got {vector.shape}"
            )
        if vector.dtype != x.dtype:
            raise TypeError(
                f"{name}: expected {x.dtype} as the images have, got {vector.dtype}; "
                "convert with .astype"
            )
