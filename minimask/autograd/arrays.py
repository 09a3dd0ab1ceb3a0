"""Arrays of either device: which module they belong to, and broadcasting undone."""

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
    """A short list of numbers as an array of the device and dtype of `like`; do not write to it.

    On a GPU it is made once and kept: sending a few bytes there costs as much as a kernel.
    """
    if type(like) is np.ndarray:
        return np.asarray(values, like.dtype)
    return _kept(tuple(values), like.dtype, like.device.id)


@functools.lru_cache(256)
def _kept(values: tuple[float, ...], dtype: Any, device: int) -> Array:
    import cupy

    with cupy.cuda.Device(device):
        return cupy.asarray(values, dtype)


def in_order(array: Array) -> Array:
    """What a kernel is given: on a GPU with its elements in order in memory, as kernels need it.

    Gradients that come back through a transposition are not; kernels on the CPU take them as they
    are.
    """
    if type(array) is np.ndarray or array.flags.c_contiguous:
        return array
    return array_module(array).ascontiguousarray(array)


def as_arrays(inputs: list[Any], dtype: np.dtype[Any]) -> list[Array]:
    """`inputs` as arrays of one device; numbers adopt `dtype` where that is a float type.

    So `x * 0.5` stays float32 for a float32 `x`, and 0.5 is not rounded for an integer one.
    """
    xp = array_module(*inputs)
    arrays = []
    for value in inputs:
        if np.isscalar(value):
            value = xp.asarray(value, dtype if dtype.kind == "f" else None)
        elif value is None:
            raise TypeError("an input is None; leave optional inputs out instead")
        elif not hasattr(value, "dtype"):
            value = xp.asarray(value)
        arrays.append(value)
    return arrays


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum `grad` over the axes along which an array of `shape` was broadcast.

    Adding (3,) to (2, 3) copies the vector twice, so its gradient is the sum of the two copies.
    """
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    stretched = tuple(i + extra for i, n in enumerate(shape) if n == 1)
    return grad.sum(axis=(*range(extra), *stretched), keepdims=True).reshape(shape)
