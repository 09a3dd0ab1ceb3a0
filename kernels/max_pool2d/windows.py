"""Where the windows lie: the part that every variant shares."""

from __future__ import annotations

from typing import NamedTuple

Pair = tuple[int, int]  # vertical, horizontal


class Windows(NamedTuple):
    """Window i along an axis begins at pixel i * stride - padding and has `size` pixels."""

    size: Pair
    stride: Pair
    padding: Pair


def output_shape(shape: tuple[int, ...], windows: Windows) -> tuple[int, int, int, int]:
    """(N, C, OH, OW) for images (N, C, H, W): how many windows fit."""
    high, wide = (
        (side + 2 * border - size) // step + 1
        for side, size, step, border in zip(shape[2:], *windows, strict=True)
    )
    return shape[0], shape[1], high, wide
