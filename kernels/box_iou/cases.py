"""What box_iou is checked and timed with.  Letters: A boxes in the first list, B in the second."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minimask.kernels.case import Case, Workload

SIZES = (0, 1, 63, 64, 65, 200)  # around the sizes of warps and tiles


def random_boxes(count: int, seed: int, extent: float = 100.0) -> np.ndarray:
    """(count, 4) float32, x0 y0 x1 y1, of many sizes, in a square of `extent`."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 0.8 * extent, (count, 2))
    side = rng.uniform(0.01, 0.5, (count, 2)) * extent
    return np.concatenate([corner, corner + side], axis=1).astype(np.float32)


def odd_boxes() -> np.ndarray:
    """Boxes with no inside, beside some that have one."""
    nan, inf = np.nan, np.inf
    return np.array(
        [
            [0, 0, 10, 10],
            [5, 5, 5, 9],  # zero area
            [8, 8, 2, 2],  # inverted
            [8, 2, 2, 8],  # inverted in x
            [nan, 0, 10, 10],
            [0, 0, inf, 10],
            [-inf, -inf, inf, inf],
            [2, 2, 8, 8],
        ],
        np.float32,
    )


def cases() -> Iterator[Case]:
    """Sizes against each other, every remainder of B modulo 4, and boxes with no inside."""
    for i, count in enumerate(SIZES):
        other = SIZES[(i + 2) % len(SIZES)]
        pair = (random_boxes(count, i), random_boxes(other, i + 10))
        yield Case(f"{count} x {other}", "box_iou", pair, small=count * other < 300)
    yield Case("no inside", "box_iou", (odd_boxes(), odd_boxes()), small=True)
    yield Case("37 x 19", "box_iou", (random_boxes(37, 3), random_boxes(19, 4)), small=True)
    # rows of 1 to 8 values: those of four neighbors at once span up to four rows
    for count in range(1, 9):
        pair = (random_boxes(23, count), random_boxes(count, 20 + count))
        yield Case(f"23 x {count}", "box_iou", pair, small=count in (1, 2, 3, 6))
    # more rows, or columns, than a block owns; 50 is what anchors are matched with
    for count, other in ((1300, 50), (4099, 3), (9, 1031), (5, 2050)):
        pair = (random_boxes(count, 5), random_boxes(other, 6))
        yield Case(f"{count} x {other}", "box_iou", pair)
    yield from _best()


def _best() -> Iterator[Case]:
    """What lies in one block and in several, ties, boxes with no inside.

    Which of two is nearest is decided in the boxes' type: the reference gets them as they are.
    """
    for count, other in ((0, 5), (5, 0), (1, 1), (7, 200), (20, 512), (3, 1031), (65, 1300)):
        pair = (random_boxes(count, 7), random_boxes(other, 8))
        yield Case(f"best of {count} x {other}", "best_overlaps", pair, widen=())
    pair = (np.round(random_boxes(9, 9, 12.0)), np.round(random_boxes(600, 10, 12.0)))
    yield Case("best of many ties", "best_overlaps", pair, widen=())
    yield Case("best, no inside", "best_overlaps", (odd_boxes(), odd_boxes()), widen=())


def workloads() -> Iterator[Workload]:
    """All anchors of an 800 x 1088 image against 50 objects; a square one.

    `best_overlaps` is timed in `benchmarks/cpu.py`: torchvision does it in two functions.
    """
    for a, b in ((268569, 50), (4000, 4000)):
        yield Workload(
            f"{a} x {b}",
            "box_iou",
            (random_boxes(a, 0, 1000.0), random_boxes(b, 1, 1000.0)),
            bytes=4.0 * (4 * a + 4 * b + a * b),
            operations=13.0 * a * b,
            peer="box_iou",
        )
