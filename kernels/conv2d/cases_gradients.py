"""What the gradients of conv2d, and conv_transpose2d, are checked and timed with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.kernels.case import Case, Workload
from minimask.kernels.conv2d.geometry import Geometry, geometry

# name: input shape, weight shape, options; few enough threads for the simulator and sanitizers
SMALL: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((1, 2, 4, 5), (3, 2, 3, 3), {"padding": 1}),
    "no padding, two images": ((2, 3, 4, 4), (2, 3, 2, 2), {}),
    "stride 2": ((1, 2, 7, 6), (3, 2, 3, 3), {"stride": 2, "padding": 1}),
    "stride 2, pointwise": ((2, 3, 5, 4), (2, 3, 1, 1), {"stride": 2}),
    "steps beyond the window": ((1, 2, 8, 7), (2, 2, 2, 1), {"stride": (3, 4)}),
    "dilation shares the stride": (
        (1, 2, 7, 8),
        (2, 2, 2, 3),
        {"stride": 2, "dilation": (2, 4), "padding": (0, 2)},
    ),
    "all options": (
        (2, 4, 6, 4),
        (6, 2, 3, 2),
        {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 3), "groups": 2},
    ),
    "one pixel, much padding": ((1, 2, 1, 1), (2, 2, 3, 3), {"padding": 3, "stride": 2}),
    "depthwise": ((1, 3, 4, 4), (3, 1, 2, 2), {"groups": 3}),
    "depthwise, stride 2": ((1, 3, 9, 6), (3, 1, 3, 3), {"groups": 3, "padding": 1, "stride": 2}),
    "batch of none": ((0, 2, 4, 4), (2, 2, 3, 3), {}),
    "no filter": ((1, 2, 4, 4), (0, 2, 3, 3), {}),
}

# tiles that are not full, sums in several slices, both sizes of tiles
LARGE: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "edges of tiles": ((2, 67, 5, 7), (131, 67, 3, 3), {"padding": 1}),
    "whole tiles": ((2, 64, 8, 8), (64, 64, 1, 1), {}),
    "many positions": ((3, 5, 44, 37), (6, 5, 3, 3), {"padding": 1}),
    "strided layer": ((2, 33, 17, 20), (40, 33, 3, 3), {"stride": 2, "padding": 1}),
    "first layer": ((1, 3, 48, 40), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
    "few pixels, long sums": ((2, 9, 5, 6), (150, 9, 3, 3), {"padding": 1}),
    "few pixels, long sums, strided": ((1, 9, 7, 6), (258, 9, 3, 3), {"padding": 1, "stride": 2}),
    "groups": ((1, 18, 13, 10), (24, 9, 3, 3), {"padding": (0, 1), "groups": 2}),
    "groups, strided": ((1, 16, 10, 9), (20, 8, 3, 2), {"stride": (1, 2), "groups": 2}),
    "groups of four, tiles and a rest": ((2, 8, 19, 35), (8, 4, 3, 3), {"groups": 2, "padding": 1}),
    "groups of nine, in chunks": (
        (1, 18, 21, 33),
        (36, 9, 5, 5),
        {"groups": 2, "padding": 2, "stride": 2},
    ),
    "depthwise, 5x5": ((2, 3, 34, 40), (3, 1, 5, 5), {"groups": 3, "padding": 2}),
    "depthwise, 5x5, stride 2": (
        (1, 2, 31, 70),
        (2, 1, 5, 5),
        {"groups": 2, "padding": 2, "stride": 2},
    ),
    # padding less reach is odd: one position more reaches the whole tiles behind the first
    "groups of four, stride 2, tiles": (
        (1, 8, 37, 66),
        (8, 4, 3, 3),
        {"groups": 2, "padding": 1, "stride": 2},
    ),
    "depthwise, stride 2, tiles": (
        (1, 2, 66, 66),
        (2, 1, 3, 3),
        {"groups": 2, "padding": 1, "stride": 2},
    ),
    "small groups": ((1, 12, 13, 10), (20, 3, 3, 3), {"padding": (0, 1), "groups": 4}),
}


def normal(seed: int, *shape: int) -> np.ndarray:
    """float32 numbers around 0."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def sizes(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], options: dict[str, Any]
) -> Geometry:
    """The geometry, with conv2d's defaults."""
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    return geometry(x_shape, weight_shape, **{**defaults, **options})


