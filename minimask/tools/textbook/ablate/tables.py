"""The tables: which rows, what the paper measured, what the text says.

Percentages are those of the paper: Mask R-CNN (He et al. 2017), COCO minival, ResNet-50 unless a
row says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

METRICS = (
    *("mask_AP", "mask_AP50", "mask_AP75", "box_AP", "box_AP50", "box_AP75"),
    *("keypoints_AP", "keypoints_AP50", "keypoints_AP75"),
)
WITH_MASKS, WITHOUT_MASKS = "maskrcnn_laptop", "fasterrcnn_laptop"  # the networks of the rows


def masks(ap: float, ap50: float, ap75: float) -> dict[str, float]:
    """A printed row: mask AP, AP50, AP75 in percent."""
    return {"mask_AP": ap, "mask_AP50": ap50, "mask_AP75": ap75}


def boxes(ap: float, ap50: float, ap75: float) -> dict[str, float]:
    """A printed row: box AP, AP50, AP75 in percent."""
    return {"box_AP": ap, "box_AP50": ap50, "box_AP75": ap75}


def keypoints(ap: float, ap50: float, ap75: float) -> dict[str, float]:
    """A printed row: keypoint AP (by OKS), AP50, AP75 in percent."""
    return {"keypoints_AP": ap, "keypoints_AP50": ap50, "keypoints_AP75": ap75}


@dataclass(frozen=True)
class Row:
    """One choice, trained with every seed."""

    key: str
    title: str
    options: Mapping[str, Any] = field(default_factory=dict)  # of the model, on top of the table's
    paper: Mapping[str, float] = field(default_factory=dict)  # metric -> percent
    train: Mapping[str, Any] = field(default_factory=dict)  # changes of the training settings
    data: Mapping[str, Any] = field(default_factory=dict)  # changes of the generated data
    model: str = WITH_MASKS
    schedule: str = "joint"  # or "four-step"
    masks_on: str = "detections"  # in which of the cell's evaluations this row is read


@dataclass(frozen=True)
class Question:
    """Two rows and the difference that is expected between them.

    Attributes:
        row: key of the row that is asked about.
        baseline: key of the row it is compared with.
        metric: one of METRICS, whose difference decides.
        paper: the paper's difference in points; None: it gives no number.
        expected: +1 or -1 where only the text says a direction; 0: none is expected.
        source: where that is said, for the report.
    """

    row: str
    baseline: str
    metric: str
    paper: float | None = None
    expected: int = 0
    source: str = ""

    @property
    def direction(self) -> int:
        """+1, -1, or 0 where nothing is expected."""
        if self.paper is not None:
            return (self.paper > 0) - (self.paper < 0)
        return self.expected


@dataclass(frozen=True)
class Table:
    """An experiment: rows that differ in one choice each."""

    key: str
    title: str
    rows: Sequence[Row]
    questions: Sequence[Question]
    options: Mapping[str, Any] = field(default_factory=dict)  # of every row's model
    train: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    evaluations: Sequence[str] = ("detections",)  # the boxes masks are predicted in
    note: str = ""  # what the reader must know to compare it with the paper

    def row(self, key: str) -> Row:
        """The row of that name.

        Raises:
            ValueError: there is none; the message lists those there are.
        """
        for row in self.rows:
            if row.key == key:
                return row
        known = ", ".join(row.key for row in self.rows)
        raise ValueError(f"table {self.key} has no row {key!r}; it has {known}")
