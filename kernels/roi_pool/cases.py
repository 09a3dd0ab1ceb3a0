"""What roi_pool is checked and timed with.

Letters: N images, C channels, H W height and width, R regions of interest (RoIs), P pooled size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minimask.kernels.case import Case, Workload
from minimask.kernels.roi_pool import roi_pool
from minimask.kernels.roi_pool.geometry import bins

NAN, INF = np.nan, np.inf
COUNTS = (0, 1, 63, 64, 65, 200)  # around the sizes of warps and blocks

# (features' shape, R, pooled size, scale)
SHAPES = (
    ((1, 1, 1, 1), 3, (2, 2), 1.0),
    ((2, 3, 8, 9), 5, (3, 2), 0.5),
    ((3, 2, 7, 5), 6, (1, 4), 0.3),  # no power of two: products are rounded
    ((2, 1, 9, 9), 4, (7, 7), 1 / 16),  # more bins than cells
    ((1, 2, 5, 11), 3, (1, 1), 1.0),
    ((1, 1, 6, 6), 1, (16, 17), 1.0),  # more bins than a block has threads
    ((0, 2, 4, 4), 0, (2, 2), 1.0),
    ((2, 0, 4, 4), 3, (2, 2), 1.0),
)


def some_rois(seed: int, count: int, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """RoIs of random images and sizes; some reach over the border, some corners lie at a half."""
    rng = np.random.default_rng(seed)
    height, width = shape[2:]
    corner = rng.uniform(-0.2, 0.9, (count, 2)) * (width, height)
    side = rng.uniform(0, 0.7, (count, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + side], axis=1)
    boxes = np.where(rng.random(boxes.shape) < 0.3, np.floor(boxes) + 0.5, boxes) / scale
    image = rng.integers(0, max(shape[0], 1), (count, 1))
    return np.concatenate([image, boxes], axis=1).astype(np.float32)


def odd_rois() -> np.ndarray:
    """Boxes with no inside, without end, off the map, far away."""
    return np.array(
        [
            [0, 0, 0, 7, 6],
            [0, 5, 5, 2, 2],  # inverted: one cell
            [0, 3, 3, 3, 3],
            [0, NAN, 0, 4, 4],
            [0, 0, 0, INF, 4],
            [0, -INF, -INF, INF, INF],
            [0, 3e38, 0, 3e38, 4],  # finite, until it is scaled
            [1, -9, -9, -3, -3],
            [1, 50, 0, 60, 6],
            [1, -1e30, -1e30, 1e30, 1e30],
            [1, -1e9, 0, 2e9, 6],
            [1, -1000, -1000, 1000, 1000],
            [1, -0.5, -0.6, 1.5, 1.4999999],
            [1, 0.49999997, 2.5, 6.5, 6.4999995],  # + 0.5 rounds up to 1
        ],
        np.float32,
    )


def ties(seed: int, shape: tuple[int, ...], odd: bool = False) -> np.ndarray:
    """Features of seven different values, so that bins have several maxima; NaN, -inf if odd."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-3, 4, shape).astype(np.float32)
    if odd:
        features[rng.random(shape) < 0.1] = NAN
        features[rng.random(shape) < 0.4] = -INF
        features[rng.random(shape) < 0.1] = INF
        features[rng.random(shape) < 0.1] = -0.0
    return features


def cases() -> Iterator[Case]:
    """Both functions on every shape and count, on odd boxes and values, on many equal winners."""
    for i, (shape, count, size, scale) in enumerate(SHAPES):
        rois = some_rois(i, count, shape, scale)
        yield from _both(f"{shape}, {count} RoIs, {size}", i, ties(i, shape), rois, size, scale)
    for i, count in enumerate(COUNTS):
        shape = (3, 2, 20, 33)
        rois = some_rois(i, count, shape, 0.25)
        rois = rois[np.argsort(rois[:, 0], kind="stable")] if i % 2 else rois
        yield from _both(f"{count} RoIs", i, ties(i, shape), rois, (7, 7), 0.25, small=False)
    for scale in (1.0, 2.0, 0.3):
        name, features = f"odd boxes at scale {scale}", ties(7, (2, 1, 7, 8))
        yield from _both(name, 7, features, odd_rois(), (3, 2), scale, small=scale < 1)
    features = ties(8, (2, 2, 7, 8), odd=True)
    yield from _both("odd values", 8, features, some_rois(8, 4, (2, 2, 7, 8), 1.0), (2, 3), 1.0)
    yield from _both("odd values and boxes", 9, features, odd_rois(), (2, 2), 1.0, small=False)
    yield from _large(10)


