"""Changes that move every pixel by one map: large-scale jitter and rotation.

`Affine` says where a place of the image goes, and is asked for the image, the masks and the
keypoints alike.

Letters: R instances, H W height and width of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from minimask.data.keypoints import at_places, without_outside
from minimask.data.masks import ObjectMasks
from minimask.data.sample import Sample
from minimask.data.transforms import with_masks


@dataclass(frozen=True, eq=False)
class Affine:
    """Where the places of an image go.

    Attributes:
        matrix: (2, 3) float64: the place (x, y) goes to matrix @ (x, y, 1).  Places are in
            pixels, and pixel i covers [i, i + 1): its center is at i + 0.5.
    """

    matrix: np.ndarray

    @classmethod
    def scaling(cls, x: float, y: float, right: float = 0, down: float = 0) -> Affine:
        """Both axes stretched from the upper left corner, then moved."""
        return cls(np.array([[x, 0, right], [0, y, down]], np.float64))

    @classmethod
    def rotation(cls, degrees: float, height: int, width: int) -> Affine:
        """Turned around the image's center, counterclockwise as one sees it."""
        turn = math.radians(degrees)
        cos, sin = math.cos(turn), math.sin(turn)
        linear = np.array([[cos, sin], [-sin, cos]])  # y points down
        center = np.array([width / 2, height / 2])
        return cls(np.column_stack([linear, center - linear @ center]))

    def points(self, places: np.ndarray) -> np.ndarray:
        """Where places go: (..., 2) x y -> (..., 2) float64."""
        return places @ self.matrix[:, :2].T + self.matrix[:, 2]

    def after(self, first: Affine) -> Affine:
        """This map of what `first` gives."""
        whole = np.vstack([first.matrix, [0, 0, 1]])
        return Affine(self.matrix @ whole)

    def inverse(self) -> Affine:
        """The way back."""
        back = np.linalg.inv(self.matrix[:, :2])
        return Affine(np.column_stack([back, -back @ self.matrix[:, 2]]))

    def image(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        """An image moved, on a canvas of height x width filled with the image's mean color.

        Linear between pixel centers; averaged first over the pixels that become one.

        Args:
            image: (H, W, 3) uint8.
            height: of the canvas.
            width: the same.
        """
        mean = image[::4, ::4].reshape(-1, 3).mean(axis=0).round().astype(int)
        picture, move = Image.fromarray(np.ascontiguousarray(image)), self
        shrink = np.minimum(np.hypot(*self.matrix[:, :2]), 1)  # of each axis of the image
        size = np.maximum(np.array(picture.size) * shrink, 1).round().astype(int)
        if (size < picture.size).any():
            small = Affine.scaling(*(size / picture.size))
            picture = picture.resize((int(size[0]), int(size[1])), Image.Resampling.BILINEAR)
            move = self.after(small.inverse())
        moved = picture.transform(
            (width, height),
            Image.Transform.AFFINE,
            move.inverse().matrix.ravel().tolist(),
            Image.Resampling.BILINEAR,
            fillcolor=tuple(mean.tolist()),
        )
        return np.asarray(moved)

    def masks(self, masks: np.ndarray | ObjectMasks, height: int, width: int) -> ObjectMasks:
        """Masks (R, H, W) moved to a canvas of height x width, from the nearest pixels."""
        if isinstance(masks, np.ndarray):
            masks = ObjectMasks.from_masks(masks, *masks.shape[1:])
        moved = [self._crop(*masks.crop(i), height, width) for i in range(len(masks))]
        known = (masks.outline(i) for i in range(len(masks)))
        outlines = [o if o is None else tuple(map(self.points, o)) for o in known]
        crops, corners = [c for c, _ in moved], [c for _, c in moved]
        return ObjectMasks(crops, corners, height, width, outlines)

    def _crop(
        self, crop: np.ndarray, corner: tuple[int, int], height: int, width: int
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """A crop moved, and its new corner."""
        (y, x), (h, w) = corner, crop.shape
        ends = self.points(np.array([(x, y), (x + w, y), (x, y + h), (x + w, y + h)]))
        # a pixel of margin: rounding must not cut off what touches the border
        left, top = (np.maximum(np.floor(ends.min(axis=0)) - 1, 0)).astype(int).tolist()
        right, below = (np.ceil(ends.max(axis=0)).astype(int) + 1).tolist()
        right, below = min(right, width), min(below, height)
        if not crop.size or left >= right or top >= below:
            return np.zeros((0, 0), bool), (0, 0)
        back = Affine.scaling(1, 1, -x, -y).after(self.inverse())
        back = back.after(Affine.scaling(1, 1, left, top))
        moved = Image.fromarray(np.ascontiguousarray(crop).view(np.uint8)).transform(
            (right - left, below - top),
            Image.Transform.AFFINE,
            back.matrix.ravel().tolist(),
            Image.Resampling.NEAREST,
        )
        return np.asarray(moved) > 0, (top, left)


def warp(sample: Sample, move: Affine, height: int, width: int) -> Sample:
    """The sample moved to a canvas of height x width; what leaves it is gone."""
    image, masks = move.image(sample.image, height, width), move.masks(sample.masks, height, width)
    keypoints = sample.keypoints
    if keypoints is not None:
        keypoints = at_places(keypoints, move.points(keypoints[:, :, :2]))
        keypoints = without_outside(keypoints, height, width)
    return with_masks(replace(sample, image=image, masks=masks, keypoints=keypoints))


@dataclass(frozen=True)
class Rotate:
    """Turn around the center by a random angle; the image keeps its size.

    Args:
        degrees: most, either way.
    """

    degrees: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ValueError(f"Rotate: expected 0 to 180 degrees, got {self.degrees}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        height, width = sample.image.shape[:2]
        angle = float(rng.uniform(-self.degrees, self.degrees))
        return warp(sample, Affine.rotation(angle, height, width), height, width)


@dataclass(frozen=True)
class LargeScaleJitter:
    """Resize by a random factor, then cut out or pad to the old size at a random place.

    From "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation"
    (arXiv:2012.07177), section 3.  Objects of which no pixel is left are gone.

    Args:
        smallest: factor, for both sides alike.
        largest: the same; all factors between are equally likely.
    """

    smallest: float = 0.1
    largest: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest:
            raise ValueError(
                "LargeScaleJitter: expected 0 < smallest <= largest, "
                f"got {self.smallest} and {self.largest}"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        height, width = sample.image.shape[:2]
        factor = float(rng.uniform(self.smallest, self.largest))
        high, wide = max(1, round(height * factor)), max(1, round(width * factor))
        down, right = (
            int(rng.integers(min(0, room), max(0, room) + 1))
            for room in (height - high, width - wide)
        )
        move = Affine.scaling(wide / width, high / height, right, down)
        return warp(sample, move, height, width)
