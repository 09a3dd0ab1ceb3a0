"""The run's record: one CSV line per training step, one per evaluation."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

LOSSES = (
    "loss_objectness",
    "loss_rpn_box_reg",
    "loss_classifier",
    "loss_box_reg",
    "loss_mask",
    "loss_keypoint",
    "loss_pixels",  # of semantic segmenters, which have no other
)
STEP_COLUMNS = (
    "step",
    "loss",
    *LOSSES,
    "lr",
    "grad_norm",
    "images_per_second",
    "memory_mb",
    "seconds",
)
VALIDATION_COLUMNS = ("step", "loss", *LOSSES)


class CsvLog:
    """A CSV file that grows by a line at a time and can be cut back to a step.

    Every line is handed to the system at once, so a killed process loses none.

    Args:
        path: the file; created with a header line if it is not there.
        columns: the names; the first must be "step".  A file that is there keeps its own, so that
            the run of an older version can go on.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        if not path.exists() or path.stat().st_size == 0:
            path.write_text(",".join(columns) + "\n")
        with open(path, newline="") as file:
            self.columns = tuple(next(csv.reader(file)))
        self._file = open(path, "a", newline="")

    def write(self, row: Mapping[str, float | int | str]) -> None:
        """Add one line; columns that `row` lacks stay empty."""
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(
            [_text(row[c]) if c in row else "" for c in self.columns]
        )
        self._file.write(line.getvalue())
        self._file.flush()

    def to_disk(self) -> None:
        """Wait until all lines are on the disk: before the checkpoint that counts on them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def cut_after(path: Path, step: int) -> None:
    """Drop the lines after `step`, and a half-written last line: a resumed run repeats them."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    kept = [line for line in whole[1:] if int(line.split(",", 1)[0]) <= step]
    part = path.with_name(f".writing-{path.name}")
    part.write_text("".join([*whole[:1], *kept]))
    os.replace(part, path)


def read(path: Path) -> list[dict[str, str]]:
    """All lines as dictionaries of text by column."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _text(value: float | int | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
