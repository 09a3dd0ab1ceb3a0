"""Where a convolution's window stands: the sizes and steps that every variant shares.

Letters: N images, C input channels, K output channels, G groups, H W height and width of the
input, OH OW of the output, kh kw of the window.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """Sizes of one convolution, checked: the window fits, the channels divide into the groups."""

    images: int
    channels: int
    size: Pair  # H, W
    filters: int
    window: Pair  # kh, kw
    output_size: Pair  # OH, OW
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return (self.images, self.channels, *self.size)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(K, C / G, kh, kw)."""
        return (self.filters, self.channels // self.groups, *self.window)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(N, K, OH, OW)."""
        return (self.images, self.filters, *self.output_size)

    @property
    def inner(self) -> int:
        """Products per output value: C / G * kh * kw."""
        return self.channels // self.groups * self.window[0] * self.window[1]

    @property
    def is_pointwise(self) -> bool:
        """A 1x1 window at every pixel: a matrix product of channels, nothing to gather."""
        return self.window == self.stride == (1, 1) and self.padding == (0, 0)


def pair(name: str, value: Any, least: int) -> Pair:
    """An int or a pair of ints, both at least `least`, as (vertical, horizontal)."""
    values = tuple(value) if isinstance(value, tuple | list) else (value, value)
    try:
        vertical, horizontal = (int(v) for v in values)
    except (TypeError, ValueError):
        vertical = horizontal = least - 1
    if min(vertical, horizontal) < least or (vertical, horizontal) != values:
        raise ValueError(f"{name}: expected an int or a pair of ints >= {least}, got {value!r}")
    return vertical, horizontal


@functools.lru_cache(maxsize=1024)
def geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    *,
    stride: int | Pair,
    padding: int | Pair,
    dilation: int | Pair,
    groups: int,
) -> Geometry:
    """The sizes of a convolution of `input_shape` (N, C, H, W) by `weight_shape` (K, C/G, kh, kw).

    Raises:
        ValueError: an option out of range, shapes that do not fit, a window larger than the
            padded input.
    """
    images, channels, *size = _four("x", "(N, C, H, W)", input_shape)
    filters, depth, *window = _four("weight", "(K, C / groups, kh, kw)", weight_shape)
    if not isinstance(groups, int | np.integer) or groups < 1:
        raise ValueError(f"groups: expected an int >= 1, got {groups!r}")
    if channels % groups or filters % groups:
        raise ValueError(
            f"groups: {groups} must divide the {channels} channels of x and the {filters} filters"
        )
    if depth * groups != channels:
        raise ValueError(
            f"weight: expected shape (K, {channels // groups}, kh, kw) for x of {channels} "
            f"channels and groups={groups}, got {tuple(weight_shape)}"
        )
    if min(window) < 1:
        raise ValueError(f"weight: the window must be at least 1x1, got {tuple(weight_shape)}")
    steps, border, spread = (
        pair("stride", stride, 1),
        pair("padding", padding, 0),
        pair("dilation", dilation, 1),
    )
    output_size = []
    for axis, length in enumerate(size):
        reach = spread[axis] * (window[axis] - 1) + 1
        padded = length + 2 * border[axis]
        if reach > padded or length < 1:
            raise ValueError(
                f"weight: a {window[0]}x{window[1]} window with dilation {spread} is larger than "
                f"x of {size[0]}x{size[1]} with padding {border}; pad more or use a larger image"
            )
        output_size.append((padded - reach) // steps[axis] + 1)
    return Geometry(
        images=images,
        channels=channels,
        size=(size[0], size[1]),
        filters=filters,
        window=(window[0], window[1]),
        output_size=(output_size[0], output_size[1]),
        stride=steps,
        padding=border,
        dilation=spread,
        groups=int(groups),
    )


def _four(name: str, letters: str, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    if len(shape) != 4:
        raise ValueError(f"{name}: expected shape {letters}, got {tuple(shape)}")
    first, second, third, fourth = (int(n) for n in shape)
    return first, second, third, fourth
