"""What conv2d is checked and timed with; its gradients are in `cases_gradients`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from minimask.kernels.case import Case, Workload
from minimask.kernels.conv2d import cases_gradients
from minimask.kernels.conv2d.cases_gradients import normal, sizes

# What a variant's results are rounded to, where that is not float32.  TF32 has 10 bits of mantissa:
# both factors of a product are rounded, each by at most 2^-11 of itself; products and sums are then
# exact or float32.  2^-11 stands in for float32's 2^-23, with the same margin.
ROUNDING = {"cuda_5_tensor_cores": 2.0**-11}

# name: input shape, weight shape, options; few enough products for the simulator
SMALL: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((1, 3, 5, 7), (4, 3, 3, 3), {"padding": 1}),
    "one pixel, all padding but it": ((3, 3, 1, 1), (2, 3, 3, 3), {"padding": 1}),
    "pointwise, rows of four": ((2, 17, 2, 6), (3, 17, 1, 1), {}),
    "pointwise, odd plane": ((3, 5, 3, 3), (9, 5, 1, 1), {}),
    "pointwise, stride 2": ((1, 3, 5, 7), (4, 3, 1, 1), {"stride": 2}),
    "2x2, no padding": ((1, 1, 5, 7), (3, 1, 2, 2), {}),
    "7x7, stride 2": ((1, 3, 9, 7), (2, 3, 7, 7), {"stride": 2, "padding": 3}),
    "dilation 2": ((1, 2, 7, 7), (3, 2, 3, 3), {"dilation": 2, "padding": 2}),
    "stride and padding differ": (
        (1, 3, 6, 9),
        (2, 3, 2, 3),
        {"stride": (1, 2), "padding": (0, 2)},
    ),
    "two groups": ((1, 4, 3, 4), (18, 2, 2, 2), {"groups": 2}),
    "all options": (
        (2, 4, 7, 6),
        (16, 2, 3, 2),
        {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 4), "groups": 2},
    ),
    "66 filters": ((1, 3, 3, 3), (66, 3, 2, 2), {}),
    "65 filters, pointwise": ((1, 5, 2, 2), (65, 5, 1, 1), {}),
    "depthwise": ((1, 5, 5, 4), (5, 1, 3, 3), {"groups": 5, "padding": 1}),
    "depthwise, stride 2": ((1, 3, 9, 10), (3, 1, 3, 3), {"groups": 3, "padding": 1, "stride": 2}),
    "groups of three": ((1, 6, 5, 9), (10, 3, 3, 2), {"groups": 2, "padding": (1, 0)}),
    "many rows, few pixels": ((1, 64, 2, 3), (3, 64, 3, 3), {"padding": 1}),
    "81 taps": ((1, 1, 10, 9), (2, 1, 9, 9), {"padding": 1}),
    "batch of none": ((0, 3, 5, 7), (4, 3, 3, 3), {"padding": 1}),
    "no filter": ((1, 3, 5, 7), (0, 3, 3, 3), {"padding": 1}),
}

# more than one tile of every kernel, full and not; channels around the steps of rows
LARGE: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "65 channels, 65 filters": ((1, 65, 13, 9), (65, 65, 3, 3), {"padding": 1}),
    "tiles of 128 and a rest": ((2, 17, 13, 12), (131, 17, 3, 3), {"padding": 1}),
    "three tiles of 64": ((3, 16, 12, 8), (136, 16, 3, 3), {"padding": 1}),
    "pointwise, tiles of 64": ((3, 64, 13, 12), (64, 64, 1, 1), {}),
    "pointwise, tiles of 128": ((3, 70, 13, 12), (130, 70, 1, 1), {}),
    "pointwise, 256 filters": ((2, 20, 9, 8), (256, 20, 1, 1), {}),
    "128 filters, stride 2": ((2, 13, 25, 31), (128, 13, 3, 3), {"stride": 2, "padding": 1}),
    "pointwise, in parts": ((1, 300, 5, 4), (257, 300, 1, 1), {}),
    "pointwise, stride 2, large": ((2, 33, 17, 20), (40, 33, 1, 1), {"stride": 2}),
    "first layer": ((1, 3, 48, 40), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    "first layer, three images": ((3, 3, 13, 9), (17, 3, 7, 7), {"stride": 2, "padding": 3}),
    "groups": ((2, 34, 13, 9), (66, 17, 3, 3), {"groups": 2, "padding": (0, 1)}),
    "groups, pointwise": ((2, 34, 6, 10), (34, 17, 1, 1), {"groups": 2}),
    "groups of two filters": ((1, 12, 13, 9), (8, 3, 3, 3), {"groups": 4, "padding": 1}),
    "groups of four, tiles and a rest": ((2, 8, 19, 35), (8, 4, 3, 3), {"groups": 2, "padding": 1}),
    "groups of nine, in chunks": (
        (1, 36, 10, 33),
        (20, 18, 5, 5),
        {"groups": 2, "padding": 2, "stride": 2},
    ),
    "depthwise, 5x5": ((2, 3, 34, 40), (3, 1, 5, 5), {"groups": 3, "padding": 2}),
    "two filters a channel": ((1, 3, 20, 12), (6, 1, 3, 3), {"groups": 3, "dilation": (2, 1)}),
    "64 taps": ((1, 3, 13, 12), (9, 3, 8, 8), {"padding": 2}),
    "99 taps, dilated": ((1, 3, 25, 19), (9, 3, 11, 9), {"padding": 3, "dilation": (1, 2)}),
    "one channel": ((1, 1, 13, 9), (1, 1, 2, 2), {"stride": (1, 2)}),
}


def cases() -> Iterator[Case]:
    """Every geometry, every second one with a bias; then the gradients."""
    for table, small in ((SMALL, True), (LARGE, False)):
        for i, (name, (x_shape, weight_shape, options)) in enumerate(table.items()):
            x, weight = normal(i, *x_shape), normal(i + 100, *weight_shape)
            bias = normal(i + 200, weight_shape[0]) if i % 2 == 0 else None
            terms = math.prod(weight_shape[1:])
            yield Case(name, "conv2d", (x, weight, bias), options, terms=terms, small=small)
    x = normal(0, 1, 3, 4, 5)
    x[0, 1, 2, 3] = math.inf  # and where it is, nothing else: zeros beside a sum stay zeros
    yield Case("infinity", "conv2d", (x, normal(1, 9, 3, 1, 1), None), {}, terms=3, small=True)
    yield from cases_gradients.cases()


GROUPS = {"padding": 1, "groups": 32}

# ResNet-50 with a feature pyramid on images of 800 x 1333; the mask head on 100 regions
LAYERS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "stem, 7x7/2": ((1, 3, 800, 1333), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    "res2, 3x3": ((1, 64, 200, 334), (64, 64, 3, 3), {"padding": 1}),
    "res2, 1x1": ((1, 64, 200, 334), (256, 64, 1, 1), {}),
    "res3, 3x3": ((2, 128, 100, 167), (128, 128, 3, 3), {"padding": 1}),
    "res3, 1x1": ((2, 512, 100, 167), (128, 512, 1, 1), {}),
    "res4, 3x3": ((2, 256, 50, 84), (256, 256, 3, 3), {"padding": 1}),
    "res5, 3x3": ((2, 512, 25, 42), (512, 512, 3, 3), {"padding": 1}),
    "pyramid, 3x3": ((1, 256, 200, 334), (256, 256, 3, 3), {"padding": 1}),
    "mask head, 3x3": ((100, 256, 14, 14), (256, 256, 3, 3), {"padding": 1}),
    "ResNeXt res2, 3x3, 32 groups": ((1, 128, 200, 334), (128, 4, 3, 3), GROUPS),
    "ResNeXt res4, 3x3, 32 groups": ((2, 512, 50, 84), (512, 16, 3, 3), GROUPS),
    "EfficientNet, depthwise 5x5": (
        (2, 240, 100, 167),
        (240, 1, 5, 5),
        {"padding": 2, "groups": 240},
    ),
}


def workloads() -> Iterator[Workload]:
    """The layers of Mask R-CNN that take most of its time, then their gradients."""
    for name, (x_shape, weight_shape, options) in LAYERS.items():
        g = sizes(x_shape, weight_shape, options)
        x, weight, bias = normal(0, *x_shape), normal(1, *weight_shape), normal(2, g.filters)
        values = math.prod(g.output_shape)
        yield Workload(
            name,
            "conv2d",
            (x, weight, bias),
            options,
            bytes=4.0 * (x.size + weight.size + bias.size + values),
            operations=2.0 * values * g.inner,
            peer="conv2d",
        )
    yield from cases_gradients.workloads()
