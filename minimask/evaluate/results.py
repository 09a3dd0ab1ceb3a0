"""What an evaluation found: the COCO metrics as numbers, curves, JSON and a table."""

# T IoU thresholds .50 to .95   Q recall points 0 to 1   K classes

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

COUNTS = {"box": "objects", "mask": "mask_objects", "keypoints": "keypoint_objects"}
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")
LOGGED = METRICS[:6]  # in the log of a run


@dataclasses.dataclass(frozen=True)
class Curve:
    """Precision over recall of one kind (boxes or masks).

    Attributes:
        recall: (Q,) 0, 0.01 ... 1.
        ious: (T,) 0.5, 0.55 ... 0.95.
        precision: (T, Q, K), -1 in classes without ground truth.
        scores: (T, Q, K) score at which that recall is reached, 0 where it never is.
        classes: the K names.
    """

    recall: np.ndarray
    ious: np.ndarray
    precision: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Results:
    """What an evaluation found.

    Attributes:
        box: AP, AP50, AP75, APs, APm, APl and AR of the boxes, 0 to 1; -1 where no object counts.
        mask: the same for masks; None when the detections have no masks.
        per_class: class name to {"box": ..., "mask": ..., "keypoints": ..., "objects": n,
            "mask_objects": n, "keypoint_objects": n, "detections": n}.
        curves: "box", "mask" and "keypoints" to a `Curve`.
        images: number of images evaluated.
        objects: number of annotated objects in them, crowds not counted.
        detections: number of detections used.
        max_detections: at most so many detections per image and class count.
        mask_objects: those of the objects that have a mask, which mask AP is about.
        left_out: detections beyond that limit, which did not count.
        left_out_images: number of images in which there were such.
        notes: sentences on what was measured and how: objects without masks, the limit, ids that
            differ in type.
        explanation: sentences on why a number is 0 or -1; None when none is.
        keypoints: the same as `box` with OKS for IoU; None without keypoints.  COCO has no APs.
        keypoint_objects: those of the objects that have a labeled keypoint.
        seconds_per_image: time the model took; None when only detections were given.
        average_recall: AR of an RPN's proposals, as `evaluate.average_recall` gives it; None of a
            detector that tells classes apart.
        coco_results: the detections as COCO result dictionaries (RLE masks, xywh boxes).
    """

    box: dict[str, float]
    mask: dict[str, float] | None
    per_class: dict[str, dict[str, Any]]
    curves: dict[str, Curve]
    images: int
    objects: int
    detections: int
    max_detections: int = 100
    mask_objects: int = 0
    left_out: int = 0
    left_out_images: int = 0
    notes: tuple[str, ...] = ()
    explanation: str | None = None
    keypoints: dict[str, float] | None = None
    keypoint_objects: int = 0
    seconds_per_image: float | None = None
    average_recall: dict[str, float] | None = None
    coco_results: list[dict[str, Any]] = dataclasses.field(default_factory=list, repr=False)

    log_file: ClassVar[str] = "ap.csv"  # of a run, with these columns
    columns: ClassVar[tuple[str, ...]] = (
        "step",
        *(f"{kind}_{metric}" for kind in ("box", "mask", "keypoints") for metric in LOGGED),
    )

    @property
    def kinds(self) -> dict[str, dict[str, float]]:
        """The metrics of every kind that was measured, the easiest first."""
        every = {"box": self.box, "mask": self.mask, "keypoints": self.keypoints}
        return {kind: values for kind, values in every.items() if values}

    @property
    def hardest(self) -> tuple[str, dict[str, float]]:
        """The last of `kinds`: by it the weights of a run are compared."""
        return list(self.kinds.items())[-1]

    def row(self) -> dict[str, float]:
        """The numbers that the log of a run keeps."""
        found = self.kinds.items()
        return {f"{kind}_{m}": values[m] for kind, values in found for m in LOGGED}

    @property
    def score(self) -> tuple[str, float]:
        """What the best weights of a run are chosen by."""
        return "AP", self.hardest[1]["AP"]

    def summary(self) -> str:
        """One line."""
        kind, values = self.hardest
        return f"{kind} AP {values['AP']:.3f}, AP50 {values['AP50']:.3f}"

    def to_json(self) -> dict[str, Any]:
        """All numbers as plain JSON; without the curves and the detections."""
        skipped = ("curves", "coco_results")
        fields = [field.name for field in dataclasses.fields(self) if field.name not in skipped]
        return {name: getattr(self, name) for name in fields}

    def table(self, *, per_class: bool = True) -> str:
        """The numbers as aligned text for a terminal; a dash where there is nothing to measure."""
        rows: list[tuple[str, ...]] = [("", "objects", *METRICS)]
        rows += [
            (f"all, {kind}", str(getattr(self, COUNTS[kind])), *_cells(values))
            for kind, values in self.kinds.items()
        ]
        if per_class and len(self.per_class) > 1:
            for name, entry in self.per_class.items():
                for kind in self.curves:
                    shown = f"{name!r}" if name in ("all", *COUNTS) else name
                    count = entry[COUNTS[kind]]
                    rows.append((f"{shown}, {kind}", str(count), *_cells(entry[kind])))
        lines = _aligned(rows)
        if self.average_recall:
            lines += ["", *_aligned(_recall_rows(self.average_recall))]
        return "\n".join(lines)


def _recall_rows(recall: dict[str, float]) -> list[tuple[str, ...]]:
    """A row for each number of proposals, a column for each size of objects."""
    limits = [name.partition("@")[2] for name in recall if name.startswith("AR@")]
    sizes = ("AR", "ARs", "ARm", "ARl")
    cells = [
        (f"{limit} proposals", *_cells({s: recall[f"{s}@{limit}"] for s in sizes}, sizes))
        for limit in limits
    ]
    return [("", *sizes), *cells]


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """The first column to the left, the others to the right."""
    first = max(len(row[0]) for row in rows)
    return [row[0].ljust(first) + "".join(cell.rjust(8) for cell in row[1:]) for row in rows]


def _cells(values: dict[str, float], names: Sequence[str] = METRICS) -> list[str]:
    return ["-" if values[name] < 0 else f"{values[name]:.3f}" for name in names]
