"""Convolution by its definition: the windows of the image as a view, and one sum over them.

Both gradients follow from the same picture.  The weight's is the same sum over positions instead
of channels.  The input's is a convolution too: grad with zeros between its values (the stride) and
around them, under the flipped windows.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minimask.kernels.conv2d.geometry import Geometry


def windows(x: np.ndarray, g: Geometry) -> np.ndarray:
    """The input under every window, (N, C, OH, OW, kh, kw), a view of the padded images."""
    (ph, pw), (sh, sw), (dh, dw) = g.padding, g.stride, g.dilation
    (oh, ow), (kh, kw) = g.output_size, g.window
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    reach = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    view = sliding_window_view(padded, reach, axis=(2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
    return view[:, :, :oh, :ow]


def conv2d(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """Y = sum over c, u, v of weight[k, c, u, v] window[n, c, i, j, u, v], group by group."""
    parts = [
        np.einsum("ncijuv,kcuv->nkij", window, w, optimize=True)
        for window, w in zip(
            np.split(windows(x, g), g.groups, axis=1),
            np.split(weight, g.groups, axis=0),
            strict=True,
        )
    ]
    y = np.concatenate(parts, axis=1)
    return y if bias is None else y + bias[:, None, None]


def conv2d_backward_weight(grad: np.ndarray, x: np.ndarray, *, g: Geometry) -> np.ndarray:
    """Dw = sum over n, i, j of grad[n, k, i, j] window[n, c, i, j, u, v], group by group."""
    parts = [
        np.einsum("ncijuv,nkij->kcuv", window, d, optimize=True)
        for window, d in zip(
            np.split(windows(x, g), g.groups, axis=1),
            np.split(grad, g.groups, axis=1),
            strict=True,
        )
    ]
    return np.concatenate(parts, axis=0)


def conv2d_backward_bias(grad: np.ndarray) -> np.ndarray:
    """Db = sum over n, i, j of grad[n, k, i, j]."""
    return grad.sum(axis=(0, 2, 3))


def conv2d_backward_input(
    grad: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, g: Geometry
) -> np.ndarray:
    """dx[p] = sum over k, u, v of grad[k, (p + padding - u) / stride] weight[k, c, u, v].

    `bias` (C,) is added to dx: there is none in a gradient, but in a transposed convolution.
    """
    (n, _, h, w), (kh, kw) = g.input_shape, g.window
    reach_h, reach_w = g.dilation[0] * (kh - 1), g.dilation[1] * (kw - 1)
    # one pixel of the spread gradient per pixel of the padded input, and `reach` more around it
    spread = np.zeros(
        (n, g.filters, h + 2 * g.padding[0] + reach_h, w + 2 * g.padding[1] + reach_w), grad.dtype
    )
    end_h = reach_h + g.stride[0] * g.output_size[0]
    end_w = reach_w + g.stride[1] * g.output_size[1]
    spread[:, :, reach_h : end_h : g.stride[0], reach_w : end_w : g.stride[1]] = grad
    view = sliding_window_view(spread, (reach_h + 1, reach_w + 1), axis=(2, 3))
    view = view[..., :: g.dilation[0], :: g.dilation[1]]
    parts = [
        np.einsum("nkijuv,kcuv->ncij", window, kernel[:, :, ::-1, ::-1], optimize=True)
        for window, kernel in zip(
            np.split(view, g.groups, axis=1), np.split(weight, g.groups, axis=0), strict=True
        )
    ]
    padded = np.concatenate(parts, axis=1)
    dx = padded[:, :, g.padding[0] : g.padding[0] + h, g.padding[1] : g.padding[1] + w]
    return dx.copy() if bias is None else dx + bias[:, None, None]
