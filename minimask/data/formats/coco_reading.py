"""A COCO file read entry by entry, with findings on all that has no plain meaning."""

from __future__ import annotations

import os
import pathlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from minimask.data.annotations import Annotations
from minimask.data.findings import Finding, Severity
from minimask.data.formats import coco_spelling as spelling
from minimask.data.formats.coco_keypoints import Keypoints
from minimask.data.formats.coco_spelling import UNCLEAR
from minimask.data.image_files import ImageFiles, image_size
from minimask.data.spellings import shown
from minimask.data.truth import area_problem, box_problem

SECTIONS = ("images", "annotations", "categories")
NAMES = ("file_name", "filename", "path", "coco_url", "flickr_url")  # what images are called by
CORRECT = "give it the value that COCO instance files have there"


def sections(content: Any, path: str | os.PathLike[str]) -> dict[str, list[Any]]:
    """The three lists of a COCO file; a list of test images has no annotations.

    Raises:
        ValueError: it is no such file.
    """
    if not isinstance(content, dict):
        what = "a list of results" if _are_results(content) else f"a {type(content).__name__}"
        raise ValueError(
            f"{path}: expected an object with images, annotations and categories, got {what}"
        )
    found: dict[str, list[Any]] = {}
    for key in SECTIONS:
        section = spelling.entries(content.get(key))
        optional = key == "annotations" and key not in content and "categories" in content
        if section is None and not optional:
            has = ", ".join(map(str, list(content)[:8])) or "nothing"
            raise ValueError(
                f"{path}: {key}: expected a list, as COCO instance files have; found: {has}"
            )
        found[key] = section or []
    return found


def _or_none(value: Any) -> Any:
    return None if value is UNCLEAR else value


def _are_results(content: Any) -> bool:
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], dict)
        and {"image_id", "score"} <= content[0].keys()
    )


