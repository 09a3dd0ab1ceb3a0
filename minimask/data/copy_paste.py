"""Objects of other images of the data set, pasted into this one.

From "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation"
(arXiv:2012.07177).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from minimask.data.geometric import Affine
from minimask.data.keypoints import at_places, hidden_by, without_outside
from minimask.data.masks import ObjectMasks
from minimask.data.sample import Dataset, Sample
from minimask.data.transforms import with_masks

WITHOUT_END = 2**16  # of generated images without end, so many are drawn from


@dataclass(frozen=True)
class Piece:
    """An object cut out: pixels (h, w, 3) uint8, mask (h, w) bool, and where it is pasted.

    Its keypoints (P, 3), if it has any, lie in the image that it is pasted into.
    """

    pixels: np.ndarray
    mask: np.ndarray
    label: int
    y: int
    x: int
    keypoints: np.ndarray | None = None


@dataclass(frozen=True)
class CopyPaste:
    """Paste objects of another image of the data set, at random places and sizes.

    What they cover is cut from the masks below, and keypoints there are hidden; objects that are
    covered almost whole are gone.
    Crowds are never pasted, and of those below what is not covered stays a crowd.

    The other image is drawn from the same random generator as all else, so a sample depends on
    nothing but that generator and the data set.  It is read as it is, without other changes: with
    copy-paste before flips and turns, they change what was pasted too.

    Args:
        dataset: where objects are from; a `Loader` puts its own data set here (`bind`).
        most: objects pasted into an image, drawn from 1 to this or to as many as there are.
        smallest: factor for their size, where both images' shorter sides are made alike first.
        largest: the same; all octaves are equally likely.
        visible: an object of which a smaller share is left to be seen is dropped.
    """

    dataset: Dataset | None = None
    most: int = 8
    smallest: float = 0.5
    largest: float = 1.5
    visible: float = 0.05

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"CopyPaste: most: expected at least 1, got {self.most}")
        if not 0 < self.smallest <= self.largest:
            raise ValueError(
                "CopyPaste: expected 0 < smallest <= largest, "
                f"got {self.smallest} and {self.largest}"
            )
        if not 0 <= self.visible <= 1:
            raise ValueError(f"CopyPaste: visible: expected 0 to 1, got {self.visible}")

    def __repr__(self) -> str:
        return f"CopyPaste(most={self.most}, {self.smallest} to {self.largest})"

    def bind(self, dataset: Dataset) -> CopyPaste:
        """The same with objects from `dataset`, unless it has a data set already."""
        return self if self.dataset is not None else replace(self, dataset=dataset)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample.

        Raises:
            ValueError: without a data set, or the other image cannot be read.
        """
        if self.dataset is None:
            raise ValueError(
                "CopyPaste: objects from where? Give a data set, CopyPaste(dataset), or let a "
                "Loader call it, which knows its own"
            )
        other = self.dataset[int(rng.integers(_count(self.dataset)))]
        candidates = np.flatnonzero(~other.crowd)
        if not len(candidates):
            return sample
        number = int(rng.integers(1, min(self.most, len(candidates)) + 1))
        pasted = rng.permutation(candidates)[:number]
        pieces = [self._cut(other, int(i), sample.image.shape[:2], rng) for i in pasted]
        return paste(sample, [piece for piece in pieces if piece.mask.any()], self.visible)

    def _cut(self, other: Sample, i: int, room: tuple[int, int], rng: np.random.Generator) -> Piece:
        """Object i of another image, resized, and a random place for it in an image of `room`."""
        x0, y0, x1, y1 = other.boxes[i].astype(int).tolist()
        pixels, mask = other.image[y0:y1, x0:x1], other.masks[i][y0:y1, x0:x1]
        factor = float(np.exp(rng.uniform(np.log(self.smallest), np.log(self.largest))))
        factor *= min(room) / min(other.image.shape[:2])
        factor = min(factor, room[0] / (y1 - y0), room[1] / (x1 - x0))  # it must fit
        height, width = (max(1, round(side * factor)) for side in mask.shape)
        if (height, width) != mask.shape:
            pixels = _resized(pixels, height, width, Image.Resampling.BILINEAR)
            whole = np.ascontiguousarray(mask).view(np.uint8)
            mask = _resized(whole, height, width, Image.Resampling.NEAREST) > 0
        y, x = (
            int(rng.integers(most - size + 1))
            for most, size in zip(room, (height, width), strict=True)
        )
        keypoints = None
        if other.keypoints is not None:
            move = Affine.scaling(width / (x1 - x0), height / (y1 - y0), x, y)
            move = move.after(Affine.scaling(1, 1, -x0, -y0))
            of_object = other.keypoints[i : i + 1]
            of_piece = at_places(of_object, move.points(of_object[:, :, :2]))
            (keypoints,) = without_outside(of_piece, *room)
        return Piece(pixels, mask, int(other.labels[i]), y, x, keypoints)


