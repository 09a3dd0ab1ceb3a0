"""What a semantic segmenter says about an image, and the truth it is compared with.

Letters: H W height and width of the image, K classes, R objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BACKGROUND = 0
IGNORED = -1  # pixels that nothing is known about: crowds, and what was added to an image


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The class of every pixel of one image; objects of one class are not told apart.

    ==============  ============  =======  ==================================================
    name            shape         dtype    format
    ==============  ============  =======  ==================================================
    labels          (H, W)        int64    0 background, k + 1 for `classes[k]`
    probabilities   (K + 1, H, W) float32  0 .. 1, in the same order; of a pixel they sum to 1
    ==============  ============  =======  ==================================================
    """

    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.labels.shape[0], self.labels.shape[1]

    def mask(self, label: int) -> np.ndarray:
        """(H, W) bool: the pixels of class `label`, 0 .. K - 1, without background."""
        return self.labels == label + 1

    def pixels(self) -> dict[str, int]:
        """How many pixels each class has; background is not among them."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes) + 1)
        return {name: int(n) for name, n in zip(self.classes, counts[1:], strict=True)}

    def __repr__(self) -> str:
        height, width = self.image_size
        shares = [f"{name} {n / self.labels.size:.1%}" for name, n in self.pixels().items() if n]
        return f"LabelMap({width} x {height} pixels: {', '.join(shares[:5]) or 'background'})"


def paint_label_map(
    masks: Any, labels: Sequence[int] | np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """One class for every pixel, from objects that may overlap.

    Where they do, the smaller object wins, and of two of one size the later: what lies in front
    hides part of what is behind, and seldom all of it.

    Args:
        masks: (R, H, W) bool or uint8, or `ObjectMasks`.
        labels: (R,) 0 .. K - 1.
        size: H, W.

    Returns:
        (H, W) int64: 0 background, label + 1 elsewhere.
    """
    painted = np.full(size, BACKGROUND, np.int64)
    areas = np.asarray(masks.sum(axis=(1, 2))) if len(labels) else np.zeros(0)
    for i in np.argsort(-areas.astype(np.int64), kind="stable"):  # a stable sort: later ones last
        painted[np.asarray(masks[int(i)], bool)] = int(labels[i]) + 1
    return painted
