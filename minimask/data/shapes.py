"""Generated images of textured shapes with exact masks: training needs no download.

Objects overlap; the masks say what is visible.  Color and texture tell nothing about the class,
so a network has to learn outlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.data.sample import Sample, boxes_of_masks, coco_ground_truth
from minimask.data.shapes_drawing import FIELDS, TEXTURES, Patch, paint, rasterize

DEFAULT_CLASSES = ("circle", "square", "triangle", "star")
TRIES = 12  # places tried for an object before it is left out
SMALLEST = 12  # pixels; an object of which less is visible is drawn, but not annotated


@dataclass
class _Object:
    label: int
    patch: Patch  # what is visible of it
    points: int  # sample points of the whole object, also outside the image
    color: np.ndarray


class Shapes:
    """Images of circles, squares, triangles and stars on a textured background.

    Item i depends only on `seed` and i, not on the machine's state or on what was drawn before.
    Data for training and for testing are two seeds.

    Args:
        count: number of images; None: as many as asked for.
        size: of the image in pixels, one number or (height, width).
        seed: any whole number >= 0.
        classes: names of shapes; also there: ring, cross, hexagon, moon.
        objects: least and most objects per image.
        object_size: smallest and largest diameter, as a share of the image's shorter side.
        rotation: each object is turned by at most this many degrees; 180: any way.
        min_visible: each object shows at least this share of its area, so overlaps and
            objects cut by the image's border stay recognizable; 0 lets objects hide others.
        texture: how far the second color of stripes, dots and gradients is from the first,
            0 (plain paint) to 1 (any other color).
        noise: standard deviation of the noise added to every value, at most, of 255.
        contrast: least distance of an object's color from the background's and the other
            objects', in RGB (0 to 441).  Lower is harder.

    Raises:
        ValueError: an unknown class, or numbers out of range.
    """

    def __init__(
        self,
        count: int | None = None,
        size: int | tuple[int, int] = 128,
        seed: int = 0,
        classes: Sequence[str] = DEFAULT_CLASSES,
        *,
        objects: tuple[int, int] = (1, 4),
        object_size: tuple[float, float] = (0.2, 0.5),
        rotation: float = 15.0,
        min_visible: float = 0.4,
        texture: float = 0.25,
        noise: float = 8.0,
        contrast: float = 90.0,
    ) -> None:
        self.count = count
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.seed = seed
        self.classes = tuple(classes)
        self.category_ids = tuple(range(1, len(self.classes) + 1))
        self.objects = objects
        self.object_size = object_size
        self.rotation = rotation
        self.min_visible = min_visible
        self.texture = texture
        self.noise = noise
        self.contrast = contrast
        self._coco: dict[str, Any] | None = None
        self._check()

    def _check(self) -> None:
        for name in self.classes:
            if name not in FIELDS:
                raise ValueError(f"classes: no shape {name!r}; there are {', '.join(FIELDS)}")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes: expected different names, got {self.classes}")
        least, most = self.objects
        small, large = self.object_size
        size = (self.height, self.width)
        rules = [
            ("count", self.count, self.count is None or self.count >= 0, "None or at least 0"),
            ("size", size, min(size) >= 16, "at least 16 pixels a side"),
            ("seed", self.seed, self.seed >= 0, "a whole number, at least 0"),
            ("objects", self.objects, 0 <= least <= most, "(least, most), 0 <= least <= most"),
            ("object_size", self.object_size, 0 < small <= large <= 1, "(small, large) in (0, 1]"),
            ("rotation", self.rotation, 0 <= self.rotation <= 180, "0 to 180 degrees"),
            ("min_visible", self.min_visible, 0 <= self.min_visible < 1, "0 to less than 1"),
            ("texture", self.texture, 0 <= self.texture <= 1, "0 to 1"),
            ("noise", self.noise, self.noise >= 0, "at least 0"),
        ]
        for name, value, holds, expected in rules:
            if not holds:
                raise ValueError(f"{name}: expected {expected}, got {value}")

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("these shapes have no end; give Shapes a count for a fixed split")
        return self.count

    def describe(self, index: int) -> str:
        """Name of an item for messages."""
        return f"generated image {index} of seed {self.seed}"

    def __getitem__(self, index: int) -> Sample:
        """Draw image `index`: the same image every time."""
        if index < 0 or (self.count is not None and index >= self.count):
            raise IndexError(f"image {index} of {self.count}")
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0, index)))
        background = rng.uniform(20, 235, 3).astype(np.float32)
        objects = self._place(rng, background)
        image = self._paint(rng, background, objects)
        return self._sample(index, image, objects)

    def _place(self, rng: np.random.Generator, background: np.ndarray) -> list[_Object]:
        """Objects from back to front, each visible enough."""
        objects: list[_Object] = []
        for _ in range(rng.integers(self.objects[0], self.objects[1] + 1)):
            label = int(rng.integers(len(self.classes)))
            color = self._color(rng, [background, *(o.color for o in objects)])
            for _ in range(TRIES):
                patch = self._somewhere(rng, self.classes[label])
                new = _Object(label, patch.clip(self.height, self.width), patch.points, color)
                under = [o.patch.without(new.patch) for o in objects]
                patches = zip([*objects, new], [*under, new.patch], strict=True)
                if all(p.points >= self.min_visible * o.points for o, p in patches):
                    for other, patch in zip(objects, under, strict=True):
                        other.patch = patch
                    objects.append(new)
                    break
        return objects

    def _somewhere(self, rng: np.random.Generator, shape: str) -> Patch:
        small, large = self.object_size
        diameter = rng.uniform(small, large) * min(self.height, self.width)
        margin = 0.3 * diameter
        x = rng.uniform(margin, self.width - margin)
        y = rng.uniform(margin, self.height - margin)
        turn = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
        return rasterize(shape, x, y, diameter / 2, turn)

    def _color(self, rng: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
        """A color far enough from the others, or the farthest of 16."""
        colors = rng.uniform(0, 255, (16, 3)).astype(np.float32)
        nearest = np.linalg.norm(colors[:, None] - np.stack(others), axis=2).min(axis=1)
        enough = nearest >= self.contrast
        return colors[enough.argmax() if enough.any() else nearest.argmax()]

    def _paint(
        self, rng: np.random.Generator, color: np.ndarray, objects: list[_Object]
    ) -> np.ndarray:
        """(H, W, 3) uint8: background, then what is visible of each object, then noise."""
        height, width = self.height, self.width
        behind = np.empty((height, width, 3), np.float32)
        behind[:] = self._fill(rng, color, (height, width))
        image = behind.copy()
        for item in objects:
            window = item.patch.window()
            height, width = item.patch.bits.shape
            filled = self._fill(rng, item.color, (height, width))
            image[window] += item.patch.coverage[:, :, None] * (filled - behind[window])
        strength = np.float32(rng.uniform(0, self.noise))
        image += strength * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8)

    def _fill(
        self, rng: np.random.Generator, color: np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        """A rectangle painted with a random texture of `color` and one nearby."""
        kind = TEXTURES[rng.integers(len(TEXTURES))]
        other = rng.uniform(0, 255, 3).astype(np.float32)
        second = color + np.float32(self.texture) * (other - color)
        return paint(kind, color, second, *size, rng, min(self.height, self.width) / 128)

    def _sample(self, index: int, image: np.ndarray, objects: list[_Object]) -> Sample:
        masks = np.zeros((len(objects), self.height, self.width), bool)
        free = np.ones((self.height, self.width), bool)
        for mask, item in zip(masks[::-1], reversed(objects), strict=True):
            window = item.patch.window()
            # two objects may share a pixel half and half: the one in front gets it
            mask[window] = (item.patch.coverage >= 0.5) & free[window]
            free[window] &= ~mask[window]
        labels = np.array([o.label for o in objects], np.int64)
        seen = masks.sum(axis=(1, 2)) >= SMALLEST
        masks = masks[seen]
        return Sample(image, boxes_of_masks(masks), labels[seen], masks, image_id=index + 1)

    def coco(self) -> dict[str, Any]:
        """The ground truth of all images as COCO JSON, masks as compressed RLE.

        Raises:
            TypeError: without a count.
        """
        if self._coco is None:
            samples = (self[i] for i in range(len(self)))
            self._coco = coco_ground_truth(samples, self.classes, self.category_ids)
        return self._coco
