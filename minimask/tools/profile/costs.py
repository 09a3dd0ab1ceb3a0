"""What an operation must at least do: multiply-adds, and bytes read and written.

`COSTS` has a line for every operation that multiplies matrices or reads only a part of what it is
given.  An operation without a line counts with the bytes of its inputs and its output; for a new
kind of convolution, say, add its Function's name:

    "ConvReLU": CONVOLUTION,

Letters: N images, C channels, K filters, H W height and width, kh kw window, R regions, P cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Shape: TypeAlias = tuple[int, ...]


class Call(NamedTuple):
    """One call of an operation, without its arrays."""

    name: str  # the Function's class, or the kernel
    inputs: tuple[Shape, ...]
    output: Shape
    options: dict[str, Any]  # numbers, names and tuples of them
    needs: tuple[bool, ...]  # which inputs need a gradient
    itemsize: int = 4  # bytes of one value of the output


Formula: TypeAlias = Callable[[Call], float]


def no_products(call: Call) -> float:
    """Counted as 0: what is done value by value is limited by memory."""
    return 0.0


def convolution(call: Call) -> float:
    """2 N K OH OW (C / groups) kh kw: a multiply-add for every weight at every output value."""
    return 2.0 * math.prod(call.output) * math.prod(call.inputs[1][1:])


def transposed_convolution(call: Call) -> float:
    """2 N C H W K kh kw: a multiply-add for every weight at every input value."""
    return 2.0 * math.prod(call.inputs[0]) * math.prod(call.inputs[1][1:])


def linear(call: Call) -> float:
    """2 R C K: rows (R, C) times a weight (K, C)."""
    return 2.0 * math.prod(call.output) * call.inputs[1][1]


def matrix_product(call: Call) -> float:
    """2 R C K: (R, C) times (C, K)."""
    return 2.0 * math.prod(call.output) * call.inputs[0][-1]


def roi_align(call: Call) -> float:
    """2 R C P P 4 S S: S x S samples a cell, each the weighted sum of 4 pixels.

    With S = 0 each region has its own number of samples, which shapes do not tell: 0.
    """
    return 2.0 * math.prod(call.output) * 4 * int(call.options.get("sampling_ratio", 0)) ** 2


def once_per_gradient(forward: Formula) -> Formula:
    """The forward pass's products again, for each of the first two inputs that needs a gradient."""
    return lambda call: forward(call) * sum(call.needs[:2])


def output_only(call: Call) -> float:
    """As many bytes as are written: the rest of the input is not looked at."""
    return float(math.prod(call.output) * call.itemsize)


def sampled_pixels(call: Call) -> float:
    """Bytes of the pixels sampled, but at most those of all features, which may be far fewer."""
    features = sum(math.prod(s) for s in call.inputs if len(s) == 4) * call.itemsize
    ratio = int(call.options.get("sampling_ratio", 0))
    return float(min(features, 4 * ratio**2 * output_only(call)) if ratio else features)


def plain_name(call: Call) -> str:
    """The operation's own name."""
    return call.name


def with_window(call: Call) -> str:
    """Name, window and stride: "Conv2d 3x3 s1"; other strides than 1 have other kernels."""
    kh, kw = call.inputs[1][2:4]
    stride = call.options.get("stride", 1)
    steps = stride if isinstance(stride, tuple) else (stride,)
    return f"{call.name} {kh}x{kw} s{max(steps)}"


@dataclass(frozen=True)
class Cost:
    """The formulas of one kind of operation."""

    forward: Formula = no_products  # FLOP: twice the multiply-adds
    backward: Formula = no_products
    reads: Formula | None = None  # bytes of the forward pass; None: all inputs
    label: Callable[[Call], str] = plain_name  # the row it is counted in
    overwrites: tuple[int, ...] = ()  # inputs that it writes its results into


CONVOLUTION = Cost(convolution, once_per_gradient(convolution), label=with_window)
ROI_ALIGN = Cost(roi_align, roi_align, reads=sampled_pixels)

COSTS: dict[str, Cost] = {
    "Conv2d": CONVOLUTION,
    "ConvTranspose2d": Cost(
        transposed_convolution, once_per_gradient(transposed_convolution), label=with_window
    ),
    "Linear": Cost(linear, once_per_gradient(linear)),
    "MatMul": Cost(matrix_product, once_per_gradient(matrix_product)),
    "RoIAlign": ROI_ALIGN,
    "RoIAlignLevels": ROI_ALIGN,
    "GetItem": Cost(reads=output_only),
    "sgd_step (kernel)": Cost(overwrites=(0, 2)),
    "adamw_step (kernel)": Cost(overwrites=(0, 2, 3)),
}
BYTES_ONLY = Cost()


def cost_of(call: Call) -> Cost:
    """The formulas for a call; an unknown operation has bytes only."""
    return COSTS.get(call.name, BYTES_ONLY)
