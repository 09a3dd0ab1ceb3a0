"""Generated people of sticks: masks and the 17 keypoints of COCO's person, exact to a sub-pixel.

For learning keypoints without a download.  Figures hide parts of each other, boards stand before
some, and borders cut them off: such keypoints are hidden (v = 1) or not labeled (v = 0).

Letters: R figures, H W height and width of the image, P = 17 keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.data.keypoints import HIDDEN, VISIBLE, without_outside
from minimask.data.sample import Sample, boxes_of_masks, coco_ground_truth
from minimask.data.shapes_drawing import GRID, TEXTURES, Patch, paint, rasterize_field
from minimask.data.skeleton import COCO_PERSON
from minimask.data.sticks_pose import FACE, Part, Pose, field_of, random_pose

TRIES = 12  # places tried for a figure before it is left out
SMALLEST = 40  # pixels; a figure of which less is visible is drawn, but not annotated
SKIN = np.array([(241, 194, 160), (198, 134, 90), (120, 75, 50)], np.float32)  # mixed


@dataclass
class _Figure:
    points: np.ndarray  # (P, 2) in pixels
    from_behind: bool
    patches: list[Patch]  # of the parts, inside the image
    colors: list[np.ndarray]
    whole: Patch  # all of them together, also outside the image
    annotated: bool = True  # False: a board


class Sticks:
    """Images of jointed figures on a textured background.

    Item i depends only on `seed` and i.  Data for training and for testing are two seeds.

    Args:
        count: number of images; None: as many as asked for.
        size: of the image in pixels, one number or (height, width).
        seed: any whole number >= 0.
        figures: least and most figures per image.
        figure_size: smallest and largest height, as a share of the image's shorter side.
        behind: probability that a figure is seen from behind: no face, left and right swapped.
        lean: degrees that trunks are off the vertical, at most.
        boards: probability that a board hides a part of the image.
        min_visible: each figure shows at least this share of its area.
        noise: standard deviation of the noise added to every value, at most, of 255.

    Raises:
        ValueError: numbers out of range.
    """

    classes: tuple[str, ...] = ("person",)
    category_ids: tuple[int, ...] = (1,)
    skeleton = COCO_PERSON

    def __init__(
        self,
        count: int | None = None,
        size: int | tuple[int, int] = 128,
        seed: int = 0,
        *,
        figures: Sequence[int] = (1, 3),
        figure_size: Sequence[float] = (0.5, 0.95),
        behind: float = 0.25,
        lean: float = 15.0,
        boards: float = 0.3,
        min_visible: float = 0.5,
        noise: float = 8.0,
    ) -> None:
        self.count, self.seed = count, seed
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.figures, self.figure_size = tuple(figures), tuple(figure_size)
        self.behind, self.lean, self.boards = behind, lean, boards
        self.min_visible, self.noise = min_visible, noise
        self._coco: dict[str, Any] | None = None
        self._check()

    def _check(self) -> None:
        few, many = self.figures if len(self.figures) == 2 else (-1, -1)
        small, large = self.figure_size if len(self.figure_size) == 2 else (0, 0)
        size = (self.height, self.width)
        rules = [
            ("count", self.count, self.count is None or self.count >= 0, "None or at least 0"),
            ("size", size, min(size) >= 32, "at least 32 pixels a side"),
            ("seed", self.seed, self.seed >= 0, "a whole number, at least 0"),
            ("figures", self.figures, 0 <= few <= many, "(least, most), 0 <= least <= most"),
            ("figure_size", self.figure_size, 0 < small <= large <= 2, "(small, large), 0 to 2"),
            ("behind", self.behind, 0 <= self.behind <= 1, "0 to 1"),
            ("lean", self.lean, 0 <= self.lean <= 180, "0 to 180 degrees"),
            ("boards", self.boards, 0 <= self.boards <= 1, "0 to 1"),
            ("min_visible", self.min_visible, 0 <= self.min_visible < 1, "0 to less than 1"),
            ("noise", self.noise, self.noise >= 0, "at least 0"),
        ]
        for name, value, holds, expected in rules:
            if not holds:
                raise ValueError(f"{name}: expected {expected}, got {value}")

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("these figures have no end; give Sticks a count for a fixed split")
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
        figures = self._place(rng, background)
        if rng.random() < self.boards:
            figures = self._with_board(rng, figures)
        return self._sample(index, self._paint(rng, background, figures), figures)

    def _place(self, rng: np.random.Generator, background: np.ndarray) -> list[_Figure]:
        """Figures from back to front, each visible enough."""
        figures: list[_Figure] = []
        for _ in range(rng.integers(self.figures[0], self.figures[1] + 1)):
            pose = random_pose(rng, self.behind, self.lean)
            colors = _colors(rng, background)
            for _ in range(TRIES):
                new = self._somewhere(rng, pose, colors)
                if self._all_visible([*figures, new]):
                    figures.append(new)
                    break
        return figures

    def _somewhere(
        self, rng: np.random.Generator, pose: Pose, colors: dict[str, np.ndarray]
    ) -> _Figure:
        """The pose at a random size and place, a little of it outside the image perhaps."""
        small, large = self.figure_size
        height = rng.uniform(small, large) * min(self.height, self.width)
        low, high = pose.points.min(axis=0) * height, pose.points.max(axis=0) * height
        room = np.array([self.width, self.height]) - (high - low)
        slack = 0.08 * height
        corner = rng.uniform(np.minimum(0, room) - slack, np.maximum(0, room) + slack)
        return self._figure(pose, height, corner - low, colors)

    def _figure(
        self, pose: Pose, height: float, place: np.ndarray, colors: dict[str, np.ndarray]
    ) -> _Figure:
        patches = [_patch(part, height, place) for part in pose.parts]
        return _Figure(
            pose.points * height + place,
            pose.from_behind,
            [patch.clip(self.height, self.width) for patch in patches],
            [colors[part.paint] for part in pose.parts],
            _union(patches),
        )

    def _all_visible(self, figures: list[_Figure]) -> bool:
        for i, figure in enumerate(figures):
            seen = figure.whole.clip(self.height, self.width)
            for other in figures[i + 1 :]:
                seen = seen.without(other.whole)
            if figure.annotated and seen.points < self.min_visible * figure.whole.points:
                return False
        return True

    def _with_board(self, rng: np.random.Generator, figures: list[_Figure]) -> list[_Figure]:
        """A board in front of everything, where it leaves enough to be seen."""
        for _ in range(TRIES):
            size = rng.uniform(0.1, 0.35, 2) * (self.width, self.height)
            x, y = rng.uniform(0, 1, 2) * (self.width, self.height) - size / 2
            corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size + (x, y)
            patch = _patch(Part(corners, 0.0, ""), 1.0, np.zeros(2))
            inside = patch.clip(self.height, self.width)
            color = rng.uniform(20, 235, 3).astype(np.float32)
            board = _Figure(np.zeros((0, 2)), False, [inside], [color], patch, annotated=False)
            if inside.points and self._all_visible([*figures, board]):
                return [*figures, board]
        return figures

    def _paint(
        self, rng: np.random.Generator, color: np.ndarray, figures: list[_Figure]
    ) -> np.ndarray:
        """(H, W, 3) uint8: background, then what is visible of each part, then noise."""
        size = (self.height, self.width)
        kind = TEXTURES[rng.integers(len(TEXTURES))]
        other = color + 0.25 * (rng.uniform(0, 255, 3).astype(np.float32) - color)
        behind = np.empty((*size, 3), np.float32)
        behind[:] = paint(kind, color, other, *size, rng, min(size) / 128)
        image = behind.copy()
        taken = np.zeros(size, np.uint64)
        for figure in reversed(figures):
            for patch, own in zip(reversed(figure.patches), reversed(figure.colors), strict=True):
                window = patch.window()
                seen = Patch(patch.top, patch.left, patch.bits & ~taken[window])
                taken[window] |= patch.bits
                image[window] += seen.coverage[:, :, None] * (own - behind[window])
        strength = np.float32(rng.uniform(0, self.noise))
        image += strength * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8)

    def _sample(self, index: int, image: np.ndarray, figures: list[_Figure]) -> Sample:
        people = [figure for figure in figures if figure.annotated]
        masks = np.zeros((len(people), self.height, self.width), bool)
        keypoints = np.zeros((len(people), len(COCO_PERSON), 3), np.float32)
        taken = np.zeros((self.height, self.width), np.uint64)  # by what is in front
        free = np.ones((self.height, self.width), bool)
        at = len(people)
        for figure in reversed(figures):
            inside = figure.whole.clip(self.height, self.width)
            window = inside.window()
            if figure.annotated:
                at -= 1
                keypoints[at] = self._keypoints(figure, taken)
            seen = Patch(inside.top, inside.left, inside.bits & ~taken[window])
            own = (seen.coverage >= 0.5) & free[window]
            if figure.annotated:
                masks[at][window] = own
            free[window] &= ~own
            taken[window] |= inside.bits
        kept = masks.sum(axis=(1, 2)) >= SMALLEST
        masks, keypoints = masks[kept], keypoints[kept]
        return Sample(
            image,
            boxes_of_masks(masks),
            np.zeros(len(masks), np.int64),
            masks,
            image_id=index + 1,
            keypoints=keypoints,
            skeleton=COCO_PERSON,
        )

    def _keypoints(self, figure: _Figure, taken: np.ndarray) -> np.ndarray:
        """(P, 3): hidden are those under what is in front, and the face of who looks away."""
        v = np.full(len(figure.points), VISIBLE, np.float32)
        v[_covered(figure.points, taken)] = HIDDEN
        if figure.from_behind:
            v[list(FACE)] = HIDDEN
        points = np.concatenate([figure.points, v[:, None]], axis=1, dtype=np.float32)
        return without_outside(points[None], self.height, self.width)[0]

    def coco(self) -> dict[str, Any]:
        """The ground truth of all images as COCO JSON, masks as compressed RLE.

        Raises:
            TypeError: without a count.
        """
        if self._coco is None:
            samples = (self[i] for i in range(len(self)))
            self._coco = coco_ground_truth(samples, self.classes, self.category_ids, self.skeleton)
        return self._coco


def _colors(rng: np.random.Generator, background: np.ndarray) -> dict[str, np.ndarray]:
    """What a figure wears: shirt and trousers far from the background's color."""
    many = rng.uniform(0, 255, (16, 3)).astype(np.float32)
    far = many[np.argsort(-np.linalg.norm(many - background, axis=1))]
    weights = rng.dirichlet(np.ones(len(SKIN))).astype(np.float32)
    skin = weights @ SKIN
    dark = rng.uniform(0, 70, 3).astype(np.float32)
    return {
        "shirt": far[int(rng.integers(6))],
        "trousers": far[6 + int(rng.integers(4))],
        "shoes": dark[::-1],
        "skin": skin,
        "hair": dark,
        "eyes": np.zeros(3, np.float32),
        "nose": skin * np.float32(0.7),
    }