def paste(sample: Sample, pieces: list[Piece], visible: float) -> Sample:
    """Pieces laid over an image, later ones over earlier ones.

    Args:
        sample: what they are laid on.
        pieces: inside the image.
        visible: an object of which a smaller share is left to be seen is dropped.
    """
    height, width = sample.image.shape[:2]
    image, below = sample.image.copy(), sample.masks
    for piece in pieces:
        part = image[_where(piece)]
        part[piece.mask] = piece.pixels[piece.mask]
    if isinstance(below, np.ndarray):
        below = ObjectMasks.from_masks(below, height, width)
    crops, corners = [], []
    covered = np.zeros((height, width), bool)
    for piece in reversed(pieces):
        crops.append(piece.mask & ~covered[_where(piece)])
        corners.append((piece.y, piece.x))
        covered[_where(piece)] |= piece.mask
    crops, corners = crops[::-1], corners[::-1]
    before = [below.crop(i) for i in range(len(below))]
    left = [
        crop & ~covered[y : y + crop.shape[0], x : x + crop.shape[1]] for crop, (y, x) in before
    ]
    masks = ObjectMasks(left + crops, [corner for _, corner in before] + corners, height, width)
    areas = np.concatenate([below.areas(), [np.count_nonzero(piece.mask) for piece in pieces]])
    crowd = np.concatenate([sample.crowd, np.zeros(len(pieces), bool)])
    labels = np.concatenate([sample.labels, [piece.label for piece in pieces]]).astype(np.int64)
    result = replace(
        sample,
        image=image,
        masks=masks,
        boxes=masks.boxes(),
        labels=labels,
        crowd=crowd,
        keypoints=_keypoints(sample, pieces),
    )
    seen = crowd | (masks.areas() >= visible * areas)
    return with_masks(result if seen.all() else result.keep(seen))


def _keypoints(sample: Sample, pieces: list[Piece]) -> np.ndarray | None:
    """The keypoints of the objects below and of the pieces; those under a piece are hidden.

    Raises:
        ValueError: a piece has another number of keypoints.
    """
    below = sample.keypoints
    if below is None:
        return None
    for piece in pieces:
        new = np.zeros_like(below[:0], shape=below.shape[1:])
        if piece.keypoints is not None:
            if piece.keypoints.shape != new.shape:
                raise ValueError(
                    f"CopyPaste: the objects to paste have {len(piece.keypoints)} keypoints, "
                    f"those of the image {len(new)}"
                )
            new = piece.keypoints
        covered = np.zeros(sample.image.shape[:2], bool)
        covered[_where(piece)] = piece.mask
        below = np.concatenate([hidden_by(below, covered), new[None]])
    return below


def _where(piece: Piece) -> tuple[slice, slice]:
    height, width = piece.mask.shape
    return slice(piece.y, piece.y + height), slice(piece.x, piece.x + width)


def _resized(
    pixels: np.ndarray, height: int, width: int, resampling: Image.Resampling
) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((width, height), resampling))


def _count(dataset: Dataset) -> int:
    try:
        return len(dataset)
    except TypeError:
        return WITHOUT_END
