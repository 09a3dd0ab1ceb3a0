"""What roi_align is checked and timed with.

Letters: N images, C channels, H W height and width, R regions of interest, P pooled size.

Positions: the reference computes them in float64, the CUDA rungs in pairs of float32, which is 46
bits; the Numba rungs in float32 alone.  On the small maps of the cases the latter is 16 roundings
too.  What jumps is a sample at -1 or H, the last places that count: cases have samples there only
where they are exact (binary fractions).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.kernels.case import Case, Workload

NAN, INF = np.nan, np.inf
FEATURES_ONLY = (0,)  # what the reference gets in float64: RoIs decide, and stay float32


def random_rois(
    count: int, images: int, extent: tuple[float, float], seed: int, sides: tuple[float, float]
) -> np.ndarray:
    """(count, 5) float32: an image and x0 y0 x1 y1, partly outside an extent of (height, width)."""
    rng = np.random.default_rng(seed)
    low, high = np.log(sides)
    side = np.exp(rng.uniform(low, high, (count, 1))) * np.exp(rng.uniform(-0.4, 0.4, (count, 2)))
    center = rng.uniform(0, 1, (count, 2)) * extent[::-1]
    box = np.concatenate([center - side / 2, center + side / 2], 1)
    image = rng.integers(0, images, (count, 1))
    return np.concatenate([image, box], 1).astype(np.float32)


def odd_rois() -> np.ndarray:
    """On a map of 9 x 8: outside, partly outside, empty, inverted, not finite, at the limits."""
    boxes: list[list[float]] = [
        [1, 1, 5, 5],
        [-9, 2, -5, 6],  # outside
        [2, 20, 6, 24],
        [-2.5, -1.5, 3, 4],  # partly
        [5, 6, 11, 12.25],
        [3, 3, 3, 3],  # empty
        [2, 1, 2, 6],
        [6, 7, 1, 2],  # inverted
        [6, 1, 2, 5],
        [NAN, 0, 4, 4],
        [0, 0, INF, 4],
        [-INF, 1, 4, INF],
        [
            -1.5,
            -1.5,
            8.5,
            9.5,
        ],  # unaligned with one sample a bin of 2 x 2: at -1 and H, which count
        [0, 0, 8, 9],
        [4, 4, 4.0625, 4.0625],  # many bins in a cell
    ]
    rois = np.zeros((len(boxes), 5), np.float32)
    rois[:, 1:] = boxes
    return rois


def huge_rois() -> np.ndarray:
    """Boxes far larger than a map of 6 x 5, along one axis: the reference visits every sample."""
    boxes = [[-4000, 1, 4000, 5], [0, -3000.5, 4, 9000.5], [1, 1, 6000, 4], [-3e9, 0, 3e9, 4]]
    return np.concatenate([np.zeros((4, 1)), boxes], 1).astype(np.float32)


def features_of(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Normally distributed float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def both(
    name: str,
    shape: tuple[int, int, int, int],
    rois: np.ndarray,
    size: int | tuple[int, int],
    *,
    reads: int = 64,
    **options: Any,
) -> Iterator[Case]:
    """A forward and a backward case; `reads` is how many numbers a value is about the sum of."""
    small, gradient_small = options.pop("small", False), options.pop("gradient_small", True)
    features = features_of(shape, len(name))
    pair = size if isinstance(size, tuple) else (size, size)
    grad = features_of((len(rois), shape[1], *pair), 1)
    shared: dict[str, Any] = {"small": small, "terms": reads, "widen": FEATURES_ONLY}
    yield Case(name, "roi_align", (features, rois, size), options, **shared)
    shared["small"] = gradient_small and small
    yield Case(f"{name}, gradient", "roi_align_backward", (grad, rois, shape), options, **shared)


def odd_cases() -> Iterator[Case]:
    """The edges of the definition, small enough for every tier."""
    options: dict[str, Any]
    shape, rois = (1, 2, 9, 8), odd_rois()
    for aligned in (True, False):
        for ratio in (0, 1, 2):
            options = {"aligned": aligned, "sampling_ratio": ratio}
            name = f"odd boxes, {'aligned' if aligned else 'not aligned'}, ratio {ratio}"
            small = {"small": ratio != 1 or not aligned, "gradient_small": aligned == (ratio == 0)}
            yield from both(name, shape, rois, 2, **small, **options)
    features = features_of(shape, 3)
    for ratio in (0, 2):
        options = {"sampling_ratio": ratio, "reduce": "max"}
        given: tuple[Any, ...] = (features, rois, (2, 3))
        shared: dict[str, Any] = {"widen": FEATURES_ONLY, "small": ratio == 0}
        yield Case(f"maximum, ratio {ratio}", "roi_align", given, options, **shared)


def cases() -> Iterator[Case]:
    """Counts, channels, sizes, ratios; the edges; all levels."""
    yield from odd_cases()
    rois = random_rois(3, 2, (20, 28), 0, (2, 16))
    for channels in (0, 1, 3, 4, 8, 33):
        shape = (2, channels, 10, 14)
        options: dict[str, Any] = {"spatial_scale": 0.5, "small": channels in (0, 3, 4)}
        options["gradient_small"] = channels != 4
        yield from both(f"{channels} channels", shape, rois, (3, 2), **options)
    for channels in (64, 65, 132):
        yield from both(f"{channels} channels", (2, channels, 10, 14), rois, 7, spatial_scale=0.5)
    for count in (0, 1, 65, 200):
        rois = random_rois(count, 2, (300, 400), count, (4, 300))
        yield from both(f"{count} RoIs", (2, 4, 38, 50), rois, 7, reads=400, spatial_scale=1 / 8)
    rois = random_rois(9, 1, (160, 240), 5, (4, 200))
    for size in (1, 14, (5, 7), (28, 28), (2, 60)):
        yield from both(f"{size} bins", (1, 8, 40, 60), rois, size, reads=400, spatial_scale=0.25)
    for ratio in (1, 2, 3):
        options = {"spatial_scale": 0.25, "sampling_ratio": ratio, "aligned": ratio != 2}
        yield from both(f"ratio {ratio}", (1, 8, 40, 60), rois, 7, reads=400, **options)
    huge = huge_rois()[:3]
    yield from both("huge boxes", (1, 4, 6, 5), huge, (2, 3), reads=400)
    yield from both("huge boxes, ratio 2", (1, 4, 6, 5), huge_rois(), (2, 3), sampling_ratio=2)
    yield from both("a long map", (1, 4, 2, 3000), long_rois(), (1, 7), reads=400)
    yield from level_cases()


def long_rois() -> np.ndarray:
    """On a map of 2 x 3000: at its end, where positions in float32 alone are coarse."""
    boxes = [[2900.3, 0, 2990.7, 2], [2001.1, 0.2, 2998.9, 1.9], [2998.5, -1, 3005, 2]]
    return np.concatenate([np.zeros((3, 1)), boxes], 1).astype(np.float32)


def level_cases() -> Iterator[Case]:
    """Pyramids: a level nobody reads, one level, no RoIs, 8 levels, odd sizes."""
    for name, channels, count, sides, small in (
        ("three levels", 4, 4, [(12, 17), (6, 8), (3, 4)], True),
        ("one level", 3, 5, [(9, 9)], False),
        ("no RoIs", 4, 0, [(6, 7), (3, 4)], False),
        ("eight levels", 36, 40, [(64 >> i, 96 >> i or 1) for i in range(7)] + [(1, 1)], False),
        ("an odd pyramid", 65, 30, [(17, 33), (31, 16)], False),
    ):
        rng = np.random.default_rng(count)
        pyramid = tuple(features_of((2, channels, *side), i) for i, side in enumerate(sides))
        scales = tuple(0.5**i for i in range(len(sides)))
        rois = random_rois(count, 2, (sides[0][0], sides[0][1]), count, (2, 40))
        levels = rng.integers(0, len(sides), count)
        if name == "three levels":
            levels[levels == 1] = 0  # nobody reads level 1
        size = (2, 3) if small else (5, 7)
        grad = features_of((count, channels, *size), 3)
        options = {"spatial_scales": scales}
        shared: dict[str, Any] = {"small": small, "terms": 400}
        given: tuple[Any, ...] = (pyramid, rois, levels, size)
        yield Case(name, "roi_align_levels", given, options, widen=(0,), **shared)
        shapes = tuple(level.shape for level in pyramid)
        given = (grad, rois, levels, shapes)
        name = f"{name}, gradient"
        yield Case(name, "roi_align_levels_backward", given, options, widen=(0,), **shared)


# ------------------------------------------------------------------------------ for timing

SIDES = ((200, 336), (100, 168), (50, 84), (25, 42))  # of an image of 800 x 1344
STRIDES = (4, 8, 16, 32)


def pyramid_rois(count: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """RoIs as a region proposal network gives them, and the level of each (FPN, equation 1)."""
    rois = random_rois(count, images, (800, 1344), 0, (24, 700))
    rois[:, [1, 3]] = rois[:, [1, 3]].clip(0, 1344)
    rois[:, [2, 4]] = rois[:, [2, 4]].clip(0, 800)
    side = np.sqrt((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2]))
    levels = np.floor(4 + np.log2(np.maximum(side, 1) / 224)).clip(2, 5) - 2
    return rois, levels.astype(np.int64)


def workloads() -> Iterator[Workload]:
    """The box and mask heads' pooling over a feature pyramid; one level alone; their gradients."""
    for count, images, size in ((1000, 1, 7), (1000, 2, 7), (200, 1, 14)):
        yield from pyramid_workloads(count, images, size)
    rois = random_rois(512, 1, (800, 1216), 1, (24, 400))
    features, grad = features_of((1, 256, 200, 304), 0), features_of((512, 256, 7, 7), 1)
    last = np.ascontiguousarray(features.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    shared: dict[str, Any] = {
        "options": {"spatial_scale": 0.25, "sampling_ratio": 2},
        "bytes": float(features.nbytes + grad.nbytes + rois.nbytes),
        "operations": 2.0 * 16 * grad.size,
    }
    name = "512 x 256 x 7 x 7, one level"
    for given, label in ((features, name), (last, f"{name}, channels last")):
        yield Workload(label, "roi_align", (given, rois, 7), peer="roi_align", **shared)
    back = (grad, rois, features.shape)
    label = f"{name}, gradient"
    yield Workload(label, "roi_align_backward", back, peer="roi_align_backward", **shared)


def pyramid_workloads(count: int, images: int, size: int) -> Iterator[Workload]:
    """All levels at once, 256 channels: the crops and their gradient."""
    rois, levels = pyramid_rois(count, images)
    features = tuple(features_of((images, 256, *side), i) for i, side in enumerate(SIDES))
    grad = features_of((count, 256, size, size), 1)
    shared: dict[str, Any] = {
        "options": {"spatial_scales": tuple(1 / s for s in STRIDES), "sampling_ratio": 2},
        "bytes": float(sum(f.nbytes for f in features) + grad.nbytes + rois.nbytes),
        "operations": 2.0 * 16 * grad.size,
    }
    name = f"{count} x 256 x {size} x {size}, 4 levels, N = {images}"
    yield Workload(name, "roi_align_levels", (features, rois, levels, size), **shared)
    back = (grad, rois, levels, tuple(f.shape for f in features))
    yield Workload(f"{name}, gradient", "roi_align_levels_backward", back, **shared)
