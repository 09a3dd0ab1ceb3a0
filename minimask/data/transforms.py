"""Changes of an image that change its boxes and masks alike.

A transform is called with a sample and a random generator and returns a new sample; the one it
got stays as it is, except that arrays may be shared.  After each, the boxes are the tight boxes
of the masks, and instances without a pixel left are gone.  Keypoints go with their objects; those
that a crop cuts off are not labeled any more.

Letters: R instances, H W height and width of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from minimask.data import keypoints as keypoint_ops
from minimask.data.masks import ObjectMasks
from minimask.data.photometric import Photometric as Photometric  # can be found here too
from minimask.data.sample import Dataset, Sample, boxes_of_masks

Transform = Callable[[Sample, np.random.Generator], Sample]


class Compose:
    """Several transforms, one after the other."""

    def __init__(self, *transforms: Transform) -> None:
        self.transforms = transforms

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply all to a sample."""
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample

    def bind(self, dataset: Dataset) -> Compose:
        """The same transforms, those that need a data set with this one."""
        return Compose(*(bind(transform, dataset) for transform in self.transforms))

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


def bind(transform: Transform, dataset: Dataset) -> Transform:
    """A transform as it is for the images of a data set.

    Most do not care.  One that needs other images than its own, as copy-paste, has a method
    `bind(dataset)` that gives what is then called; so has whoever calls others.
    """
    bound: Transform = getattr(transform, "bind", lambda dataset: transform)(dataset)
    return bound


@dataclass(frozen=True)
class Flip:
    """Swap left and right, with a probability."""

    probability: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        if rng.random() >= self.probability:
            return sample
        width = sample.image.shape[1]
        boxes = sample.boxes.copy()
        boxes[:, [0, 2]] = width - sample.boxes[:, [2, 0]]
        return replace(
            sample,
            image=sample.image[:, ::-1],
            masks=sample.masks[:, :, ::-1],
            boxes=boxes,
            keypoints=_reflected(sample, lambda places: places * (-1, 1) + (width, 0)),
        )


@dataclass(frozen=True)
class VerticalFlip:
    """Swap top and bottom, with a probability."""

    probability: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        if rng.random() >= self.probability:
            return sample
        height = sample.image.shape[0]
        boxes = sample.boxes.copy()
        boxes[:, [1, 3]] = height - sample.boxes[:, [3, 1]]
        return replace(
            sample,
            image=sample.image[::-1],
            masks=sample.masks[:, ::-1],
            boxes=boxes,
            keypoints=_reflected(sample, lambda places: places * (1, -1) + (0, height)),
        )


@dataclass(frozen=True)
class Transpose:
    """Swap rows and columns, with a probability.

    Together with `Flip` and `VerticalFlip` this gives all eight ways to lay the image down, as
    suits microscope and aerial pictures.
    """

    probability: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        if rng.random() >= self.probability:
            return sample
        return replace(
            sample,
            image=sample.image.transpose(1, 0, 2),
            masks=sample.masks.transpose(0, 2, 1),
            boxes=sample.boxes[:, [1, 0, 3, 2]],
            keypoints=_reflected(sample, lambda places: places[..., ::-1]),
        )


def _reflected(sample: Sample, places: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
    """Keypoints of the mirrored image: moved, and left and right exchanged."""
    if sample.keypoints is None:
        return None
    keypoints = keypoint_ops.at_places(sample.keypoints, places(sample.keypoints[:, :, :2]))
    return keypoint_ops.mirrored(keypoints, sample.skeleton)


def resize(sample: Sample, height: int, width: int, *, antialias: bool = True) -> Sample:
    """The sample at another size.

    The image is interpolated linearly between pixel centers; masks take the nearest pixel.

    Args:
        sample: what to resize.
        height: the new one, in pixels.
        width: the same.
        antialias: average over the pixels that become one when shrinking, as Pillow and
            detectron2 do; False: interpolate between four pixels, as torchvision does.
    """
    old_height, old_width = sample.image.shape[:2]
    if (height, width) == (old_height, old_width):
        return sample
    rows, columns = _centers(old_height, height), _centers(old_width, width)
    taken = rows.astype(np.int64), columns.astype(np.int64)
    masks = sample.masks
    if isinstance(masks, ObjectMasks):
        masks = masks.resized(*taken)
    else:
        masks = masks[:, taken[0]][:, :, taken[1]]
    if antialias:
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(sample.image))
        image = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    else:
        image = _bilinear(sample.image, rows - 0.5, columns - 0.5)
    keypoints = sample.keypoints
    if keypoints is not None:
        keypoints = keypoint_ops.scaled(keypoints, width / old_width, height / old_height)
    return with_masks(replace(sample, image=image, masks=masks, keypoints=keypoints))


