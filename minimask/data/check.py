"""Find what is wrong with annotations and images before training does.

Nothing in the files makes this raise: every problem becomes a finding, and the search goes on.
"""

from __future__ import annotations

import os
import pathlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from minimask.data.check_boxes import box_problems
from minimask.data.coco import read_json, structure_problems
from minimask.data.images import SIXTEEN_BIT, missing_file, read_image
from minimask.data.sample import boxes_of_masks
from minimask.data.segmentation import decode, segmentation_problem

Severity = Literal["error", "warning", "note"]
ORDER = {"error": 0, "warning": 1, "note": 2}
EXIF_ORIENTATION = 0x0112
REMOVE = "correct or remove the annotation"


@dataclass(frozen=True)
class Finding:
    """Something to know before training.

    Attributes:
        severity: "error" (training would stop or learn something wrong), "warning" (probably
            not what was meant) or "note".
        file: the file to look at: the annotations or an image.
        annotation_id: of the annotation, None where it is not about one.
        message: what was found, with the JSON path where there is one.
        advice: what to do.
    """

    severity: Severity
    file: str
    annotation_id: int | None
    message: str
    advice: str

    def __str__(self) -> str:
        which = "" if self.annotation_id is None else f"annotation {self.annotation_id}: "
        return f"{self.severity}: {self.file}: {which}{self.message}. To do: {self.advice}."


def find_problems(
    annotations: str | os.PathLike[str], images: str | os.PathLike[str], *, threads: int = 2
) -> list[Finding]:
    """Everything that looks wrong in a COCO file and its images, errors first.

    Args:
        annotations: the JSON file.
        images: the folder its file names start from.
        threads: that read images.

    Returns:
        Findings; none where all is well.

    Raises:
        FileNotFoundError: no such JSON file or folder.
    """
    folder = pathlib.Path(images)
    if not folder.is_dir():
        raise FileNotFoundError(missing_file(folder, "folder"))
    try:
        content = read_json(annotations)
    except ValueError as error:
        message = str(error).removeprefix(f"{annotations}: ")
        advice = "export it again as COCO instances, or mend that place"
        return [Finding("error", str(annotations), None, message, advice)]
    findings = list(_Search(pathlib.Path(annotations), folder, content, threads).all())
    return sorted(findings, key=lambda finding: ORDER[finding.severity])


