"""The real model, run without its arithmetic: kernels return arrays of the right shape at once.

Everything else is as always: modules call one another, operations are recorded, the backward pass
walks the graph and lets go of what it used.  An array of a dry run holds one number, which all its
elements share; what is small is computed with it.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
from numba import get_num_threads

from minimask.autograd.hooks import Hook
from minimask.tools.info.memory import Memory
from minimask.tools.profile.observer import arrays_in, owner

LARGE = 2**16  # bytes: a result that was computed all the same is replaced by a stand-in

Shape: TypeAlias = tuple[int, ...]
# From a kernel's arrays and options to its result, which `make(shape, dtype)` makes.
Rule: TypeAlias = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


def _winograd_fits(geometry: Any, dtype: Any) -> bool:
    """Whether the CPU takes Winograd's form; loaded when a convolution runs, as dispatch does."""
    form = importlib.import_module("minimask.kernels.conv2d.cpu.winograd")
    return bool(form.fits(geometry, dtype))


def _like_first(make: Callable[..., Any], arrays: tuple[Any, ...], _: dict[str, Any]) -> Any:
    return make(arrays[0].shape, arrays[0].dtype)


def _conv(attribute: str) -> Rule:
    return lambda make, arrays, options: make(getattr(options["g"], attribute), arrays[0].dtype)


def _bias(make: Callable[..., Any], arrays: tuple[Any, ...], _: dict[str, Any]) -> Any:
    return make(arrays[0].shape[1:2], arrays[0].dtype)