def _large(seed: int) -> Iterator[Case]:
    """Maps and lists of RoIs that are larger than what a block holds at once."""
    wide = (1, 1, 3, 2100)
    rois = np.array([[0, 0, 0, 2099, 2], [0, 7, 1, 1500, 2], [0, 5, 0, 9, 2]], np.float32)
    yield from _both("a wide map", seed, ties(seed, wide), rois, (2, 3), 1.0)
    tall = (1, 1, 80, 100)  # more than one tile
    rois = some_rois(seed, 5, tall, 0.5)
    yield from _both("a large map", seed, ties(seed, tall), rois, (3, 3), 0.5)
    channels = (1, 70, 6, 5)  # more than one slice
    rois = some_rois(seed, 2, channels, 1.0)
    yield from _both("70 channels", seed, ties(seed, channels), rois, (2, 2), 1.0, small=False)
    rois = some_rois(seed, 1, (1, 1, 5, 6), 1.0)
    yield from _both("300 x 300 bins", seed, ties(3, (1, 1, 5, 6)), rois, (300, 300), 1.0, False)
    # one cell wins all bins, 49 and 2156: more than there are rounds, and than a chunk holds
    rois = np.repeat(np.array([[0, 2, 1, 2, 1]], np.float32), 44, axis=0)
    features = ties(seed, (1, 1, 4, 5))
    yield from _both("one winner", seed, features, rois[:1], (7, 7), 1.0)
    yield from _both("one winner of many", seed, features, rois, (7, 7), 1.0, small=False)
    # two images, not sorted, whose RoIs fill several chunks
    rois = some_rois(seed, 60, (2, 1, 9, 9), 1.0)
    yield from _both("mixed images", seed, ties(seed, (2, 1, 9, 9)), rois, (6, 7), 1.0, False)


def _both(
    name: str,
    seed: int,
    features: np.ndarray,
    rois: np.ndarray,
    size: tuple[int, int],
    scale: float,
    small: bool = True,
) -> Iterator[Case]:
    """Forward, and backward from the argmax that the reference finds.

    RoIs stay in float32 for the reference: which cells a bin holds is decided in their type.
    """
    options = {"spatial_scale": scale}
    forward = (features, rois, size)
    yield Case(name, "roi_pool", forward, options, small=small, widen=(0,))
    _, argmax = roi_pool(features, rois, size, variant="reference", **options)
    grad = np.random.default_rng(seed).standard_normal(argmax.shape).astype(np.float32)
    backward = (grad, rois, argmax, features.shape)
    terms = max(1, len(rois) * size[0] * size[1])  # all bins may have one winner
    label = f"{name}, backward"
    yield Case(label, "roi_pool_backward", backward, terms=terms, small=small, widen=(0,))


def workloads() -> Iterator[Workload]:
    """512 boxes of many sizes on the finest level, stride 4, of the pyramid of 800 x 1216."""
    rng = np.random.default_rng(0)
    shape, count, size, scale = (1, 256, 200, 304), 512, (7, 7), 0.25
    features = rng.standard_normal(shape, np.float32)
    side = np.exp(rng.uniform(np.log(16), np.log(400), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * (np.array([1216, 800]) - side)
    boxes = np.concatenate([np.zeros((count, 1)), corner, corner + side], axis=1)
    rois = boxes.astype(np.float32)
    rows, columns = bins(rois[:, 1:], size, scale, *shape[2:])
    cells = ((rows.end - rows.begin).sum(1) * (columns.end - columns.begin).sum(1)).sum()
    outputs = count * shape[1] * size[0] * size[1]
    moved = 4.0 * features.size + 8.0 * outputs + rois.nbytes
    name = "512 RoIs, 256x200x304, 7x7"
    options, compared = {"spatial_scale": scale}, float(cells) * shape[1]
    forward = (features, rois, size)
    yield Workload(name, "roi_pool", forward, options, moved, compared, "roi_pool")
    out, argmax = roi_pool(features, rois, size, spatial_scale=scale)
    grad = rng.standard_normal(out.shape, np.float32)
    yield Workload(
        f"{name}, backward",
        "roi_pool_backward",
        (grad, rois, argmax, shape),
        {},
        moved,
        1.0 * outputs,
        "roi_pool_backward",
    )