def _patch(part: Part, height: float, place: np.ndarray) -> Patch:
    """A part of a figure of that height, its hips at `place`, both in pixels."""
    corners, radius = part.corners * height + place, part.radius * height
    low, high = corners.min(axis=0) - radius, corners.max(axis=0) + radius
    return rasterize_field(field_of(corners, radius), *low, *high)


def _union(patches: list[Patch]) -> Patch:
    top, left = min(p.top for p in patches), min(p.left for p in patches)
    bottom = max(p.top + p.bits.shape[0] for p in patches)
    right = max(p.left + p.bits.shape[1] for p in patches)
    bits = np.zeros((bottom - top, right - left), np.uint64)
    for patch in patches:
        height, width = patch.bits.shape
        y, x = patch.top - top, patch.left - left
        bits[y : y + height, x : x + width] |= patch.bits
    return Patch(top, left, bits)


def _covered(points: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """(P,) which points lie on a sample point that is taken; none outside the image."""
    height, width = taken.shape
    column, row = np.floor(points * GRID).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < width * GRID) & (row < height * GRID)
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    bit = sample_bit(row % GRID, column % GRID)
    return inside & ((taken[row // GRID, column // GRID] & bit) > 0)


def sample_bit(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The bit of a pixel's word that stands for the sample point in this row and column of it.

    `np.packbits` puts the first of eight into the highest bit of a byte, and the first byte is the
    word's lowest.
    """
    return np.uint64(1) << (8 * row + 7 - column).astype(np.uint64)