def contents(annotations: str | os.PathLike[str]) -> str:
    """How much there is of everything in a COCO file; nothing if it cannot be read at all."""
    try:
        content = read_json(annotations)
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        counts = Counter(names[entry["category_id"]] for entry in content["annotations"])
        used = {entry["image_id"] for entry in content["annotations"]}
        empty = sum(image["id"] not in used for image in content["images"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return contents_line(len(content["images"]), empty, counts)


def contents_line(images: int, empty: int, counts: Counter[str]) -> str:
    """Such as "6 images (0 without objects), 290 objects: nucleus 290"."""
    classes = ", ".join(f"{name} {count}" for name, count in counts.most_common(12))
    more = ", ..." if len(counts) > 12 else ""
    return (
        f"{images} images ({empty} without objects), {counts.total()} objects: "
        f"{classes or 'none'}{more}"
    )


class _Search:
    """One file being searched; each method yields what it finds."""

    def __init__(
        self, path: pathlib.Path, folder: pathlib.Path, content: dict[str, Any], threads: int
    ) -> None:
        self.path = path
        self.folder = folder
        self.content = content
        self.threads = threads
        self.broken = list(structure_problems(content))
        unusable = {where.partition(".")[0] for where, _, _ in self.broken}
        self.categories = self._usable("categories", unusable)
        self.category_ids = {entry["id"] for _, entry in self.categories}
        self.images = self._usable("images", unusable)
        self.annotations = self._usable("annotations", unusable)
        self.image_of = {entry["id"]: entry for _, entry in self.images}

    def _usable(self, key: str, unusable: set[str]) -> list[tuple[int, dict[str, Any]]]:
        """Number and content of the entries that can be looked at further."""
        entries = enumerate(self.content[key])
        return [(i, entry) for i, entry in entries if f"{key}[{i}]" not in unusable]

    def _found(
        self, severity: Severity, message: str, advice: str, annotation: int | None = None
    ) -> Finding:
        return Finding(severity, str(self.path), annotation, message, advice)

    def all(self) -> Iterator[Finding]:
        for where, annotation, problem in self.broken:
            advice = "give it the value that COCO instance files have there"
            yield self._found("error", f"{where}: {problem}", advice, annotation)
        for key in ("categories", "images", "annotations"):
            yield from self._duplicates(key)
        yield from self._category_use()
        yield from self._image_use()
        with ThreadPoolExecutor(self.threads) as threads:
            for found in threads.map(self._image, self.images):
                yield from found
        for i, entry in self.annotations:
            yield from self._annotation(i, entry)

    def _duplicates(self, key: str) -> Iterator[Finding]:
        entries: list[tuple[int, dict[str, Any]]] = getattr(self, key)
        first: dict[tuple[str, Any], int] = {}
        for i, entry in entries:
            for name in {"categories": ("id", "name"), "images": ("id", "file_name")}.get(
                key, ("id",)
            ):
                before = first.setdefault((name, entry[name]), i)
                if before != i:
                    message = f"{key}[{i}].{name}: {entry[name]!r} is also that of {key}[{before}]"
                    mine = entry["id"] if key == "annotations" else None
                    advice = f"give every entry of {key} its own {name}"
                    severity: Severity = "warning" if name == "file_name" else "error"
                    yield self._found(severity, message, advice, mine)

    def _category_use(self) -> Iterator[Finding]:
        used = Counter(annotation["category_id"] for _, annotation in self.annotations)
        if not self.categories:
            yield self._found("error", "categories: none", "list at least one class")
        for i, category in self.categories:
            if not used[category["id"]]:
                message = f"categories[{i}]: no annotation is of class {category['name']!r}"
                advice = "leave the class out with `classes`, or find out where its objects went"
                yield self._found("warning", message, advice)

    def _image_use(self) -> Iterator[Finding]:
        if not self.images:
            yield self._found("error", "images: none", "list at least one image")
        used = {annotation["image_id"] for _, annotation in self.annotations}
        empty = [entry["file_name"] for _, entry in self.images if entry["id"] not in used]
        if empty:
            message = f"{len(empty)} of {len(self.images)} images have no annotation: {empty[0]}"
            message += ", ..." if len(empty) > 1 else ""
            yield self._found("note", message, "nothing, if they show no objects")
        crowds = [i for i, annotation in self.annotations if annotation.get("iscrowd") == 1]
        if crowds:
            message = f"{len(crowds)} annotations are crowds, the first annotations[{crowds[0]}]"
            advice = "nothing: they are not trained on, and detections inside them cost nothing"
            yield self._found("note", message, advice)

    def _image(self, numbered: tuple[int, dict[str, Any]]) -> list[Finding]:
        """What is wrong with an image file; runs in a thread."""
        i, entry = numbered
        path = self.folder / entry["file_name"]

        def found(severity: Severity, message: str, advice: str) -> Finding:
            return Finding(severity, str(path), None, message, advice)

        try:
            height, width = read_image(path).shape[:2]
            with Image.open(path) as image:
                orientation = image.getexif().get(EXIF_ORIENTATION, 1)
                brightest = int(np.max(np.asarray(image))) if image.mode in SIXTEEN_BIT else None
        except (ValueError, OSError) as error:
            message = str(error).removeprefix(f"{path}: ")
            advice = f"put the right file there, or remove images[{i}] from {self.path.name}"
            return [found("error", message, advice)]
        result = []
        if (height, width) != (entry["height"], entry["width"]):
            says = f"images[{i}] says {entry['width']} x {entry['height']}"
            message = f"{width} x {height} pixels, but {says}"
            advice = "annotate the image at the size it has now, or put the original back"
            if orientation in (5, 6, 7, 8):
                message += f" (the file is turned by EXIF orientation {orientation})"
                advice = "save the image without EXIF orientation, as it was annotated"
            result.append(found("error", message, advice))
        elif orientation != 1:
            message = f"shown turned by EXIF orientation {orientation}; masks may not be"
            result.append(found("warning", message, "look at it with `minimask data show`"))
        if brightest is not None and brightest < 65535 // 8:
            message = f"16-bit image whose brightest value is {brightest}, so it is nearly black"
            result.append(found("warning", message, "say which value is white, e.g. white=4095"))
        return result

    def _annotation(self, i: int, annotation: dict[str, Any]) -> Iterator[Finding]:
        where, mine = f"annotations[{i}]", annotation["id"]
        if annotation["category_id"] not in self.category_ids:
            message = f"{where}.category_id: no category has the id {annotation['category_id']}"
            yield self._found("error", message, "add the category, or correct the id", mine)
        for name, allowed in (("iscrowd", (0, 1)), ("area", None)):
            value = annotation.get(name, 0)
            if not isinstance(value, int | float) or (allowed and value not in allowed):
                expected = "0 or 1" if allowed else "a number"
                message = f"{where}.{name}: expected {expected}, got {value!r}"
                yield self._found("error", message, f"correct it or leave {name} out", mine)
        image = self.image_of.get(annotation["image_id"])
        if image is None:
            message = f"{where}.image_id: no image has the id {annotation['image_id']}"
            yield self._found("error", message, "add the image, or remove the annotation", mine)
            return
        height, width = image["height"], image["width"]
        problem = segmentation_problem(annotation.get("segmentation"), height, width)
        tight = None
        if problem:
            message = f"{where}.segmentation{problem} ({image['file_name']})"
            yield self._found("error", message, REMOVE, mine)
        else:
            mask = decode(annotation["segmentation"], height, width)
            if mask.any():
                tight = boxes_of_masks(mask[None])[0]
            else:
                message = f"{where}.segmentation: the mask has no pixel ({image['file_name']})"
                yield self._found("error", message, REMOVE, mine)
        for severity, problem, advice in box_problems(annotation, tight, height, width):
            message = f"{where}{problem} ({image['file_name']})"
            yield self._found(severity, message, advice, mine)
