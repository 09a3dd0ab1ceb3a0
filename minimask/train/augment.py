"""Random changes of the training images, by the names the command line uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask.data.sample import Sample
from minimask.data.transforms import (
    Compose,
    Flip,
    Photometric,
    RandomCrop,
    ScaleJitter,
    Transform,
    Transpose,
    VerticalFlip,
)


class Zoom:
    """Enlarge by up to `largest` and cut a piece of the old size out at a random place."""

    def __init__(self, largest: float = 1.6) -> None:
        self.enlarge = ScaleJitter(1.0, largest)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        height, width = sample.image.shape[:2]
        return RandomCrop(height, width)(self.enlarge(sample, rng), rng)


KINDS: dict[str, type] = {
    "flip": Flip,
    "vflip": VerticalFlip,
    "transpose": Transpose,
    "scale": Zoom,
    "photometric": Photometric,
}


def augmentation(names: Sequence[str]) -> Transform | None:
    """The named changes, one after the other; None where there are none."""
    return Compose(*(KINDS[name]() for name in names)) if names else None
