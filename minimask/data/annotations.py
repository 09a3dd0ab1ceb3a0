"""What annotation files of any format say, in the terms of COCO.

A reader of a format fills a `Collector` and hands out its `Annotations`; everything behind that
(checks, data set, conversion, evaluation) knows no formats.
"""

# R objects   H W height and width of an image

from __future__ import annotations

import contextlib
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minimask.data.findings import Finding, Severity
from minimask.data.image_files import ImageFiles, image_size


class NoArea(ValueError):
    """A shape that covers nothing: a click too much, not a mistake in the file."""


@dataclass
class Annotations:
    """Images, objects and classes, as lists of dictionaries with COCO's keys.

    Attributes:
        source: the file or folder that was read.
        format: name of its format, such as "labelme".
        images: `id` (number or text), `file_name` (relative to `folder`, with /), `width`,
            `height` in pixels of the image as shown, after EXIF rotation.
        annotations: `id`, `image_id`, `category_id`, `iscrowd` (0 or 1), `segmentation`
            (polygons or run lengths as in COCO; None: no mask), perhaps `bbox` (x y width height
            in pixels) and `area`.
        categories: `id` and `name`, perhaps `supercategory`.
        folder: where the image files lie; None: not said, for comparing two files.
        notes: what was read otherwise than it is written, left out or passed over; errors among
            them are objects that could not be read at all.
        places: where each annotation stands: a number for `annotations[number]` of `source`, or
            "file: place"; as long as `annotations`.
        names_classes: whether the files say what the classes are called.
    """

    source: pathlib.Path
    format: str
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    folder: pathlib.Path | None = None
    notes: list[Finding] = field(default_factory=list)
    places: list[int | str] = field(default_factory=list)
    names_classes: bool = True

    def place(self, i: int) -> tuple[str, str]:
        """File and place of annotation i, for messages."""
        place = self.places[i] if i < len(self.places) else i
        if isinstance(place, int):
            return str(self.source), f"annotations[{place}]"
        file, _, where = place.rpartition(": ")
        return file or str(self.source), where


