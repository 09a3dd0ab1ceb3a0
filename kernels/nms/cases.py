"""What nms is checked and timed with.  Letters: R boxes.

The reference gets the boxes in float32 as well (`widen=()`): which box is suppressed is decided in
that type by definition, and the result is whole numbers, which must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.kernels.box_iou.cases import odd_boxes, random_boxes
from minimask.kernels.case import Case, Workload

SIZES = (0, 1, 63, 64, 65, 200)  # around the sizes of warps and tiles
LARGE = (513,)  # more than one block does alone


def random_scores(count: int, seed: int) -> np.ndarray:
    """(count,) float32 between 0 and 1, many of them equal."""
    return (np.random.default_rng(seed).integers(0, 50, count) / 50).astype(np.float32)


def falling(count: int) -> np.ndarray:
    """(count,) float32, each less than the one before."""
    return np.arange(count, 0, -1, dtype=np.float32)


def random_groups(count: int, groups: int, seed: int) -> np.ndarray:
    """(count,) int64, negative ones too."""
    return np.random.default_rng(seed).integers(-groups // 2, groups - groups // 2, count)


def row_of_squares(count: int, step: float) -> np.ndarray:
    """(count, 4) float32: squares of side 4, each `step` right of the one before."""
    x0 = np.arange(count) * step
    return np.stack([x0, 0 * x0, x0 + 4, 0 * x0 + 4], axis=1).astype(np.float32)


def case(
    name: str,
    boxes: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    threshold: float = 0.5,
    small: bool = False,
    **options: Any,
) -> Case:
    """One call: of `nms`, with groups of `batched_nms`, with a limit of `batched_nms_padded`."""
    if groups is None and not options:
        return Case(name, "nms", (boxes, scores, threshold), small=small, widen=())
    function = "batched_nms_padded" if options else "batched_nms"
    arguments = (boxes, scores, groups, threshold)
    return Case(name, function, arguments, options, small=small, widen=())


def cases() -> Iterator[Case]:
    """Sizes, groups, limits, ties, odd values, and overlaps equal to the threshold."""
    yield from sizes()
    yield from arrangements()
    yield from odd_values()
    yield from limits()


def sizes() -> Iterator[Case]:
    """Counts around those of tiles and blocks, alone and in groups."""
    for count in (*SIZES, *LARGE):
        boxes, scores = random_boxes(count, count), random_scores(count, count)
        yield case(f"{count}", boxes, scores, small=count in (0, 1, 65))
        groups = random_groups(count, 5, count)
        yield case(f"{count} in 5 groups", boxes, scores, groups, small=count in (0, 1, 65))
    # a large group between small ones, which begins within a tile
    boxes, scores = random_boxes(585, 3), random_scores(585, 4)
    groups = np.random.default_rng(5).permutation(np.repeat([3, 1, 2], [30, 515, 40]))
    yield case("groups of 30 to 515", boxes, scores, groups, threshold=0.1)
    yield case("every box a group", boxes[:300], scores[:300], np.arange(300)[::-1].copy())
    ends = np.array([-(2**63), 2**63 - 1, 0, -1])[np.arange(70) % 4]
    yield case("groups at the ends of int64", boxes[:70], scores[:70], ends)
    yield case("groups of type uint8", boxes[:70], scores[:70], (ends % 7).astype(np.uint8))


def arrangements() -> Iterator[Case]:
    """Boxes that lie in a way: what is kept can be told without computing."""
    for count in (20, 70, 130, 530):
        tag = f"{count} "
        same = np.tile(np.array([[1, 2, 9, 8]], "f4"), (count, 1))
        # of three tiles: what the first suppresses in the last is handed over by other warps
        yield case(tag + "copies", same, np.ones(count, "f4"), small=count == 130)
        # each suppresses the next one: every other is kept, decided one after another
        yield case(tag + "chain", row_of_squares(count, 1), falling(count), small=count == 70)
    for count in (20, 130):
        small, tag = count == 20, f"{count} "
        yield case(tag + "apart", row_of_squares(count, 5), falling(count), small=small)
        alike = row_of_squares(count, 1)
        yield case(tag + "chain from behind", alike, falling(count)[::-1].copy())
        yield case(tag + "ties", alike, np.ones(count, "f4"), threshold=0.3)
    # squares of side 4, shifted by 2: an IoU of 1/3; by 1: of 3/5
    third = float(np.float32(1) / np.float32(3))
    for threshold in (third, float(np.nextafter(np.float32(third), np.float32(0)))):
        boxes = row_of_squares(20, 2)
        name = f"IoU of 1/3 at {threshold:.9f}"
        yield case(name, boxes, falling(20), threshold=threshold, small=True)
    halves = np.tile(np.array([[0, 0, 2, 1], [0, 0, 1, 1]], "f4"), (10, 1))
    halves[:, [0, 2]] += np.repeat(np.arange(10) * 4, 2)[:, None].astype(np.float32)
    for threshold in (0.5, float(np.nextafter(np.float32(0.5), np.float32(0)))):
        name = f"IoU of 1/2 at {threshold:.9f}"
        yield case(name, halves, falling(20), threshold=threshold, small=True)


def odd_values() -> Iterator[Case]:
    """Boxes with no inside, scores that are no number, thresholds at the ends."""
    boxes = np.tile(odd_boxes(), (3, 1))  # 24
    scores = random_scores(24, 1)
    yield case("boxes with no inside", boxes, scores, small=True)
    yield case("boxes with no inside, groups", boxes, scores, random_groups(24, 3, 2), small=True)
    boxes = random_boxes(20, 8)
    odd = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, -1.5, 2.5, 1e-42, -1e-42]
    values = np.array(odd, "f4")
    yield case("NaN, infinite and denormal scores", boxes, np.tile(values, 2), small=True)
    for threshold in (0.0, 1.0):
        boxes = np.concatenate([random_boxes(40, 9), random_boxes(40, 9)])
        yield case(f"threshold {threshold}", boxes, random_scores(80, 9), threshold=threshold)


def limits() -> Iterator[Case]:
    """A limit less than, equal to and greater than what is kept."""
    for count, most in ((70, (0, 1, 5, 64, 100)), (530, (64,))):
        boxes, scores = random_boxes(count, 7), random_scores(count, 7)
        groups = np.repeat([4, -4], [count - 30, 30])
        for limit in most:
            small = count == 70 and limit in (1, 100)
            yield case(f"{count}, limit {limit}", boxes, scores, limit=limit, small=small)
            name = f"{count} in 2 groups, limit {limit}"
            yield case(name, boxes, scores, groups, limit=limit)
    yield case("none, limit 3", random_boxes(0, 0), falling(0), limit=3, small=True)
    apart = row_of_squares(520, 5)
    yield case("520 apart, limit 100", apart, falling(520), limit=100)


def workloads() -> Iterator[Workload]:
    """Boxes all over an image, alone, in 80 classes, and in the levels of a pyramid."""
    for count in (1000, 5000, 20000):
        arrays = random_boxes(count, 0, 1000.0), random_scores(count, 1)
        yield workload(f"{count}", "nms", (*arrays, 0.5), "nms")
    for count in (1000, 20000):
        arrays = random_boxes(count, 0, 1000.0), random_scores(count, 1)
        groups = random_groups(count, 80, 2)
        yield workload(
            f"{count} in 80 groups", "batched_nms", (*arrays, groups, 0.5), "batched_nms"
        )
    counts = [2000, 2000, 2000, 819, 210] * 2  # two images of 800 x 1088
    arrays = random_boxes(sum(counts), 0, 1000.0), random_scores(sum(counts), 1)
    groups = np.repeat(np.arange(len(counts)), counts)
    yield workload(
        "levels of two images, limit 2000",
        "batched_nms_padded",
        (*arrays, groups, 0.7),
        "batched_nms",
        limit=2000,
    )


def workload(
    name: str, function: str, arguments: tuple[Any, ...], peer: str, **options: Any
) -> Workload:
    """Bytes are those of the arrays alone; 13 operations for every pair of boxes of a group."""
    count = len(arguments[0])
    groups = arguments[2] if len(arguments) == 4 else np.zeros(count, np.int64)
    sizes = np.unique(groups, return_counts=True)[1].astype(float)
    pairs = float((sizes * (sizes - 1) / 2).sum())
    moved = 28.0 * count + (8.0 * count if len(arguments) == 4 else 0.0)
    return Workload(name, function, arguments, options, moved, 13.0 * pairs, peer)
