"""What resizing is checked and timed with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minimask.kernels.case import Case, Workload

# name: input shape, size of the output, small enough for the simulator and the sanitizers
SIZES: dict[str, tuple[tuple[int, int, int, int], tuple[int, int], bool]] = {
    "doubled": ((1, 2, 4, 6), (8, 12), True),
    "same size": ((1, 2, 5, 7), (5, 7), True),
    "larger, odd": ((2, 3, 3, 5), (7, 11), True),
    "smaller": ((1, 2, 13, 9), (4, 5), True),
    "a third": ((1, 1, 9, 12), (3, 4), True),
    "from one pixel": ((2, 1, 1, 1), (5, 4), True),
    "to one pixel": ((2, 1, 6, 5), (1, 1), True),
    "rows only": ((1, 1, 4, 8), (9, 8), True),
    "batch of none": ((0, 3, 4, 4), (8, 8), True),
    "many planes": ((3, 23, 9, 10), (18, 20), False),
    "one row, long": ((1, 1, 2, 640), (3, 1067), False),
    "image": ((1, 3, 60, 81), (100, 135), False),
}


def normal(seed: int, *shape: int) -> np.ndarray:
    """float32 numbers around 0."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Positions have the precision of the image: widened to float64, it would be sampled elsewhere, and
# the reference's answer would be that to another question.
AS_IT_IS: tuple[int, ...] = ()


def cases() -> Iterator[Case]:
    """Both modes, forward and backward, of every pair of sizes."""
    for name, (shape, size, small) in SIZES.items():
        scale = max(1, -(-size[0] // shape[2])) * max(1, -(-size[1] // shape[3]))
        for mode in ("nearest", "bilinear"):
            widen = AS_IT_IS if mode == "bilinear" else None
            yield Case(
                f"{name}, {mode}",
                "resize",
                (normal(0, *shape), size),
                {"mode": mode},
                terms=4,
                small=small,
                widen=widen,
            )
            yield Case(
                f"{name}, {mode}",
                "resize_backward",
                (normal(1, *shape[:2], *size), shape),
                {"mode": mode},
                terms=4 * scale,
                small=small,
                widen=widen,
            )


def workloads() -> Iterator[Workload]:
    """The image before the network, a step of the pyramid and its gradient."""
    for name, shape, size, mode in (
        ("image to 800 x 1088", (1, 3, 480, 640), (800, 1067), "bilinear"),
        ("pyramid, doubled", (2, 256, 100, 136), (200, 272), "nearest"),
    ):
        x, grad = normal(0, *shape), normal(1, *shape[:2], *size)
        moved = 4.0 * (x.size + grad.size)
        operations = 8.0 * grad.size if mode == "bilinear" else 0.0
        yield Workload(name, "resize", (x, size), {"mode": mode}, moved, operations, "resize")
        yield Workload(
            name,
            "resize_backward",
            (grad, shape),
            {"mode": mode},
            moved,
            operations or 1.0 * grad.size,
            "resize_backward",
        )