def _pooled(make: Callable[..., Any], arrays: tuple[Any, ...], options: dict[str, Any]) -> Any:
    n, c, *sides = arrays[0].shape
    numbers = zip(sides, options["window"], options["stride"], options["padding"], strict=True)
    shape = (n, c, *((side + 2 * p - k) // s + 1 for side, k, s, p in numbers))
    return make(shape, arrays[0].dtype), make(shape, np.int32)


def _input_shape(make: Callable[..., Any], arrays: tuple[Any, ...], options: Any) -> Any:
    return make(options["input_shape"], arrays[0].dtype)


def _resized(make: Callable[..., Any], arrays: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return make((*arrays[0].shape[:2], *options["size"]), arrays[0].dtype)


def _moments(make: Callable[..., Any], arrays: tuple[Any, ...], _: dict[str, Any]) -> Any:
    return tuple(make(arrays[0].shape[1:2], arrays[0].dtype) for _ in range(2))


def _norm_backward(make: Callable[..., Any], arrays: tuple[Any, ...], _: dict[str, Any]) -> Any:
    grad = arrays[0]
    vectors = (make(grad.shape[1:2], grad.dtype) for _ in range(2))
    return (make(grad.shape, grad.dtype), *vectors)


def _nothing(make: Callable[..., Any], arrays: tuple[Any, ...], _: dict[str, Any]) -> Any:
    return None


KERNELS: dict[str, Rule] = {
    "conv2d": _conv("output_shape"),
    "conv2d_fused": _conv("output_shape"),
    "conv2d_backward_input": _conv("input_shape"),
    "conv2d_backward_weight": _conv("weight_shape"),
    "conv2d_backward_bias": _bias,
    "conv_transpose2d": _conv("input_shape"),
    "conv_transpose2d_fused": _conv("input_shape"),
    "max_pool2d": _pooled,
    "max_pool2d_backward": _input_shape,
    "resize": _resized,
    "resize_backward": _resized,
    "relu": _like_first,
    "relu_backward": _like_first,
    "scale_shift": _like_first,
    "scale_shift_fused": _like_first,
    "channel_moments": _moments,
    "batch_norm_backward": _norm_backward,
    "sgd_step": _nothing,
    "adamw_step": _nothing,
}


def _rows(arrays: list[Any], options: dict[str, Any]) -> Shape:
    return (*arrays[0].shape[:-1], arrays[1].shape[0])


def _product(arrays: list[Any], options: dict[str, Any]) -> Shape:
    a, b = arrays
    return (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])


def _square(options: dict[str, Any]) -> Shape:
    size = options["output_size"]
    return tuple(size) if isinstance(size, tuple | list) else (size, size)


def _regions(arrays: list[Any], options: dict[str, Any]) -> Shape:
    return (len(arrays[1]), arrays[0].shape[1], *_square(options))


def _regions_of_levels(arrays: list[Any], options: dict[str, Any]) -> Shape:
    return (len(arrays[0]), arrays[2].shape[1], *_square(options))


# Operations that are not run at all: the shape of their result, and which inputs they save.
OPERATIONS: dict[str, tuple[Callable[[list[Any], dict[str, Any]], Shape], tuple[int, ...]]] = {
    "Linear": (_rows, (0, 1)),
    "MatMul": (_product, (0, 1)),
    "GroupNorm": (lambda arrays, _: arrays[0].shape, (0, 1)),  # its own form of x is as large
    "RoIAlign": (_regions, (1,)),
    "RoIPool": (_regions, (1,)),
    "RoIAlignLevels": (_regions_of_levels, (0, 1)),
}
PASSES = {"GroupNorm": 2}  # more arrays as large as the result, for a moment


class DryRun(Hook):
    """Inside `with hooked(DryRun()) as dry:` nothing large is computed.

    Attributes:
        memory: of the arrays that there would be.
    """

    def __init__(self, parameters: Iterable[Any] = ()) -> None:
        """Count the gradients of these parameters as they come, too."""
        self.memory = Memory()
        self._parameters = list(parameters)

    def kernel(self, name: str, run: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
        """The result's shape in place of the result, of kernels that have a rule."""
        if "g" in options:
            self._scratch(name, arrays, options["g"])
        if name in KERNELS:
            return KERNELS[name](self.memory.stand_in, arrays, options)
        result = super().kernel(name, run, *arrays, **options)
        for array in arrays_in(result):
            self.memory.see(array)
        return result

    def forward(self, ctx: Any, arrays: list[Any], options: dict[str, Any]) -> Any:
        """Run an operation with such kernels, or take its result's shape from its rule."""
        name = ctx.fn.__name__
        if name not in OPERATIONS:
            return self._without_values(ctx, super().forward(ctx, arrays, options), arrays)
        shape, saved = OPERATIONS[name]
        floats = next(a for a in reversed(arrays) if a is not None and a.dtype.kind == "f")
        out = self.memory.stand_in(shape(arrays, options), floats.dtype)
        self.memory.spike(PASSES.get(name, 0) * out.nbytes)
        # the shapes are for `backward`: inputs that are not kept are not needed for it
        ctx.save(*(arrays[i] for i in saved), [None if a is None else a.shape for a in arrays])
        return out

    def backward(self, ctx: Any, grad: Any) -> Any:
        """Gradients of the inputs' shapes."""
        self.memory.see(grad)  # a sum that the walk made
        grads = (p.grad for p in self._parameters)
        self.memory.spike(sum(g.nbytes for g in grads if g is not None))
        if ctx.fn.__name__ not in OPERATIONS:
            out = super().backward(ctx, grad)
            for array in arrays_in(out):
                self.memory.see(array)
            return out
        shapes = ctx.saved[-1]
        return tuple(
            self.memory.stand_in(shape, grad.dtype) if needed else None
            for shape, needed in zip(shapes, ctx.needs_grad, strict=True)
        )

    def _without_values(self, ctx: Any, out: Any, inputs: list[Any]) -> Any:
        """Stand-ins for the large arrays that NumPy made in an operation: results and saved."""
        known = {id(owner(a)) for a in inputs if a is not None}
        made: dict[int, np.ndarray] = {}

        def replaced(array: Any) -> Any:
            if not isinstance(array, np.ndarray):
                return array
            real = owner(array)
            if real.nbytes < LARGE or id(real) in known or self.memory.knows(real):
                return array
            if id(real) not in made:
                made[id(real)] = self.memory.stand_in((math.prod(real.shape),), real.dtype)
            cell = owner(made[id(real)])
            return np.ndarray(array.shape, array.dtype, cell, strides=(0,) * array.ndim)

        if isinstance(ctx._saved, tuple):
            ctx._saved = tuple(replaced(value) for value in ctx._saved)
        return replaced(out)

    def _scratch(self, name: str, arrays: tuple[Any, ...], g: Any) -> None:
        """Working memory that the compiled convolutions keep (kernels/conv2d/cpu).

        They lay out filters anew, for the gradient of filters the gradient of the output;
        Winograd's form has 36 numbers for the 9 of a filter, for its gradient each worker its own.
        """
        weight = math.prod(g.weight_shape) * arrays[0].itemsize
        winograd = _winograd_fits(g, arrays[0].dtype)
        if name == "conv2d_backward_weight":
            use, size = ("sums", 4 * weight * get_num_threads()), ("packed", arrays[0].nbytes)
            self.memory.keep(*(use if winograd else size))
            return
        self.memory.keep("packed", weight)
        if winograd:
            self.memory.keep("filters", 4 * weight)
