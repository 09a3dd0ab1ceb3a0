"""Max pooling by its definition: every window as a view, and the argmax over it."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minimask.kernels.max_pool2d.windows import Pair, Windows


def max_pool2d(
    x: np.ndarray, *, window: Pair, stride: Pair, padding: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Output = max over the window; argmax = where in the image that was."""
    (ph, pw), (kh, kw) = padding, window
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=-np.inf)
    view = sliding_window_view(padded, window, axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    n, c, out_h, out_w = view.shape[:4]
    flat = view.reshape(n, c, out_h, out_w, kh * kw)
    # padding must lose even against pixels that are -inf themselves
    inside = sliding_window_view(np.pad(np.ones(x.shape[2:], bool), ((ph, ph), (pw, pw))), window)
    inside = inside[:: stride[0], :: stride[1]].reshape(out_h, out_w, kh * kw)
    first_inside = np.broadcast_to(inside.argmax(-1), flat.shape[:-1])
    best = flat.argmax(-1)
    output = np.take_along_axis(flat, best[..., None], -1)[..., 0]
    best = np.where(output == -np.inf, first_inside, best)
    row = np.arange(out_h)[:, None] * stride[0] - ph + best // kw
    column = np.arange(out_w) * stride[1] - pw + best % kw
    return output, (row * x.shape[3] + column).astype(np.int32)


def max_pool2d_backward(
    grad: np.ndarray,
    argmax: np.ndarray,
    *,
    input_shape: tuple[int, ...],
    windows: Windows | None = None,  # argmax says it all
) -> np.ndarray:
    """dx[argmax] += grad, image by image and channel by channel."""
    n, c, h, w = input_shape
    dx = np.zeros((n * c, h * w), grad.dtype)
    planes = np.arange(n * c)[:, None]
    out = grad.shape[2] * grad.shape[3]
    np.add.at(dx, (planes, argmax.reshape(n * c, out)), grad.reshape(n * c, out))
    return dx.reshape(input_shape)