class Reading:
    """One file being read; `done` gives what it says in the official spelling."""

    def __init__(self, content: Any, path: pathlib.Path, files: ImageFiles | None) -> None:
        self.path, self.files = path, files
        self.sections = sections(content, path)
        self.notes: list[Finding] = []
        self.read_as: Counter[str] = Counter()  # "what, read as what" -> how often
        self.first: dict[str, str] = {}
        self.lost_images = self.lost_categories = 0  # entries that others may refer to

    def done(self) -> Annotations:
        """Everything that has a plain meaning, and findings on the rest."""
        self.keypoints = Keypoints(self.note)
        categories = list(self._categories())
        self.category_of = {spelling.same_id(c["id"]): c for c in categories}
        self.images = list(self._images())
        self.image_of = {spelling.same_id(i["id"]): i for i in self.images}
        self._shared_files()
        numbered = list(self._annotations())
        self.keypoints.done(categories)
        annotations = self._own_ids([annotation for _, annotation in numbered])
        for what, count in self.read_as.items():
            more = f" ({count} such places)" if count > 1 else ""
            self.note("note", f"{self.first[what]}: {what}{more}", "nothing, if that is meant")
        folder = None if self.files is None else self.files.folder
        places: list[int | str] = [i for i, _ in numbered]
        return Annotations(
            self.path, "coco", self.images, annotations, categories, folder, self.notes, places
        )

    def note(
        self, severity: Severity, message: str, advice: str = CORRECT, annotation: Any = None
    ) -> None:
        """Remember a finding about the file."""
        self.notes.append(Finding(severity, str(self.path), annotation, message, advice))

    def as_read(self, where: str, what: str) -> None:
        """Count something that is written otherwise than officially."""
        self.read_as[what] += 1
        self.first.setdefault(what, where)

    def _dictionaries(self, key: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for i, entry in enumerate(self.sections[key]):
            if isinstance(entry, dict):
                yield i, f"{key}[{i}]", entry
            else:
                self.note("error", f"{key}[{i}]: expected an object, got {type(entry).__name__}")
                self.lost_images += key == "images"
                self.lost_categories += key == "categories"

    def _id(self, where: str, entry: dict[str, Any], name: str = "id", mine: Any = None) -> Any:
        """An id, or UNCLEAR with a finding."""
        value = spelling.identity(entry.get(name))
        if value is UNCLEAR:
            got = shown(entry[name]) if name in entry else "nothing"
            message = f"{where}.{name}: expected a whole number or text, got {got}"
            self.note("error", message, annotation=mine)
        return value

    def _categories(self) -> Iterator[dict[str, Any]]:
        first: dict[str, int] = {}
        for i, where, entry in self._dictionaries("categories"):
            number, name = self._id(where, entry), entry.get("name")
            if isinstance(name, int) and not isinstance(name, bool):
                name = str(name)
            if not isinstance(name, str) or not name:
                got = shown(name) if "name" in entry else "nothing"
                self.note("error", f"{where}.name: expected text, got {got}")
            if number is UNCLEAR or not isinstance(name, str) or not name:
                self.lost_categories += 1
                continue
            before = first.setdefault(spelling.same_id(number), i)
            if before != i:
                message = f"{where}.id: {number!r} is also that of categories[{before}]"
                self.note("error", message, "give every entry of categories its own id")
                continue
            yield self.keypoints.category(where, entry | {"id": number, "name": name})

    def _images(self) -> Iterator[dict[str, Any]]:
        seen: dict[str, tuple[int, dict[str, Any]]] = {}
        missing = []
        for i, where, entry in self._dictionaries("images"):
            number, name = self._id(where, entry), self._name(where, entry)
            if number is UNCLEAR or name is None:
                self.lost_images += 1
                continue
            before = seen.setdefault(spelling.same_id(number), (i, entry))
            if before[0] != i:
                if before[1] != entry:
                    message = f"{where}.id: {number!r} is also that of images[{before[0]}]"
                    self.note("error", message, "give every entry of images its own id")
                continue
            path = None if self.files is None else self._find(where, name)
            if self.files is not None and path is None:
                missing.append((i, name))
            size = self._size(where, entry, path)
            if size is None:
                self.lost_images += 1
                continue
            if path is not None and self.files is not None:
                name = self.files.relative(path)
            yield entry | {"id": number, "file_name": name, **size}
        self._missing(missing, len(seen))

    def _name(self, where: str, entry: dict[str, Any]) -> str | None:
        for key in NAMES:
            name = entry.get(key)
            if isinstance(name, str) and name:
                if key != "file_name":
                    self.as_read(where, f"no file_name; {key} says which file is meant")
                return "/".join(name.split("/")[-2:]) if "://" in name else name
        got = shown(entry["file_name"]) if "file_name" in entry else "nothing"
        self.note("error", f"{where}.file_name: expected text, got {got}")
        return None

    def _find(self, where: str, name: str) -> pathlib.Path | None:
        assert self.files is not None
        path = self.files.find(name)
        if path is not None and self.files.relative(path) != os.path.normpath(name).replace(
            os.sep, "/"
        ):
            where = f"{where}.file_name {name!r}, found as {self.files.relative(path)}"
            self.as_read(where, "not the path from the images' folder on, but only one is meant")
        return path

    def _missing(self, missing: list[tuple[int, str]], images: int) -> None:
        """Listed images that are not there; if it is all of them, the folder is wrong."""
        if not missing or self.files is None:
            return
        if len(missing) == images > 1:
            name = missing[0][1]
            message = (
                f"none of its {images} images is in {self.files.folder}: {self.files.missing(name)}"
            )
            self.note("error", message, "name the folder that holds them with --images")
            return
        for i, name in missing:
            path = self.files.folder / name
            message = self.files.missing(name).removeprefix(f"{path}: ")
            advice = f"put the right file there, or remove images[{i}] from {self.path.name}"
            self.notes.append(Finding("error", str(path), None, message, advice))

    def _size(
        self, where: str, entry: dict[str, Any], path: pathlib.Path | None
    ) -> dict[str, int] | None:
        """Width and height; read from the image where the file does not say them."""
        size = {name: spelling.pixels(entry.get(name)) for name in ("width", "height")}
        if UNCLEAR not in size.values():
            return size  # type: ignore[return-value]
        if all(entry.get(name) in (None, 0, "", -1) for name in size) and path is not None:
            try:
                height, width = image_size(path)
            except (ValueError, OSError):  # said when the image is read
                return {"width": 1, "height": 1}
            self.as_read(where, "no width and height; the image's own were taken")
            return {"width": width, "height": height}
        for name, value in size.items():
            if value is UNCLEAR:
                got = shown(entry[name]) if name in entry else "nothing"
                message = f"{where}.{name}: expected 1 to {spelling.LARGEST} pixels, got {got}"
                self.note("error", message)
        return None

    def _shared_files(self) -> None:
        """Two entries of `images` with one file: seldom meant."""
        first: dict[str, Any] = {}
        for entry in self.images:
            before = first.setdefault(entry["file_name"], entry)
            if before is not entry:
                message = (
                    f"the images {before['id']!r} and {entry['id']!r} are both the file "
                    f"{entry['file_name']}"
                )
                self.note("warning", message, "give every entry of images its own file_name")

    def _annotations(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, where, entry in self._dictionaries("annotations"):
            image = self._refers(where, entry, "image_id", self.image_of, self.lost_images)
            category = self._refers(
                where, entry, "category_id", self.category_of, self.lost_categories
            )
            if image is None or category is None:
                continue
            size = image["height"], image["width"]
            plain = self._values(where, entry, size)
            points = self.keypoints.annotation(where, entry, category, size)
            if plain is not None and points is not False:
                ids = {"image_id": image["id"], "category_id": category["id"]}
                yield i, plain | ids | points

    def _refers(
        self, where: str, entry: dict[str, Any], name: str, known: dict[str, Any], lost: int
    ) -> Any:
        """What an id refers to, or None.

        An id of nothing is an error, unless entries were lost that may be the ones meant.
        """
        value = self._id(where, entry, name, entry.get("id"))
        if value is UNCLEAR:
            return None
        found = known.get(spelling.same_id(value))
        if found is None and not lost:
            kind = "image" if name == "image_id" else "category"
            message = f"{where}.{name}: no {kind} has the id {value!r}"
            advice = f"add the {kind}, or remove the annotation"
            self.note("error", message, advice, entry.get("id"))
        return found

    def _values(
        self, where: str, entry: dict[str, Any], size: tuple[int, int]
    ) -> dict[str, Any] | None:
        """The entry with flag, area, box and mask in the official spelling; None with a finding."""
        checked = ("bbox", "area", "keypoints", "num_keypoints")
        plain = {key: value for key, value in entry.items() if key not in checked}
        problems = []
        plain["iscrowd"] = spelling.flag(entry.get("iscrowd"))
        if plain["iscrowd"] is UNCLEAR:
            problems.append(("iscrowd", "expected 0 or 1"))
        box = spelling.box(entry.get("bbox"))
        if box is not None:
            plain["bbox"] = box
            problems += [("bbox", p) for p in [box_problem(_or_none(box), *size)] if p]
        area = entry.get("area")
        if area is not None and area != -1:  # which some exporters write for "not measured"
            number = _or_none(spelling.number(area))
            if problem := area_problem(
                number, *size
            ):  # only sorts objects by size: can be measured
                message = f"{where}.area: {problem}, got {shown(area)}; the mask's own is used"
                self.note("warning", message, "correct it or leave area out", entry.get("id"))
            else:
                plain["area"] = number
        for name, problem in problems:
            message = f"{where}.{name}: {problem}, got {shown(entry[name])}"
            self.note("error", message, f"correct it or leave {name} out", entry.get("id"))
        given = entry.get("segmentation")
        plain["segmentation"] = mask = spelling.segmentation(given)
        if mask != given and given not in (None, "", {}, []):
            self.as_read(f"{where}.segmentation", "not as COCO writes it, but plain")
        return None if problems else plain

    def _own_ids(self, annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Annotations each with an id of its own: nothing refers to them, so they are renumbered.

        Files that were put together from several repeat them.
        """
        ids = [spelling.identity(a.get("id")) for a in annotations]
        keys = {spelling.same_id(i) for i in ids if isinstance(i, int | str)}
        if len(keys) == len(annotations):
            return [a | {"id": i} for a, i in zip(annotations, ids, strict=True)]
        missing = sum(i is UNCLEAR for i in ids)
        repeated = len(annotations) - missing - len(keys)
        message = f"annotations: {repeated} ids are repeated and {missing} missing; numbered anew"
        advice = "nothing, if files were put together; else look whether objects are there twice"
        self.note("warning", message, advice)
        return [a | {"id": i + 1} for i, a in enumerate(annotations)]