def cases() -> Iterator[Case]:
    """Every gradient of every geometry, and transposed convolutions with a bias."""
    for table, small in ((SMALL, True), (LARGE, False)):
        for name, (x_shape, weight_shape, options) in table.items():
            g = sizes(x_shape, weight_shape, options)
            grad, x, weight = (
                normal(i, *s) for i, s in enumerate((g.output_shape, x_shape, weight_shape))
            )
            taps = g.filters // g.groups * math.prod(g.window)
            positions = max(1, g.images * math.prod(g.output_size))
            yield Case(
                name,
                "conv2d_backward_input",
                (grad, weight, x_shape),
                options,
                terms=max(1, taps),
                small=small,
            )
            yield Case(
                name,
                "conv2d_backward_weight",
                (grad, x, weight_shape),
                options,
                terms=positions,
                small=small,
            )
            yield Case(name, "conv2d_backward_bias", (grad,), terms=positions, small=small)
    # 65 filters and 72 weights of each: the large tile, in one slice
    x, grad = normal(0, 1, 8, 4, 4), normal(1, 1, 65, 2, 2)
    yield Case("large tile", "conv2d_backward_weight", (grad, x, (65, 8, 3, 3)), terms=4)
    yield Case(
        "planes in pieces", "conv2d_backward_bias", (normal(2, 2, 3, 95, 97),), terms=2 * 95 * 97
    )
    for name, shape, weight_shape, options, small in (
        ("doubled", (1, 3, 3, 2), (3, 2, 2, 2), {"stride": 2}, True),
        ("overlapping windows", (2, 2, 3, 4), (2, 3, 4, 3), {"stride": (2, 1), "padding": 1}, True),
        ("mask head", (3, 32, 14, 14), (32, 40, 2, 2), {"stride": 2}, False),
    ):
        arrays = (normal(3, *shape), normal(4, *weight_shape), normal(5, weight_shape[1]))
        terms = weight_shape[0] * math.prod(weight_shape[2:])
        yield Case(name, "conv_transpose2d", arrays, options, terms=terms, small=small)


# layers of Mask R-CNN with ResNet-50, two images of 800 x 1088 and 512 regions for the mask head
LAYERS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "stage 2, 3x3": ((2, 64, 200, 272), (64, 64, 3, 3), {"padding": 1}),
    "stage 3, 3x3, stride 2": ((2, 128, 200, 272), (128, 128, 3, 3), {"stride": 2, "padding": 1}),
    "stage 4, 1x1": ((2, 1024, 50, 68), (256, 1024, 1, 1), {}),
    "pyramid, 3x3": ((2, 256, 200, 272), (256, 256, 3, 3), {"padding": 1}),
    "mask head, 3x3": ((128, 256, 14, 14), (256, 256, 3, 3), {"padding": 1}),
    "ResNeXt stage 3, 3x3, 32 groups, stride 2": (
        (2, 256, 200, 272),
        (256, 8, 3, 3),
        {"stride": 2, "padding": 1, "groups": 32},
    ),
    "EfficientNet, depthwise 5x5": (
        (2, 240, 100, 136),
        (240, 1, 5, 5),
        {"padding": 2, "groups": 240},
    ),
}


def workloads() -> Iterator[Workload]:
    """Both large gradients of typical layers, the bias of one, the mask head's upsampling."""
    for name, (x_shape, weight_shape, options) in LAYERS.items():
        g = sizes(x_shape, weight_shape, options)
        grad, x, weight = (
            normal(i, *s) for i, s in enumerate((g.output_shape, x_shape, weight_shape))
        )
        moved = 4.0 * (grad.size + x.size + weight.size)
        products = 2.0 * grad.size * g.inner
        yield Workload(
            name,
            "conv2d_backward_input",
            (grad, weight, x_shape),
            options,
            bytes=moved,
            operations=products,
            peer="conv2d_backward_input",
        )
        yield Workload(
            name,
            "conv2d_backward_weight",
            (grad, x, weight_shape),
            options,
            bytes=moved,
            operations=products,
            peer="conv2d_backward_weight",
        )
    grad = normal(0, 2, 256, 200, 272)
    yield Workload(
        "pyramid",
        "conv2d_backward_bias",
        (grad,),
        bytes=4.0 * grad.size,
        operations=1.0 * grad.size,
        peer="conv2d_backward_bias",
    )
    arrays = (normal(0, 128, 256, 14, 14), normal(1, 256, 256, 2, 2), normal(2, 256))
    yield Workload(
        "mask head, 2x2, stride 2",
        "conv_transpose2d",
        arrays,
        {"stride": 2},
        bytes=4.0 * (5 * arrays[0].size + arrays[1].size),
        operations=2.0 * arrays[0].size * 256 * 4,
        peer="conv_transpose2d",
    )
