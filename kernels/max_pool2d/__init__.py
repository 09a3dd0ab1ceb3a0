"""Max pooling: the largest value of every window, and where it was."""

from __future__ import annotations

import numpy as np

from minimask.kernels import dispatch
from minimask.kernels.dispatch import Variant
from minimask.kernels.max_pool2d.windows import Pair, Windows, output_shape

VARIANTS = {
    "reference": Variant("reference", "cpu", "windows as a view, argmax over each"),
    "cpu": Variant(
        "cpu.compiled", "cpu", "compiled loops over the windows, workers share the channels"
    ),
    "numba_1_naive": Variant("numba.forward_1_naive", "gpu", "one thread an output", by_name=True),
    "numba_2_strips": Variant(
        "numba.forward_2_strips", "gpu", "one thread a strip of four neighbors", by_name=True
    ),
    "numba_backward_1_atomic": Variant(
        "numba.backward_1_atomic", "gpu", "one thread an output, atomic additions", by_name=True
    ),
    "numba_backward_2_gather": Variant(
        "numba.backward_2_gather", "gpu", "one thread a pixel asks its windows", by_name=True
    ),
    "numba_backward_3_strips": Variant(
        "numba.backward_3_strips", "gpu", "one thread a strip of four neighbors", by_name=True
    ),
    "cuda_1_naive": Variant("cuda.launch", "gpu", "one thread an output", rung="naive"),
    "cuda_2_strips": Variant(
        "cuda.launch",
        "gpu",
        "one thread a strip of four neighbors, windows of 3x3 from registers, float4 writes",
        rung="strips",
    ),
    "cuda_backward_1_atomic": Variant(
        "cuda.launch_backward",
        "gpu",
        "one thread an output, which adds atomically, in any order",
        rung="atomic",
    ),
    "cuda_backward_2_gather": Variant(
        "cuda.launch_backward",
        "gpu",
        "one thread a pixel asks its windows; no atomics, the same bits in every run",
        rung="gather",
    ),
    "cuda_backward_3_strips": Variant(
        "cuda.launch_backward",
        "gpu",
        "one thread a strip of four neighbors, which looks once at every window, float4 writes",
        rung="strips",
    ),
}


def max_pool2d(
    x: np.ndarray,
    kernel_size: int | Pair,
    *,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    variant: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink an image by keeping the largest value of every window.

    Padding counts as minus infinity, so it is never chosen.  NaN is larger than everything: a
    window that holds one gives NaN.  Of equal values the first wins, row by row.

    Args:
        x: (N, C, H, W) float32 or float64; N may be 0.
        kernel_size: the window, an int or a pair (vertical, horizontal).
        stride: pixels the window moves per step; default: the window's size.
        padding: rows and columns around the image, at most half the window.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        output (N, C, OH, OW) with OH = floor((H + 2 padding - kernel_size) / stride) + 1, and
        argmax (N, C, OH, OW) int32, where in its H x W image each value was, `row * W + column`.

    Raises:
        ValueError: an option out of range, a window larger than the padded image.
        TypeError: x is not float32 or float64.
    """
    if x.ndim != 4:
        raise ValueError(f"x: expected shape (N, C, H, W), got {x.shape}")
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"x: expected float32 or float64, got {x.dtype}; convert with .astype")
    window, step, border = _windows(kernel_size, stride, padding)
    for axis in (0, 1):
        if border[axis] > window[axis] // 2:
            raise ValueError(
                f"padding: expected at most half of kernel_size {window}, got {border}; "
                "a window must hold a pixel of the image"
            )
        if x.shape[2 + axis] + 2 * border[axis] < window[axis] or x.shape[2 + axis] < 1:
            raise ValueError(
                f"kernel_size: {window} is larger than x of {x.shape[2]}x{x.shape[3]} with "
                f"padding {border}; pad more or use a larger image"
            )
    return dispatch.call(
        __name__,
        VARIANTS,
        "max_pool2d",
        x,
        window=window,
        stride=step,
        padding=border,
        variant=variant,
    )


def max_pool2d_backward(
    grad: np.ndarray,
    argmax: np.ndarray,
    input_shape: tuple[int, int, int, int],
    kernel_size: int | Pair | None = None,
    *,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    variant: str | None = None,
) -> np.ndarray:
    """How much the loss changes with every input pixel: each value's gradient goes to its maximum.

    The result does not depend on the windows once `argmax` is known, and they may be left out.
    On a GPU they save time, since each pixel then collects its gradients from the windows that
    contain it, in one order.  Without them gradients are added by atomics, in an order, and so
    with rounding errors, that vary from run to run.

    Args:
        grad: (N, C, OH, OW) float32 or float64, the gradient with respect to the output.
        argmax: (N, C, OH, OW) integer, as `max_pool2d` returned it.
        input_shape: (N, C, H, W).
        kernel_size: the window, as given to `max_pool2d`; None: not known.
        stride: likewise; default: the window's size.
        padding: likewise.
        variant: a rung of `VARIANTS`; default: the fastest.

    Returns:
        (N, C, H, W), the dtype of grad.

    Raises:
        ValueError: shapes that do not belong together, windows that do not fit them.
        TypeError: grad is not float32 or float64, or argmax is not an integer array.
    """
    if grad.dtype not in (np.float32, np.float64):
        raise TypeError(f"grad: expected float32 or float64, got {grad.dtype}")
    if argmax.dtype.kind != "i":
        raise TypeError(f"argmax: expected the integers max_pool2d returned, got {argmax.dtype}")
    if grad.ndim != 4 or argmax.shape != grad.shape:
        raise ValueError(
            f"argmax: expected grad's shape (N, C, OH, OW), got {argmax.shape} for {grad.shape}"
        )
    pixels = input_shape[2] * input_shape[3]
    if argmax.size and dispatch.checks_values(argmax):
        if not (argmax.min() >= 0 and argmax.max() < pixels):
            raise ValueError(
                f"argmax: expected pixels of the {input_shape[2]} x {input_shape[3]} image, 0 to "
                f"{pixels - 1}, got {int(argmax.min())} to {int(argmax.max())}; is input_shape "
                "that of x?"
            )
    if len(input_shape) != 4 or tuple(input_shape[:2]) != grad.shape[:2]:
        raise ValueError(
            f"input_shape: expected ({grad.shape[0]}, {grad.shape[1]}, H, W) for grad "
            f"{grad.shape}, got {tuple(input_shape)}"
        )
    shape = tuple(int(n) for n in input_shape)
    windows = None
    if kernel_size is not None:
        windows = _windows(kernel_size, stride, padding)
        if output_shape(shape, windows) != grad.shape:
            raise ValueError(
                f"kernel_size: {windows.size} with stride {windows.stride} and padding "
                f"{windows.padding} makes {output_shape(shape, windows)} of {shape}, but grad is "
                f"{grad.shape}; give what max_pool2d was given"
            )
    return dispatch.call(
        __name__,
        VARIANTS,
        "max_pool2d_backward",
        grad,
        argmax,
        input_shape=shape,
        windows=windows,
        variant=variant,
    )


def _windows(kernel_size: int | Pair, stride: int | Pair | None, padding: int | Pair) -> Windows:
    window = _pair("kernel_size", kernel_size, 1)
    step = window if stride is None else _pair("stride", stride, 1)
    return Windows(window, step, _pair("padding", padding, 0))


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    values = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(values) != 2 or any(v != int(v) or v < least for v in values):
        raise ValueError(f"{name}: expected an int or a pair of ints >= {least}, got {value!r}")
    return int(values[0]), int(values[1])
