"""What max_pool2d is checked and timed with.

Letters: N images, C channels, H W height and width, OH OW those of the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.kernels.case import Case, Workload
from minimask.kernels.max_pool2d import max_pool2d
from minimask.kernels.max_pool2d.windows import Pair, Windows, output_shape

# shape, window, stride, padding, small.  Rows of 1, 63, 64, 65 and 200; strips with a rest of 1,
# 2, 3 and none; windows larger and smaller than their stride
SHAPES: tuple[tuple[tuple[int, ...], Pair, Pair, Pair, bool], ...] = (
    ((0, 3, 5, 6), (3, 3), (2, 2), (1, 1), True),
    ((2, 0, 5, 6), (3, 3), (2, 2), (1, 1), True),
    ((1, 1, 1, 1), (3, 3), (2, 2), (1, 1), True),
    ((1, 2, 1, 9), (3, 3), (2, 2), (1, 1), True),
    ((1, 2, 9, 1), (3, 3), (2, 2), (1, 1), True),
    ((2, 3, 7, 16), (3, 3), (2, 2), (1, 1), True),
    ((1, 2, 8, 17), (3, 3), (2, 2), (0, 0), True),
    ((1, 2, 8, 20), (3, 3), (2, 2), (0, 1), True),
    ((1, 1, 9, 19), (3, 3), (2, 2), (1, 0), True),
    ((2, 2, 6, 11), (1, 1), (2, 2), (0, 0), True),
    ((1, 2, 7, 10), (2, 2), (2, 2), (1, 1), True),
    ((1, 2, 6, 9), (3, 2), (1, 3), (1, 0), True),
    ((1, 1, 7, 8), (3, 3), (1, 1), (1, 1), True),
    ((1, 1, 9, 12), (5, 4), (2, 3), (2, 2), True),
    ((1, 1, 12, 11), (2, 3), (5, 4), (0, 1), True),
    ((2, 3, 63, 64), (3, 3), (2, 2), (1, 1), False),
    ((1, 2, 65, 200), (3, 3), (2, 2), (1, 1), False),
    ((1, 3, 64, 63), (3, 3), (2, 2), (0, 0), False),
    ((1, 2, 33, 65), (4, 4), (3, 3), (2, 2), False),
)


def ties(seed: int, shape: tuple[int, ...], odd: bool = False) -> np.ndarray:
    """Images of seven different values, so that windows have several maxima; NaN, -inf if odd."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, shape).astype(np.float32)
    if odd:
        x[rng.random(shape) < 0.1] = np.nan
        x[rng.random(shape) < 0.4] = -np.inf
        x[rng.random(shape) < 0.1] = np.inf
        x[rng.random(shape) < 0.1] = -0.0
    return x


def options(window: Pair, stride: Pair, padding: Pair) -> dict[str, Any]:
    """The windows as the public functions take them."""
    return {"kernel_size": window, "stride": stride, "padding": padding}


def cases() -> Iterator[Case]:
    """Both functions on every shape, with ties; numbers that are none; gradients that meet."""
    for i, (shape, *windows, small) in enumerate(SHAPES):
        kept = options(*windows)
        name = f"{shape}, windows {', '.join(map(str, windows))}"
        x = ties(i, shape)
        yield Case(name, "max_pool2d", (x,), kept, small=small)
        yield _backward(f"{name}, backward", i, x, kept, small)
    for name, window, stride in (("odd values", 3, 2), ("odd values, 2 x 4", (2, 4), (1, 3))):
        x = ties(99, (2, 2, 9, 13), odd=True)
        pooling = {"kernel_size": window, "stride": stride, "padding": 1}
        yield Case(name, "max_pool2d", (x,), pooling, small=True)
        yield _backward(f"{name}, backward", 98, x, pooling, True)
    nothing = np.full((1, 1, 6, 7), -np.inf, np.float32)
    yield Case("only -inf", "max_pool2d", (nothing,), options((3, 3), (2, 2), (1, 1)), small=True)
    x = ties(5, (1, 2, 6, 7))
    yield _backward("windows not known", 7, x, options((3, 3), (2, 2), (1, 1)), True, known=False)
    # a pixel that wins 25 windows, and gradients that leave room for a wrong one to show
    hill = np.zeros((1, 1, 9, 9), np.float32)
    hill[..., 4, 4] = 1
    yield _backward("one winner", 8, hill, options((5, 5), (1, 1), (0, 0)), True)


def _backward(
    name: str, seed: int, x: np.ndarray, windows: dict[str, Any], small: bool, known: bool = True
) -> Case:
    """Backward from the argmax that the reference finds."""
    _, argmax = max_pool2d(x, **windows, variant="reference")
    grad = np.random.default_rng(seed).standard_normal(argmax.shape).astype(np.float32)
    arguments, kept = (grad, argmax, x.shape), windows if known else {}
    return Case(name, "max_pool2d_backward", arguments, kept, terms=25, small=small)


def workloads() -> Iterator[Workload]:
    """The stem of a ResNet at 800 x 1344: windows of 3 x 3, 2 apart, on 2 x 64 x 400 x 672."""
    windows = Windows((3, 3), (2, 2), (1, 1))
    x = np.random.default_rng(0).standard_normal((2, 64, 400, 672), np.float32)
    outputs = int(np.prod(output_shape(x.shape, windows)))
    moved = 4.0 * x.size + 8.0 * outputs  # the images; a value and its place for each output
    kept = options(*windows)
    name = "2x64x400x672, 3x3/2"
    yield Workload(name, "max_pool2d", (x,), kept, moved, 8.0 * outputs, "max_pool2d")
    _, argmax = max_pool2d(x, **kept)
    grad = np.random.default_rng(1).standard_normal(argmax.shape, np.float32)
    yield Workload(
        f"{name}, backward",
        "max_pool2d_backward",
        (grad, argmax, x.shape),
        kept,
        moved,
        1.0 * outputs,
        "max_pool2d_backward",
    )
