"""Arrays of either device: their module, their memory, and a few functions of them."""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray


def array_module(*arrays: Array) -> Any:
    """`numpy` or `cupy`, whichever the arrays live in.

    Raises:
        TypeError: some live on the CPU and some on the GPU.
    """
    if all([type(a) is np.ndarray for a in arrays]):  # a list: quicker than a generator
        return np
    modules = {type(a).__module__.partition(".")[0] for a in arrays if hasattr(a, "dtype")}
    if modules <= {"numpy"}:
        return np
    if modules == {"cupy"}:
        import cupy

        return cupy
    raise TypeError(
        "inputs must all be on the CPU (numpy) or all on the GPU (cupy), got "
        f"{' and '.join(sorted(modules))}; move them to one device first"
    )


def constant(values: tuple[float, ...], like: Array) -> Array:
    """A short list of numbers as an array of the device and float type of `like`; do not write it.

    Where `like` holds integers, the numbers stay whole all the same: 0.5 would be cut to 0, so they
    are float32, or float64 for integers of more than 16 bits.

    On a GPU it is made once and kept: sending a few bytes there costs as much as a kernel.
    """
    dtype = like.dtype if like.dtype.kind == "f" else np.result_type(like.dtype, np.float32)
    if type(like) is np.ndarray:
        return np.asarray(values, dtype)
    return _kept(tuple(values), dtype, like.device.id)


@functools.lru_cache(256)
def _kept(values: tuple[float, ...], dtype: Any, device: int) -> Array:
    import cupy

    with cupy.cuda.Device(device):
        return cupy.asarray(values, dtype)


def as_contiguous(array: Array) -> Array:
    """The array itself if its elements lie in memory in the order of its axes, else such a copy."""
    return array if array.flags.c_contiguous else array_module(array).ascontiguousarray(array)


def contiguous_on_gpu(array: Array) -> Array:
    """What a kernel is given: on a GPU an array in the order of its axes, as kernels need it there.

    Gradients that come back through a transposition are not.  Kernels on the CPU take an array as
    it is, some of them channels last without a copy.
    """
    return array if type(array) is np.ndarray else as_contiguous(array)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x) of every value, any shape: the probability that a logit stands for.

    Where e^-x is too large for the type (x < -88.7 in float32), 1 / infinity is 0: the true value
    is nearly too small for the type as well.
    """
    with np.errstate(over="ignore"):
        return 1 / (1 + array_module(x).exp(-x))


def sign(x: Array) -> Array:
    """-1, 0 or 1 by the sign of every value; NaN for NaN on either device (CuPy alone says 0)."""
    xp = array_module(x)
    return xp.sign(x) if xp is np else xp.where(x != x, x, xp.sign(x))


def softmax(x: Array, axis: int = -1) -> Array:
    """Probabilities e^x / sum(e^x) along an axis, without overflow for any finite x.

    An infinite or NaN logit makes its whole row NaN, without a warning: NaN passes no threshold.
    """
    with np.errstate(invalid="ignore"):
        y = array_module(x).exp(x - largest(x, axis))
        y /= y.sum(axis=axis, keepdims=True)
    return y


def largest(x: Array, axis: int) -> Array:
    """The maximum along an axis, kept with length 1; 0 where there are no values."""
    return x.max(axis=axis, keepdims=True) if x.size else x.sum(axis=axis, keepdims=True)


def as_arrays(inputs: list[Any], dtype: np.dtype[Any]) -> list[Array]:
    """`inputs` as arrays of one device; numbers adopt `dtype` where that is a float type.

    So `x * 0.5` stays float32 for a float32 `x`, and 0.5 is not rounded for an integer one.  None,
    an optional input, stays None.
    """
    xp = array_module(*inputs)
    arrays = []
    for value in inputs:
        if np.isscalar(value):
            value = xp.asarray(value, dtype if dtype.kind == "f" else None)
        elif value is not None and not hasattr(value, "dtype"):
            value = xp.asarray(value)
        arrays.append(value)
    return arrays


def as_number(name: str, value: Any) -> int | float:
    """A constant as a Python number, which adopts the type of the array it meets.

    NumPy's own scalars do not: a float32 array to the power np.float64(2) is float64.

    Args:
        name: what the number is, for the message.
        value: a number of Python or NumPy, or an array without axes.

    Raises:
        TypeError: anything else.
    """
    is_array = type(value) is np.ndarray or hasattr(value, "__cuda_array_interface__")
    if is_array and value.ndim == 0 and value.dtype.kind in "iuf":
        return value.item()
    if isinstance(value, np.integer | np.floating):
        return value.item()
    if isinstance(value, int | float):
        return value
    raise TypeError(f"{name} must be a number, got {type(value).__name__}")


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum `grad` over the axes along which an array of `shape` was broadcast.

    Adding (3,) to (2, 3) copies the vector twice, so its gradient is the sum of the two copies.
    """
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    stretched = tuple(i + extra for i, n in enumerate(shape) if n == 1)
    return grad.sum(axis=(*range(extra), *stretched), keepdims=True).reshape(shape)
