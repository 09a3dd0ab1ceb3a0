"""Label images: one file per image, each pixel holds the number of its object, 0 background.

Cellpose writes X_cp_masks.png or X_masks.tif beside X.png, StarDist reads images/X.tif and
masks/X.tif.  8, 16 or 32 bits, whole numbers as floats, arrays (.npy) of whole numbers.  Of
palette files the index is the number, of RGB files every colour but black is an object.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import numpy as np

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats.pixel_files import (
    LOSSY,
    black_or_white,
    files_in,
    follow,
    other_size,
    read_labels,
)
from minimask.data.images import BROKEN
from minimask.data.label_runs import FEW, SMALLEST, objects_of_labels

CLASS = "object"
MASKS = ("masks", "labels", "label", "mask", "gt")  # names of the folder beside images/
# what tools append to the image's name
ENDING = re.compile(r"(?i)[_-](cp_masks?|masks?|labels?|instances?|gt|seg)$")
PICKLED = "_seg.npy"  # of Cellpose: a dictionary
BROKEN_UP = 1 / 3  # changes per pixel; photographs have more, objects have far fewer


class LabelImages:
    """See the module."""

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether a folder holds images with label images, or label images alone."""
        if not path.is_dir():
            return False
        if masks_folder(path) is not None:
            return True
        files = files_in(path)
        stems = {file.stem.casefold() for file in files}
        if any(own_image(file, stems) for file in files):
            return True
        return bool(files) and all(map(holds_labels, files[:2]))

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        masks = masks_folder(path) or path
        collector = Collector(
            path,
            "label_images",
            images or (path / "images" if (path / "images").is_dir() else path),
            names_classes=False,
        )
        together = masks.resolve() == collector.files.folder.resolve()
        files = label_files(masks, together)
        if not files:
            raise ValueError(_nothing(masks))
        reading = _Reading(collector, together)
        for file in follow(files, len(files), "label images"):
            reading.file(file)
        reading.finish(masks, files)
        return collector.done()


def masks_folder(path: pathlib.Path) -> pathlib.Path | None:
    """The folder of label images beside `images/`, in which files lie; None: there is none."""
    if not (path / "images").is_dir():
        return None
    return next((path / name for name in MASKS if files_in(path / name)), None)


def own_image(file: pathlib.Path, stems: set[str]) -> bool:
    """Whether a file is called like another one of its folder, with an ending for labels."""
    stem = file.stem.casefold()
    base = ENDING.sub("", stem)
    return base != stem and (base in stems or f"{base}_img" in stems)


def label_files(folder: pathlib.Path, together: bool) -> list[pathlib.Path]:
    """The label images of a folder.

    Args:
        folder: where they lie.
        together: whether the images lie there too; files are told by their names then.
    """
    files = [file for file in files_in(folder) if not file.name.endswith(PICKLED)]
    if not together:
        return files
    stems = {file.stem.casefold() for file in files}
    return [file for file in files if own_image(file, stems)]


def holds_labels(file: pathlib.Path) -> bool:
    """Whether a file looks like a label image: one channel, in pieces larger than pixels."""
    if file.name.endswith(PICKLED):
        return True
    if file.suffix.lower() in LOSSY:
        return False
    try:
        labels = read_labels(file)
    except (*BROKEN, MemoryError):
        return False
    if labels.max(initial=0) > 0xFFFF and len(np.unique(labels)) > max(
        FEW, labels.size // SMALLEST
    ):
        return False
    changes = np.count_nonzero(labels[:, 1:] != labels[:, :-1])
    return bool(changes <= BROKEN_UP * labels.size and (labels == 0).any())


class _Reading:
    """What is gathered over the files of a folder."""

    def __init__(self, collector: Collector, together: bool) -> None:
        self.collector, self.together = collector, together
        self.used: set[str] = set()
        self.single: list[str] = []  # files with one value only
        self.specks = self.objects = 0

    def file(self, file: pathlib.Path) -> None:
        """Add the objects of one label image."""
        name = next((n for n in self._names(file) if self._find(n, file)), None)
        if name is None:
            message = "a label image without an image"
            self.collector.note("note", file, message, "nothing, or put its image there")
            return
        image = self.collector.image(name, said_by=file)
        if image is None:
            return
        self.used.add(image["file_name"])
        try:
            problem = other_size(file, image)
            found = None if problem else objects_of_labels(self._labels(file))
        except ValueError as error:
            problem, found = str(error).removeprefix(f"{file}: "), None
        if found is None:
            self.collector.note("error", file, str(problem), "mend the file, or remove it")
            self.collector.forget(image)  # not an image without objects
            return
        if len(found) == 1 and next(iter(found)) in (1, 255, 65535, 0xFFFFFF):
            self.single.append(file.name)
        self.objects += len(found)
        for value, runs in found.items():
            self.specks += len(runs["counts"]) < 8
            self.collector.add(image, CLASS, runs, place=f"{file}: value {value}")

    def _labels(self, file: pathlib.Path) -> np.ndarray:
        if file.suffix.lower() not in LOSSY:
            return read_labels(file)
        mask = black_or_white(file)
        if mask is None:
            raise ValueError(
                "JPEG changes values, so the object numbers are lost; save label images as PNG"
            )
        message = "a mask saved as JPEG: what has at least 128 of 255 is taken as object"
        self.collector.note("warning", file, message, "save masks as PNG")
        return mask

    def _names(self, file: pathlib.Path) -> Iterator[str]:
        """How the image of a label image may be called, without suffix."""
        base = ENDING.sub("", file.stem)
        if base != file.stem or not self.together:
            yield from (name for name in (file.stem, base) if not (self.together and name != base))
            yield f"{base}_img"

    def _find(self, name: str, file: pathlib.Path) -> bool:
        found = self.collector.files.find(name)
        return found is not None and not found.samefile(file)

    def finish(self, masks: pathlib.Path, files: list[pathlib.Path]) -> None:
        """The remarks about all files together."""
        note = self.collector.note
        labels = {file.resolve() for file in files}
        for path in self.collector.files.all():
            name = self.collector.files.relative(path)
            if name not in self.used and path.resolve() not in labels and "/" not in name:
                note("note", path, "no label image, so left out", "nothing, or add its labels")
        if self.single and 2 * len(self.single) > len(files):
            message = (
                f"{len(self.single)} of {len(files)} files hold one value only ({self.single[0]}), "
                "so that each is one object, in several pieces perhaps"
            )
            note("warning", masks, message, "if there are several objects, number them 1, 2, 3 ...")
        if self.specks > 20 and 4 * self.specks > self.objects:
            message = (
                f"{self.specks} of {self.objects} objects are specks of a few pixels, as soft or "
                "compressed edges leave them"
            )
            note("warning", masks, message, "save label images without smoothing, as PNG or TIFF")


def _nothing(masks: pathlib.Path) -> str:
    pickled = [file.name for file in files_in(masks) if file.name.endswith(PICKLED)]
    if pickled:
        return (
            f"{masks / pickled[0]}: Cellpose's _seg.npy holds pickled Python objects, which could "
            "run anything when they are read; save the masks as PNG or TIFF "
            "(Cellpose: File, Save masks as PNG/TIF)"
        )
    return f"{masks}: no label images, such as X_masks.png or X_cp_masks.tif beside X.png"
