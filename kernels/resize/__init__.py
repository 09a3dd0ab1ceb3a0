"""Resizing images and feature maps: nearest neighbor and bilinear.

Both use the half-pixel rule: pixel i covers [i, i + 1), so output pixel i of H2 has its center at
(i + 0.5) H / H2 of an input of H pixels.
"""

from __future__ import annotations

import numpy as np

from minimask.kernels import dispatch
from minimask.kernels.dispatch import Variant

VARIANTS = {
    "reference": Variant("reference", "cpu", "one matrix per axis: y = A x B'"),
    "cpu": Variant(
        "cpu.compiled", "cpu", "compiled loops: an output value touches at most four pixels"
    ),
    "numba_1_naive": Variant("numba.rung_1_naive", "gpu", "one thread a value", by_name=True),
    "numba_2_planes": Variant(
        "numba.rung_2_planes", "gpu", "a thread keeps its place through many planes", by_name=True
    ),
    "cuda_1_naive": Variant(
        "cuda.launch", "gpu", "one thread a value; gradients are gathered", "naive"
    ),
    "cuda_2_planes": Variant(
        "cuda.launch",
        "gpu",
        "a thread keeps its place through many planes, four values wide",
        "planes",
    ),
}

MODES = ("nearest", "bilinear")


def resize(
    x: np.ndarray,
    size: tuple[int, int],
    *,
    mode: str = "nearest",
    variant: str | None = None,
) -> np.ndarray:
    """Sample images on another grid of pixels that covers the same area.

    "nearest" takes input pixel floor(i H / H2).  "bilinear" blends the two pixels per axis whose
    centers surround (i + 0.5) H / H2; beyond the outermost centers the image continues constant.
    There is no averaging when shrinking (no antialiasing), as in training code of this family.

    Args:
        x: (N, C, H, W) float32 or float64; N may be 0.
        size: (H2, W2) of the output.
        mode: "nearest" or "bilinear".
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        (N, C, H2, W2), the dtype of x.

    Raises:
        ValueError: an unknown mode, a size or an image without pixels.
        TypeError: x is not float32 or float64.
    """
    _check(x, "x", mode)
    height, width = _size("size", size)
    _size("x", x.shape[2:])
    return dispatch.call(
        __name__, VARIANTS, "resize", x, size=(height, width), mode=mode, variant=variant
    )


def resize_backward(
    grad: np.ndarray,
    input_shape: tuple[int, int, int, int],
    *,
    mode: str = "nearest",
    variant: str | None = None,
) -> np.ndarray:
    """How much the loss changes with every input pixel: the adjoint of `resize`.

    Args:
        grad: (N, C, H2, W2) float32 or float64, the gradient with respect to the output.
        input_shape: (N, C, H, W).
        mode: as in `resize`.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        (N, C, H, W), the dtype of grad.

    Raises:
        ValueError: an unknown mode, shapes that do not belong together.
        TypeError: grad is not float32 or float64.
    """
    _check(grad, "grad", mode)
    _size("grad", grad.shape[2:])
    if len(input_shape) != 4 or tuple(input_shape[:2]) != grad.shape[:2]:
        raise ValueError(
            f"input_shape: expected ({grad.shape[0]}, {grad.shape[1]}, H, W) for grad "
            f"{grad.shape}, got {tuple(input_shape)}"
        )
    size = _size("input_shape", input_shape[2:])
    return dispatch.call(
        __name__, VARIANTS, "resize_backward", grad, size=size, mode=mode, variant=variant
    )


def _check(array: np.ndarray, name: str, mode: str) -> None:
    if array.ndim != 4:
        raise ValueError(f"{name}: expected shape (N, C, H, W), got {array.shape}")
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}")
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")


def _size(name: str, size: tuple[int, ...]) -> tuple[int, int]:
    values = tuple(int(v) for v in size)
    if len(values) != 2 or min(values) < 1:
        raise ValueError(f"{name}: expected a height and a width of at least 1, got {tuple(size)}")
    return values[0], values[1]
