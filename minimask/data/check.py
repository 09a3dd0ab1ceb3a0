"""Find what is wrong with annotations and images before training does.

Nothing in the files makes this raise: every problem becomes a finding, and the search goes on.
What follows from another finding is not reported again.
"""

from __future__ import annotations

import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from minimask.data.advice import Advice, advise
from minimask.data.annotated import chosen_classes
from minimask.data.annotations import Annotations
from minimask.data.check_boxes import box_problems
from minimask.data.check_files import examine_images
from minimask.data.findings import ORDER, Finding, Severity, errors_first
from minimask.data.formats import read_annotations
from minimask.data.image_depth import White
from minimask.data.images import missing_file
from minimask.data.keypoint_values import common_skeleton
from minimask.data.soundness import Sound, examine

POINTS_ONLY = {
    "message": "no annotation has a mask: boxes and keypoints only",
    "advice": "nothing, if you train with --model keypointrcnn_laptop",
}
Progress = Callable[[int, int], None]  # images looked at, of how many

__all__ = ["ORDER", "Checked", "Finding", "check_files", "contents_line", "find_problems"]


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        findings: errors first.
        contents: a line that says how much training will see of everything; "": nothing can be
            read.
        advice: how to train on it; None where errors come first.
    """

    findings: list[Finding]
    contents: str
    advice: Advice | None


def find_problems(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str] | None,
    *,
    threads: int = 2,
    white: White = None,
    page: int | None = None,
) -> list[Finding]:
    """Everything that looks wrong in annotations and their images, errors first.

    Args:
        annotations: a file or folder of any format.
        images: the folder of the images; None: as the files say, or beside them.
        threads: that read images.
        white: as in `read_image`.
        page: likewise.

    Returns:
        Findings; none where all is well.

    Raises:
        FileNotFoundError: no such file or folder.
    """
    found = check_files(annotations, images, threads=threads, white=white, page=page)
    return found.findings


def check_files(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str] | None,
    format: str | None = None,
    *,
    threads: int = 2,
    progress: Progress | None = None,
    white: White = None,
    page: int | None = None,
) -> Checked:
    """The findings of `find_problems`, what there is of everything, and how to train on it.

    Args:
        annotations: a file or folder.
        images: the folder of the images.
        format: name of the format; None: recognised.
        threads: that read images.
        progress: called after every image.
        white: as in `read_image`.
        page: likewise.

    Raises:
        FileNotFoundError: no such file or folder.
    """
    if images is not None and not pathlib.Path(images).is_dir():
        raise FileNotFoundError(missing_file(images, "folder"))
    try:
        found = read_annotations(annotations, images, format)
    except ValueError as error:
        message = str(error).removeprefix(f"{annotations}: ")
        advice = "export it again, or mend that place"
        return Checked([Finding("error", str(annotations), None, message, advice)], "", None)
    search = _Search(found, threads, progress, white, page)
    findings = errors_first(search.all())
    broken = any(finding.severity == "error" for finding in findings)
    advised = None if broken else advise(search.sound)
    if advised is not None and search.points_only:
        advised = replace(advised, model="keypointrcnn_laptop")
    return Checked(findings, search.contents(), advised)


def contents_line(images: int, empty: int, counts: Counter[str]) -> str:
    """Such as "6 images (0 without objects), 290 objects: nucleus 290"."""
    classes = ", ".join(f"{name} {count}" for name, count in counts.most_common(12))
    more = ", ..." if len(counts) > 12 else ""
    return (
        f"{images} images ({empty} without objects), {counts.total()} objects: "
        f"{classes or 'none'}{more}"
    )


def keypoints_phrase(categories: list[dict[str, Any]], objects: list[dict[str, Any]]) -> str:
    """Such as "; 4 keypoints (top_left, top_right, ...) on 35 objects"; "" without any."""
    try:
        skeleton = common_skeleton(categories)
    except ValueError:
        skeleton = None
    if skeleton is None:
        return ""
    names = ", ".join(skeleton.names[:4]) + (", ..." if len(skeleton) > 4 else "")
    count = sum(bool(a.get("num_keypoints")) for a in objects)
    return f"; {len(skeleton)} keypoints ({names}) on {count} objects"


class _Search:
    """Annotations being searched; each method yields what it finds."""

    def __init__(
        self,
        found: Annotations,
        threads: int,
        progress: Progress | None,
        white: White = None,
        page: int | None = None,
    ) -> None:
        self.found, self.threads, self.progress = found, threads, progress
        self.white, self.page = white, page
        self.sound: Sound = examine(found)
        self.boxes_only = any("boxes only" in e.message for e in self.sound.errors)
        points = bool(keypoints_phrase(found.categories, found.annotations))
        self.points_only = self.boxes_only and points
        if self.boxes_only:  # one finding says so; the rest is looked at as what it is
            errors = [e for e in self.sound.errors if "boxes only" in e.message]
            self.sound = examine(found, boxes_only=True)
            if self.points_only:
                errors = [replace(e, severity="note", **POINTS_ONLY) for e in errors]
                self.sound.left_out.extend(errors)
            else:
                self.sound.errors.extend(errors)
        self.image_of = {image["id"]: image for image in found.images}
        self.said = {error.file for error in self.sound.errors}  # files with an error
        self.resized = {error.file for error in self.sound.errors if _about_size(error)}

    def contents(self) -> str:
        """What training will see: sound objects that are no crowds."""
        names = {category["id"]: category["name"] for category in self.found.categories}
        objects = [a for a in self.sound.annotations.annotations if not a["iscrowd"]]
        counts = Counter(names[a["category_id"]] for a in objects)
        empty = len(self.image_of.keys() - {a["image_id"] for a in objects})
        line = contents_line(len(self.found.images), empty, counts)
        return line + keypoints_phrase(self.found.categories, objects)

    def all(self) -> Iterator[Finding]:
        yield from (finding for finding in self.found.notes if finding.severity != "error")
        yield from self.sound.errors
        yield from self.sound.left_out
        yield from self._classes()
        yield from self._objects()
        if self.found.folder is not None:
            images = examine_images(
                self.found, self.said, self.threads, self.progress, self.white, self.page
            )
            for finding in images:
                if finding.severity == "error" and _about_size(finding):
                    self.resized.add(finding.file)
                yield finding
        yield from self._boxes()
        yield from self._twins()

    def _note(self, severity: Severity, message: str, advice: str) -> Finding:
        return Finding(severity, str(self.found.source), None, message, advice)

    def _classes(self) -> Iterator[Finding]:
        lost = any("categories[" in f.message for f in self.found.notes if f.severity == "error")
        if not self.found.categories and not lost:
            yield self._note("error", "categories: none", "list at least one class")
        used = Counter(a["category_id"] for a in self.found.annotations)
        if self.sound.errors and not used:
            return  # the errors are the reason
        first: dict[str, Any] = {}
        kept = chosen_classes(self.found, None)[0]
        unused = []
        for i, category in enumerate(self.found.categories):
            name, number = category["name"], category["id"]
            before = first.setdefault(name, number)
            if before != number:
                both = used[before] and used[number]
                reading = "they are read as one class" if both else "the one without is dropped"
                message = f"categories[{i}].name: {name!r} is there twice; {reading}"
                yield self._note("warning" if both else "note", message, "nothing, if that is so")
            elif name not in kept:
                message = f"categories[{i}]: {name!r} groups the others or is background, no class"
                yield self._note("note", message, "nothing, if that is so")
            elif not any(used[c["id"]] for c in self.found.categories if c["name"] == name):
                unused.append(name)
        if unused:
            listed = ", ".join(map(repr, unused[:8])) + (", ..." if len(unused) > 8 else "")
            message = f"no annotation is of class {listed}"
            if len(unused) > 1:
                message = f"{len(unused)} of {len(kept)} classes have no annotation: {listed}"
            advice = "leave them out with --classes, or find out where their objects went"
            yield self._note("warning", message, advice)

    def _objects(self) -> Iterator[Finding]:
        """Images and annotations that training will not see."""
        if not self.found.images and not self.sound.errors:
            yield self._note("error", "images: none", "list at least one image")
        used = {annotation["image_id"] for annotation in self.found.annotations}
        empty = [e["file_name"] for e in self.found.images if e["id"] not in used]
        if empty and (used or not self.sound.errors):
            message = f"{len(empty)} of {len(self.found.images)} images have no annotation: "
            message += f"{empty[0]}{', ...' if len(empty) > 1 else ''}"
            yield self._note("note", message, "nothing, if they show no objects")
        if self.sound.errors:
            return
        crowds = [i for i, a in enumerate(self.found.annotations) if a["iscrowd"]]
        objects = len(self.sound.annotations.annotations) - len(crowds)
        if crowds and objects:
            message = (
                f"{len(crowds)} annotations are crowds, the first {self.found.place(crowds[0])[1]}"
            )
            advice = "nothing: they are not trained on, and detections inside them cost nothing"
            yield self._note("note", message, advice)
        elif self.found.images and not objects:
            yield nothing_to_learn(self.found, len(crowds))

    def _boxes(self) -> Iterator[Finding]:
        tight_box = dict(zip(self.sound.kept, self.sound.boxes, strict=True))
        for i, annotation in enumerate(self.found.annotations):
            image = self.image_of[annotation["image_id"]]
            if str(pathlib.Path(self.found.folder or "", image["file_name"])) in self.resized:
                continue  # what is wrong with its boxes follows from that
            tight = None if annotation["segmentation"] is None else tight_box.get(i)
            boxes_expected = self.found.format == "coco" and tight is not None
            for severity, problem, advice in box_problems(
                annotation, tight, image["height"], image["width"], boxes_expected
            ):
                file, place = self.found.place(i)
                message = f"{place}{problem} ({image['file_name']})"
                yield Finding(severity, file, annotation["id"], message, advice)

    def _twins(self) -> Iterator[Finding]:
        """Objects that are there twice: the same class and mask in the same image."""
        sound = self.sound.annotations
        first: dict[Any, int] = {}
        twins = []
        for i, (a, box) in enumerate(zip(sound.annotations, self.sound.boxes, strict=True)):
            before = first.setdefault((a["image_id"], a["category_id"], box), i)
            if before != i and sound.annotations[before]["segmentation"] == a["segmentation"]:
                twins.append(i)
        if twins:
            _, place = sound.place(twins[0])
            message = f"{len(twins)} objects are there twice, such as {place}"
            yield self._note("warning", message, "keep one of each")


def _about_size(finding: Finding) -> bool:
    """Whether an image is not as large as the annotations say."""
    return " pixels" in finding.message and " x " in finding.message


def nothing_to_learn(found: Annotations, crowds: int) -> Finding:
    """The error of data without an object to train on."""
    if crowds:
        message = (
            f"all {crowds} annotations are crowds (iscrowd 1): regions of many objects, which "
            "are not trained on; there is nothing to learn from"
        )
        advice = "if they are single objects, export them with iscrowd 0"
    else:
        message = f"none of the {len(found.images)} images has an object to learn from"
        advice = "annotate some, or find out where the annotations went"
    return Finding("error", str(found.source), None, message, advice)