def _centers(old: int, new: int) -> np.ndarray:
    """(new,) where the centers of the new pixels lie among the old ones, in [0, old)."""
    return (np.arange(new) + 0.5) * (old / new)


def _bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Interpolate at pixel indices; beyond the outermost centers the border value holds."""
    mixed = image.astype(np.float32)
    for axis, places in ((0, rows), (1, columns)):
        places = np.clip(places, 0, image.shape[axis] - 1)
        low = places.astype(np.int64)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        weight = (places - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        mixed = mixed.take(low, axis) * (1 - weight) + mixed.take(high, axis) * weight
    return np.clip(mixed + np.float32(0.5), 0, 255).astype(np.uint8)


def with_masks(sample: Sample) -> Sample:
    """The sample with its boxes measured again and without instances that have no pixel left."""
    sample = replace(sample, boxes=boxes_of_masks(sample.masks))
    some = sample.boxes[:, 2] > 0
    return sample if some.all() else sample.keep(some)


@dataclass(frozen=True)
class ResizeShortest:
    """Make the shorter side `smallest` pixels, or less where the longer would exceed `largest`.

    Args:
        smallest: length wanted for the shorter side.
        largest: most for the longer side; default: no limit.
        rounding: of the sizes: "down" as torchvision, "nearest" as detectron2.
        antialias: see `resize`.
    """

    smallest: int
    largest: int | None = None
    rounding: str = "down"
    antialias: bool = True

    def __post_init__(self) -> None:
        if self.rounding not in ("down", "nearest"):
            raise ValueError(f"rounding: expected 'down' or 'nearest', got {self.rounding!r}")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this size gets."""
        scale = self.smallest / min(height, width)
        if self.largest is not None:
            scale = min(scale, self.largest / max(height, width))
        extra = 0.5 if self.rounding == "nearest" else 0.0
        return max(1, int(height * scale + extra)), max(1, int(width * scale + extra))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        return resize(sample, *self.size(*sample.image.shape[:2]), antialias=self.antialias)


@dataclass(frozen=True)
class ScaleJitter:
    """Resize by a random factor, both sides alike; all octaves are equally likely."""

    smallest: float = 0.5
    largest: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest:
            raise ValueError(
                "ScaleJitter: expected 0 < smallest <= largest, "
                f"got {self.smallest} and {self.largest}"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        factor = float(np.exp(rng.uniform(np.log(self.smallest), np.log(self.largest))))
        height, width = sample.image.shape[:2]
        return resize(sample, max(1, round(height * factor)), max(1, round(width * factor)))


@dataclass(frozen=True)
class RandomCrop:
    """Cut out a rectangle at a random place; smaller images are left whole on that axis.

    Args:
        height: of the rectangle in pixels.
        width: default: the same.
    """

    height: int
    width: int | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        size = (self.height, self.width or self.height)
        rows, columns = (
            slice(start := int(rng.integers(max(old - new, 0) + 1)), start + min(new, old))
            for old, new in zip(sample.image.shape[:2], size, strict=True)
        )
        image = sample.image[rows, columns]
        keypoints = sample.keypoints
        if keypoints is not None:
            places = keypoints[:, :, :2] - (columns.start, rows.start)
            keypoints = keypoint_ops.at_places(keypoints, places)
            keypoints = keypoint_ops.without_outside(keypoints, *image.shape[:2])
        masks = sample.masks[:, rows, columns]
        return with_masks(replace(sample, image=image, masks=masks, keypoints=keypoints))


@dataclass(frozen=True)
class RandomZoomCrop:
    """Enlarge by up to `largest` and cut a piece of the old size out at a random place."""

    largest: float = 1.6

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        height, width = sample.image.shape[:2]
        return RandomCrop(height, width)(ScaleJitter(1.0, self.largest)(sample, rng), rng)