class Collector:
    """Gathers what a reader finds, numbers it, and notes what was left out.

    Args:
        source: the file or folder being read.
        format: name of the format.
        folder: where the image files lie.
        classes: names in the order that the files declare; None: in alphabetical order of those
            that occur.
        names_classes: whether the files say what the classes are called.

    Raises:
        FileNotFoundError: no such folder.
    """

    def __init__(
        self,
        source: pathlib.Path,
        format: str,
        folder: pathlib.Path,
        classes: Sequence[str] | None = None,
        names_classes: bool = True,
    ) -> None:
        self.source, self.format, self.names_classes = source, format, names_classes
        self.files = ImageFiles(folder)
        self.declared = None if classes is None else list(classes)
        self.images: list[dict[str, Any]] = []
        self.notes: list[Finding] = []
        self.passed: Counter[tuple[Severity, str, str]] = Counter()  # ..., what, advice
        self._lacking: list[Finding] = []  # images that are not there
        self._of_file: dict[pathlib.Path, dict[str, Any]] = {}
        self._objects: list[tuple[dict[str, Any], str, str]] = []  # entry, class, place
        self._filled: set[Any] = set()  # ids of images that have objects

    def image(
        self,
        name: str,
        size: tuple[int, int] | None = None,
        *,
        said_by: pathlib.Path,
        id: int | str | None = None,
    ) -> dict[str, Any] | None:
        """Add an image; None, with a note, where there is no such file.

        A file that was added before is handed out again, with a note.

        Args:
            name: as the annotation file writes it; found in the folder by `ImageFiles.find`.
            size: height and width the file says, checked later against the image; None: read
                from the image.
            said_by: the annotation file.
            id: default: numbered from 1.
        """
        path = self.files.find(name)
        if path is None:
            self.lacks(name, said_by)
            return None
        try:
            height, width = size or image_size(path)
        except (OSError, ValueError) as error:
            message = str(error).removeprefix(f"{path}: ")
            self.note("error", path, message, "put the right file there, or remove it")
            return None
        if path in self._of_file:
            message = f"the image {name!r} is listed more than once; its objects are put together"
            self.note("warning", said_by, message, "see whether objects are there twice")
            return self._of_file[path]
        entry = {
            "id": len(self.images) + 1 if id is None else id,
            "file_name": self.files.relative(path),
            "width": int(width),
            "height": int(height),
        }
        self.images.append(entry)
        self._of_file[path] = entry
        return entry

    def add(
        self,
        image: dict[str, Any],
        name: str,
        segmentation: Any = None,
        *,
        place: str,
        box: Sequence[float] | None = None,
        crowd: bool = False,
    ) -> None:
        """Add an object.

        Args:
            image: from `image`.
            name: of its class.
            segmentation: polygons in pixels, run lengths, or an (H, W) bool mask.
            place: "file: place in it", for messages.
            box: x y width height in pixels.
            crowd: whether this is a region of many objects.
        """
        if isinstance(segmentation, np.ndarray):
            from minimask.data.sample import encode_masks

            (segmentation,) = encode_masks(segmentation[None])
        entry: dict[str, Any] = {
            "image_id": image["id"],
            "segmentation": segmentation,
            "iscrowd": int(crowd),
        }
        if box is not None:
            entry["bbox"] = [float(value) for value in box]
        self._objects.append((entry, name, place))
        self._filled.add(image["id"])

    def forget(self, image: dict[str, Any]) -> None:
        """Take an image back whose annotations cannot be read, so that it is not one without."""
        if self.images[-1] is image and image["id"] not in self._filled:
            self.images.pop()
            del self._of_file[self.files.folder / image["file_name"]]

    def note(self, severity: Severity, file: Any, message: str, advice: str) -> None:
        """Remember something for the user: see `Finding`."""
        message = " ".join(message.split())  # names may hold line breaks
        self.notes.append(Finding(severity, str(file), None, message, advice))

    @contextlib.contextmanager
    def one_object(self, place: str) -> Iterator[None]:
        """What goes wrong inside is a finding about this object; the rest is still read.

        A `ValueError` is an error in the file, a `NoArea` a leftover, which is a warning.
        """
        file, _, where = place.rpartition(": ")
        try:
            yield
        except NoArea as error:
            self.note("warning", file, f"{where}: {error}; left out", "remove it, or draw it")
        except (ValueError, OverflowError) as error:
            self.note("error", file, f"{where}: {error}", "mend it, or remove it")

    def pass_over(
        self,
        what: str,
        advice: str = "nothing, if that is meant",
        severity: Severity = "note",
    ) -> None:
        """Count something that is not read; `done` makes one finding of all of a kind.

        Args:
            what: "points", "polylines": follows the number.
            advice: see `Finding`.
            severity: see `Finding`.
        """
        self.passed[severity, what, advice] += 1

    def lacks(self, name: str, said_by: pathlib.Path, advice: str = "put it there") -> None:
        """Remember that an image is not there; if it is all of them, the folder is wrong."""
        message = " ".join(f"image {self.files.missing(name)}".split())
        self._lacking.append(Finding("error", str(said_by), None, message, advice))

    def done(self) -> Annotations:
        """Everything, numbered."""
        if len(self._lacking) > 1 and not self.images:
            first = self._lacking[0].message
            message = f"none of the {len(self._lacking)} images is in {self.files.folder}: {first}"
            self.note("error", self.source, message, "name their folder with --images")
        else:
            self.notes += self._lacking
        for (severity, what, advice), count in self.passed.items():
            self.note(severity, self.source, f"{count} {what}", advice)
        names = self.declared
        if names is None:
            names = sorted({name for _, name, _ in self._objects})
        number = {name: i + 1 for i, name in enumerate(dict.fromkeys(names))}
        for _, name, _ in self._objects:  # used but not declared: at the end
            number.setdefault(name, len(number) + 1)
        return Annotations(
            self.source,
            self.format,
            self.images,
            [
                {"id": i + 1, "category_id": number[name], **entry}
                for i, (entry, name, _) in enumerate(self._objects)
            ],
            [{"id": i, "name": name} for name, i in number.items()],
            self.files.folder,
            self.notes,
            [place for _, _, place in self._objects],
            self.names_classes,
        )


def group_parts(parts: Iterable[tuple[Any, list[float]]]) -> dict[Any, list[list[float]]]:
    """Polygons of the same object put together, by a key that its parts share."""
    objects: dict[Any, list[list[float]]] = {}
    for key, polygon in parts:
        objects.setdefault(key, []).append(polygon)
    return objects
