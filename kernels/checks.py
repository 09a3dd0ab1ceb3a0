"""Checks of arguments that several operations share; the argument's name always comes first.

Each gives back what it was given in the form that kernels take, or says what is wrong with it.

Letters: N images, C channels, H W height and width, R boxes or regions of interest (RoIs), P pooled
size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minimask.kernels.dispatch import checks_values

Shape = tuple[int, int, int, int]  # (N, C, H, W) of the features


def as_float(name: str, array: np.ndarray) -> np.ndarray:
    """`array` as float32 or float64: integers and bool in the smallest of the two that holds them.

    Raises:
        TypeError: no array, or one of complex numbers, text or objects.
    """
    if not hasattr(array, "dtype"):
        raise TypeError(
            f"{name}: expected an array, got {type(array).__name__}; "
            "convert it first, e.g. with numpy.asarray(..., dtype=numpy.float32)"
        )
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected floating-point numbers or integers, got {array.dtype}")
    dtype = np.result_type(array.dtype, np.float32)
    return array.astype(np.float64 if dtype.itemsize > 4 else np.float32, copy=False)


def check_boxes(name: str, boxes: np.ndarray) -> np.ndarray:
    """`boxes` as (R, 4) of float32 or float64; `name` is the argument's, for the message.

    Raises:
        ValueError: another shape.
        TypeError: no array, or one of complex numbers, text or objects.
    """
    boxes = as_float(name, boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        hint = "; a single box needs a leading axis: box[None]" if boxes.shape == (4,) else ""
        raise ValueError(f"{name}: expected shape (R, 4), got {boxes.shape}{hint}")
    return boxes


def check_features(features: np.ndarray) -> np.ndarray:
    """`features` as (N, C, H, W) of float32 or float64; masks of bool or small integers too.

    Raises:
        ValueError: another shape, or images without a pixel.
        TypeError: no array, or one of complex numbers, text or objects.
    """
    features = as_float("features", features)
    if features.ndim != 4:
        hint = "; a stack of masks needs a channel axis: masks[:, None]"
        raise ValueError(
            f"features: expected shape (N, C, H, W), got {features.shape}"
            + (hint if features.ndim == 3 else "")
        )
    if 0 in features.shape[2:]:
        raise ValueError(f"features: expected images of at least 1 x 1, got {features.shape}")
    return features


def check_rois(rois: np.ndarray, images: int) -> np.ndarray:
    """`rois` as (R, 5) of float32 or float64: the index of an image, and a box in it.

    On a GPU, looking at the indices means waiting for them; inside `unchecked()` nobody does, and
    a kernel treats a RoI of no image as one without samples.

    Raises:
        ValueError: another shape, or an image index that is not one of 0 .. images - 1.
        TypeError: no array, or one of complex numbers, text or objects.
    """
    rois = as_float("rois", rois)
    if rois.ndim != 2 or rois.shape[1] != 5:
        hint = "; put the image's index before each box" if rois.shape[-1:] == (4,) else ""
        raise ValueError(
            f"rois: expected shape (R, 5), image index x0 y0 x1 y1, got {rois.shape}{hint}"
        )
    index = rois[:, 0]
    if not checks_values(index):
        return rois
    wrong = ~((index >= 0) & (index < images) & (index == np.floor(index)))  # NaN is wrong too
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"rois[{i}]: image index {float(index[i]):g} is not one of the {images} images "
            f"(0 to {images - 1}); the columns are image index, x0, y0, x1, y1"
        )
    return rois


def check_size(output_size: int | tuple[int, int]) -> tuple[int, int]:
    """The pooled size as a pair (PH, PW).

    Raises:
        ValueError: not a positive integer or a pair of them.
    """
    pair = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    if len(pair) != 2 or any(int(side) != side or side < 1 for side in pair):
        raise ValueError(
            f"output_size: expected an integer >= 1 or a pair (height, width), got {output_size}"
        )
    return int(pair[0]), int(pair[1])


def check_scale(spatial_scale: float) -> float:
    """`spatial_scale` as a Python float.

    Raises:
        ValueError: not positive and finite.
    """
    if not (math.isfinite(spatial_scale) and spatial_scale > 0):
        raise ValueError(
            f"spatial_scale: expected a positive number, feature cells per box unit such as 1/16, "
            f"got {spatial_scale}"
        )
    return float(spatial_scale)


def check_shape(input_shape: Sequence[int]) -> Shape:
    """The features' shape (N, C, H, W) as a tuple of Python integers.

    Raises:
        ValueError: not four sides, or images without a pixel.
    """
    shape = tuple(int(side) for side in input_shape)
    if len(shape) != 4 or min(shape) < 0 or 0 in shape[2:]:
        raise ValueError(
            f"input_shape: expected (N, C, H, W) of the features with H, W >= 1, got {shape}"
        )
    return shape[0], shape[1], shape[2], shape[3]


def check_grad(grad: np.ndarray, rois: int, shape: Shape) -> np.ndarray:
    """`grad` as (R, C, PH, PW) float that fits the RoIs and the features' shape.

    Raises:
        ValueError: the shapes do not fit together.
        TypeError: no array, or one of complex numbers, text or objects.
    """
    grad = as_float("grad", grad)
    if grad.ndim != 4 or grad.shape[:2] != (rois, shape[1]) or 0 in grad.shape[2:]:
        raise ValueError(
            f"grad: expected shape ({rois}, {shape[1]}, PH, PW), the RoIs and the channels "
            f"of the features, got {grad.shape}"
        )
    return grad
