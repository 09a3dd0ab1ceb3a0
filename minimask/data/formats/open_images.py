"""OpenImages: a CSV that lists one mask file per object, with its image, class code and box.

The names of the codes come from a CSV beside it (`/m/01,Box`), groups from the CSV of boxes with
its column IsGroupOf.  Mask files are often of another size than the image; they are scaled to
it, to the nearest pixel.
"""

from __future__ import annotations

import csv
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats.pixel_files import follow, read_object, read_size
from minimask.data.image_files import ImageFiles
from minimask.data.label_runs import objects_of_labels

NEEDED = ("MaskPath", "ImageID", "LabelName")
BOX = ("XMin", "XMax", "YMin", "YMax")
CLOSE = 1e-3  # of the image: boxes of two files that are the same box
LARGER = 16  # mask files with more than so many times the image's pixels are a mistake
LONGEST = 1 << 20  # characters of a line; a CSV of masks has lines of 150


class OpenImages:
    """The CSV of masks, or the folder in which it lies."""

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether it is a CSV with MaskPath, ImageID and LabelName, or a folder of one."""
        return bool(_tables(path))

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        tables = _tables(path)
        if not tables:
            raise ValueError(f"{path}: no CSV with the columns {', '.join(NEEDED)}")
        folder = tables[0].parent
        inside = [folder / name for name in ("images", "data", "train") if (folder / name).is_dir()]
        names = _class_names(folder)
        collector = Collector(path, "open_images", images or (inside or [folder])[0])
        reading = _Reading(collector, ImageFiles(folder), names)
        for table in tables:
            rows = list(_rows(table))
            groups = _groups(folder, {row["ImageID"] for _, row in rows})
            for line, row in follow(rows, len(rows), "OpenImages"):
                reading.row(table, line, row, groups)
        unnamed = sorted(reading.unnamed)
        if unnamed:
            message = f"no file beside it names the classes {', '.join(unnamed[:5])}"
            advice = "put class-descriptions.csv (lines `/m/01,Box`) there"
            collector.note("warning", path, message, advice)
        return collector.done()


def _head(path: pathlib.Path) -> list[str]:
    """The first line of a CSV; none where it cannot be read."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return next(csv.reader([file.readline(LONGEST)]), [])
    except (OSError, ValueError, csv.Error):
        return []


def _tables(path: pathlib.Path) -> list[pathlib.Path]:
    """The CSV files of masks that a path means."""
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    files = [file for file in files if file.suffix.lower() == ".csv"]
    return [file for file in files if set(NEEDED) <= set(_head(file))]


def _rows(path: pathlib.Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and values of each row of a CSV with a head.

    Raises:
        ValueError: damaged.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            for row in reader:
                yield reader.line_num, row
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8: {error}") from None


def _class_names(folder: pathlib.Path) -> dict[str, str]:
    """Class code -> name, from the CSV files of two columns."""
    names: dict[str, str] = {}
    for path in sorted(folder.glob("*.csv")):
        if len(_head(path)) != 2:
            continue
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                for row in csv.reader(file):
                    if len(row) == 2 and row[0].startswith("/") and row[1].strip():
                        names[row[0]] = row[1].strip()
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}: not a CSV file in UTF-8: {error}") from None
    return names


Key = tuple[str, str]  # image and class


def _groups(folder: pathlib.Path, images: set[str]) -> dict[Key, list[list[float]]]:
    """The boxes that are said to be of groups, by image and class."""
    found: dict[Key, list[list[float]]] = {}
    for path in sorted(folder.glob("*.csv")):
        if not {"ImageID", "LabelName", "IsGroupOf", *BOX} <= set(_head(path)):
            continue
        for _, row in _rows(path):
            box = _numbers(row, "")
            if row["IsGroupOf"] == "1" and row["ImageID"] in images and box:
                found.setdefault((row["ImageID"], row["LabelName"]), []).append(box)
    return found


def _numbers(row: dict[str, str], prefix: str) -> list[float] | None:
    """Left, right, top and bottom as shares of the image; None where they are not there."""
    try:
        box = [float(row[prefix + name]) for name in BOX]
    except (KeyError, ValueError, TypeError):
        return None
    return box if all(map(math.isfinite, box)) else None


class _Reading:
    """What is gathered over all rows."""

    def __init__(self, collector: Collector, masks: ImageFiles, names: dict[str, str]) -> None:
        self.collector, self.masks, self.names = collector, masks, names
        self.images: dict[str, dict[str, Any] | None] = {}
        self.unnamed: set[str] = set()

    def row(
        self, table: pathlib.Path, line: int, row: dict[str, str], groups: dict[Key, Any]
    ) -> None:
        """Add one object."""
        note = self.collector.note
        place = f"line {line}"
        lacking = [name for name in NEEDED if not row[name]]
        if lacking:
            message = f"{place}: no {', '.join(lacking)}"
            note("error", table, message, "mend the line, or remove it")
            return
        image = self._image(table, row["ImageID"])
        if image is None:
            return
        file = self.masks.find(row["MaskPath"])
        if file is None:
            message = f"{place}: mask {self.masks.missing(row['MaskPath'])}"
            note("error", table, message, "unpack the mask files beside the CSV")
            return
        try:
            mask = _scaled(file, image["height"], image["width"])
        except ValueError as error:
            message = str(error).removeprefix(f"{file}: ")
            note("error", file, f"{message} ({table.name}: {place})", "get it again")
            return
        if not mask.any():
            note("note", file, "the mask has no pixel, so it is left out", "nothing")
            return
        code = row["LabelName"]
        if code not in self.names:
            self.unnamed.add(code)
        box = _numbers(row, "Box")
        crowd = box is not None and any(
            max(abs(a - b) for a, b in zip(box, group, strict=True)) < CLOSE
            for group in groups.get((row["ImageID"], code), ())
        )
        (runs,) = objects_of_labels(mask).values()
        where = f"{table}: {place}"
        self.collector.add(image, self.names.get(code, code), runs, place=where, crowd=crowd)

    def _image(self, table: pathlib.Path, name: str) -> dict[str, Any] | None:
        """The image of that id, added when it is first met."""
        if name not in self.images:
            self.images[name] = self.collector.image(name, said_by=table)
        return self.images[name]


def _scaled(file: pathlib.Path, height: int, width: int) -> np.ndarray:
    """A mask file as a mask of the image's size."""
    rows, columns = read_size(file)
    if rows * columns > LARGER * max(height * width, 1 << 20):
        raise ValueError(f"{file}: {columns} x {rows} pixels for an image of {width} x {height}")
    mask = read_object(file).mask
    if mask.shape == (height, width):
        return mask
    picture = Image.fromarray(mask.astype(np.uint8))
    return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)) > 0
