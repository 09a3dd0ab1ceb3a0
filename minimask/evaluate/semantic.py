"""How good label maps are: intersection over union of the pixels of each class.

Letters: K classes, H W height and width of an image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from minimask.models.label_map import IGNORED, paint_label_map

if TYPE_CHECKING:
    from minimask.data.sample import Sample

COLUMNS = ("mean_iou", "foreground_iou", "pixel_accuracy")  # of the log of a run
DASH = "-"


@dataclasses.dataclass(frozen=True)
class SemanticResults:
    """What an evaluation of label maps found.

    All pixels of all images are counted together, as in Long et al. 2015, section 5.

    Attributes:
        iou: class name to intersection over union, 0 to 1; background first; -1 where a class is
            neither in the images nor in the predictions.
        mean_iou: of the classes with a number, background among them.
        foreground_iou: of all classes together against background.
        pixel_accuracy: share of the pixels with the right class.
        pixels: class name to its number of true pixels.
        images: number of images evaluated.
        explanation: sentences on what is odd; None: nothing.
        seconds_per_image: time the model took.
    """

    iou: dict[str, float]
    mean_iou: float
    foreground_iou: float
    pixel_accuracy: float
    pixels: dict[str, int]
    images: int
    explanation: str | None = None
    seconds_per_image: float | None = None

    log_file: ClassVar[str] = "iou.csv"  # of a run, with these columns
    columns: ClassVar[tuple[str, ...]] = ("step", *COLUMNS)

    def row(self) -> dict[str, float]:
        """The numbers that the log of a run keeps."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def score(self) -> tuple[str, float]:
        """What the best weights of a run are chosen by."""
        return "mean IoU", self.mean_iou

    def summary(self) -> str:
        """One line."""
        return f"mean IoU {self.mean_iou:.3f}, foreground IoU {self.foreground_iou:.3f}"

    def to_json(self) -> dict[str, Any]:
        """All numbers as plain JSON."""
        return dataclasses.asdict(self)

    def table(self) -> str:
        """The numbers as aligned text for a terminal; a dash where there is nothing to measure."""
        rows = [("", "pixels", "IoU")]
        rows += [(name, str(self.pixels[name]), _cell(iou)) for name, iou in self.iou.items()]
        rows += [("mean", "", _cell(self.mean_iou)), ("foreground", "", _cell(self.foreground_iou))]
        rows += [("pixel accuracy", "", _cell(self.pixel_accuracy))]
        first = max(len(row[0]) for row in rows)
        return "\n".join(f"{a.ljust(first)}{b.rjust(12)}{c.rjust(8)}" for a, b, c in rows)


def _cell(value: float) -> str:
    return DASH if value < 0 else f"{value:.3f}"


def confusion(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """How often pixels of each class were given each class.

    Args:
        truth: (H, W) 0 .. classes - 1, or `IGNORED`: not counted.
        found: (H, W) 0 .. classes - 1.
        classes: K + 1.

    Returns:
        (classes, classes) int64: [true, found].
    """
    counted = truth != IGNORED
    pairs = truth[counted] * classes + found[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def results_of(matrix: np.ndarray, classes: Sequence[str], images: int) -> SemanticResults:
    """The measures of a confusion matrix (K + 1, K + 1), background first."""
    names = ("background", *classes)
    right, true, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    union = true + found - right
    iou = {
        name: float(r / u) if u else -1.0 for name, r, u in zip(names, right, union, strict=True)
    }
    known = [value for value in iou.values() if value >= 0]
    objects = matrix[1:, 1:].sum()
    either = matrix.sum() - matrix[0, 0]
    return SemanticResults(
        iou=iou,
        mean_iou=float(np.mean(known)) if known else -1.0,
        foreground_iou=float(objects / either) if either else -1.0,
        pixel_accuracy=float(right.sum() / matrix.sum()) if matrix.sum() else -1.0,
        pixels={name: int(n) for name, n in zip(names, true, strict=True)},
        images=images,
    )


def true_label_map(sample: Sample, order: Sequence[int]) -> np.ndarray:
    """The class of every pixel of an annotated image: (H, W) int64.

    Args:
        sample: the image; pixels of crowds are `IGNORED`.
        order: for each class of the data the model's, 0 .. K - 1; -1: it has none, `IGNORED`.
    """
    labels = np.asarray(order, np.int64)[sample.labels]
    labels = np.where(sample.crowd | (labels < 0), IGNORED - 1, labels)  # painting adds 1
    return paint_label_map(sample.masks, labels, sample.image.shape[:2])


def class_note(known: Sequence[str], given: Sequence[str]) -> str | None:
    """What the lists of names do not share."""
    untrained = [name for name in given if name not in known]
    unneeded = [name for name in known if name not in given]
    notes = []
    if untrained:
        notes.append(f"The model does not know {', '.join(untrained)}: those pixels do not count.")
    if unneeded:
        notes.append(f"The data has no class {', '.join(unneeded)}: pixels of it are wrong.")
    return " ".join(notes) or None
