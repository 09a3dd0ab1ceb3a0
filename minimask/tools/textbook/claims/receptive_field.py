"""Claim 16: how much of the image a cell of the feature map sees."""

# N images   A anchors per cell   H, W height and width of a map   R boxes

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.tools.info.fields import receptive_field
from minimask.tools.textbook.claims.ledger import WRONG, Chapter, Evidence

CHAPTER = Chapter("What a cell sees")


# (window, stride, padding) of every layer up to the map that the proposal network reads
VGG16 = (
    [(3, 1, 1)] * 2 + [(2, 2, 0)] + [(3, 1, 1)] * 2 + [(2, 2, 0)]
    + ([(3, 1, 1)] * 3 + [(2, 2, 0)]) * 2 + [(3, 1, 1)] * 3
)  # fmt: skip
ZF = [(7, 2, 3), (3, 2, 1), (5, 2, 2), (3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 1, 1)]


def footprint(layers: Sequence[tuple[int, int, int]], size: int) -> np.ndarray:
    """(size, size) the gradient of one middle cell with respect to the image, all weights one.

    Pooling is replaced by a sum over its window, which sees the same pixels.
    """
    image = Tensor(np.zeros((1, 1, size, size), np.float64), requires_grad=True)
    x: Any = image
    for window, stride, padding in layers:
        weight = np.full((1, 1, window, window), 1 / window**2)
        x = F.conv2d(x, weight, stride=stride, padding=padding)
    middle = x.shape[2] // 2
    x[0, 0, middle, middle].backward()
    assert image.grad is not None
    return image.grad[0, 0]


@CHAPTER.claim(
    16,
    by="S4",
    says="The sliding window covers n x n cells, and for n unequal 3 the receptive field with "
    "VGG-16 is 228 x 228 pixels.",
    verdict=WRONG,
    correction="A sign was misread: the paper takes n = 3, and with it VGG-16 sees 228 pixels "
    "(ZF 171). Another n gives another field.",
    section="Faster R-CNN, section 3.1",
)
def receptive_fields(evidence: Evidence) -> None:
    """By arithmetic, and as the pixels that a gradient reaches through the layers."""
    for n in (1, 3, 5):
        window = (n, 1, n // 2)
        side = receptive_field([*VGG16, window])
        if n == 3:
            evidence.equal("VGG-16, n = 3", side, 228, "pixels")
            evidence.quote()
        else:
            evidence.differs(f"VGG-16, n = {n}", side, 228, "pixels")
    evidence.equal("ZF, n = 3", receptive_field([*ZF, (3, 1, 1)]), 171, "pixels")
    for name, layers, side in (("VGG-16", VGG16, 228), ("ZF", ZF, 171)):
        reached = footprint([*layers, (3, 1, 1)], 352) != 0
        rows, columns = reached.any(axis=1).sum(), reached.any(axis=0).sum()
        evidence.equal(f"{name}, pixels reached by the gradient", (rows, columns), (side, side))
