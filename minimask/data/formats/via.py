"""VGG Image Annotator 1 and 2: annotations as JSON, project or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats import outlines
from minimask.data.formats.documents import (
    class_name,
    ends,
    files_below,
    read_text,
    some_files,
)
from minimask.data.json_files import kind_of, read_json

COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
ANNOTATIONS = tuple(re.compile(rf'"{key}"\s*:') for key in ("filename", "regions", "size"))
# attributes that hold the class where there are several, the first that is there
USUAL = ("class", "label", "category", "type", "name")
LARGEST_CELL = 1 << 28  # bytes; csv's own limit is a polygon of some 10 000 points
NO_AREA = ("point", "line", "polyline")


class Via:
    """Polygons, rectangles, circles and ellipses, in whole or half pixels of the image.

    The class is an attribute of the regions: the only one, or the first of `USUAL`, or the only
    one that is chosen from a list.  Where regions have no attributes, all are of one class.
    Images are looked for in the folder of the file and those below.
    """

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether it is such a file, or a folder with such a file in it."""
        if path.is_dir():
            files = [*some_files(path, ".json", depth=1), *some_files(path, ".csv", depth=1)]
            return any(map(_is_via, files))
        return _is_via(path)

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        files = [path]
        if path.is_dir():
            files = [*files_below(path, ".json"), *files_below(path, ".csv")]
            files = [file for file in files if file.parent == path and _is_via(file)]
        contents = [_read_csv(file) if _is_csv(file) else _read_json(file) for file in files]
        attributes = _Attributes()
        for content in contents:
            attributes.look_at(content)
        attribute = attributes.choose(path)
        classes = attributes.options(attribute)
        collector = Collector(
            path,
            "via",
            images or (path if path.is_dir() else path.parent),
            list(classes.values()) or None,
            names_classes=attribute is not None,
        )
        attributes.tell(collector, attribute)
        for content in contents:
            collector.notes += content.notes
            for name, regions in content.images.items():
                _image(collector, content.path, name, regions, attribute, classes)
        return collector.done()


@dataclass
class _Region:
    shape: Any
    attributes: Any
    place: str


@dataclass
class _Content:
    """Of one file: regions of each image, and the attributes it declares."""

    path: pathlib.Path
    images: dict[str, list[_Region]] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)
    notes: list[Any] = field(default_factory=list)


def _is_csv(path: pathlib.Path) -> bool:
    return path.suffix.lower() == ".csv"


def _is_via(path: pathlib.Path) -> bool:
    if path.suffix.lower() not in (".json", ".csv"):
        return False
    text = ends(path)
    if _is_csv(path):
        return all(column in text.partition("\n")[0] for column in COLUMNS)
    return '"_via_img_metadata"' in text or all(key.search(text) for key in ANNOTATIONS)


def _read_json(path: pathlib.Path) -> _Content:
    """An annotation file or a project."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object, as VIA writes, got {kind_of(content)}")
    result = _Content(path)
    inside = ""
    declared = content.get("_via_attributes")
    if isinstance(declared, dict) and isinstance(declared.get("region"), dict):
        result.declared = declared["region"]
    if "_via_img_metadata" in content:
        inside, content = "_via_img_metadata.", content["_via_img_metadata"]
        if not isinstance(content, dict):
            raise ValueError(f"{path}: {inside[:-1]}: expected an object, got {kind_of(content)}")
    for key, entry in content.items():
        place = f"{path}: {inside}{key}"
        if not isinstance(entry, dict) or not isinstance(entry.get("filename", key), str):
            result.notes.append(_error(path, f"{inside}{key}: expected an object with filename"))
            continue
        name = entry.get("filename") or re.sub(r"-?\d+$", "", key)  # the key: name and size
        regions = result.images.setdefault(name, [])
        listed = entry.get("regions") or {}
        if not isinstance(listed, list | dict):
            result.notes.append(_error(path, f"{inside}{key}.regions: expected a list"))
            continue
        for i, region in listed.items() if isinstance(listed, dict) else enumerate(listed):
            given = region if isinstance(region, dict) else {}
            shape = given.get("shape_attributes")
            regions.append(_Region(shape, given.get("region_attributes"), f"{place}.regions[{i}]"))
    return result


def _read_csv(path: pathlib.Path) -> _Content:
    """A line for each region; JSON in its cells."""
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    result = _Content(path)
    old_limit = csv.field_size_limit(LARGEST_CELL)
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows.fieldnames = [(name or "").strip().lstrip("#") for name in rows.fieldnames or []]
        for column in COLUMNS:
            if column not in rows.fieldnames:
                raise ValueError(f"{path}: no column {column!r}, as VIA writes")
        for row in rows:
            _add_row(result, row, rows.line_num)
    except csv.Error as error:
        raise ValueError(f"{path}: broken CSV: {error}") from None
    finally:
        csv.field_size_limit(old_limit)
    return result


def _add_row(result: _Content, row: dict[str, Any], line: int) -> None:
    name = row.get("filename")
    if not name:
        result.notes.append(_error(result.path, f"line {line}: filename: expected text"))
        return
    regions = result.images.setdefault(name, [])
    cells = [row.get(column) or "{}" for column in COLUMNS[1:]]
    try:
        shape, attributes = map(json.loads, cells)
    except (ValueError, RecursionError) as error:
        result.notes.append(_error(result.path, f"line {line}: broken JSON in a cell: {error}"))
        return
    if shape:  # else an image without regions
        regions.append(_Region(shape, attributes, f"{result.path}: line {line}"))


def _error(path: pathlib.Path, message: str) -> Any:
    from minimask.data.findings import Finding

    return Finding("error", str(path), None, " ".join(message.split()), "mend it, or remove it")


class _Attributes:
    """The attributes of regions, and which of them is the class."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}  # number of regions with a value
        self.declared: dict[str, dict[str, Any]] = {}

    def look_at(self, content: _Content) -> None:
        """Take note of a file's attributes."""
        for name, entry in content.declared.items():
            self.seen.setdefault(name, 0)
            if isinstance(entry, dict):
                self.declared[name] = entry
        for regions in content.images.values():
            for region in regions:
                if isinstance(region.attributes, dict):
                    for name, value in region.attributes.items():
                        self.seen[name] = self.seen.get(name, 0) + bool(value)

    def choose(self, path: pathlib.Path) -> str | None:
        """The attribute that is the class; None: regions have none.

        Raises:
            ValueError: any of several could be.
        """
        names = [name for name, number in self.seen.items() if number] or list(self.seen)
        if len(names) <= 1:
            return names[0] if names else None
        by_usual = {name.strip().casefold(): name for name in names}
        for usual in USUAL:
            if usual in by_usual:
                return by_usual[usual]
        lists = [n for n in names if self.declared.get(n, {}).get("type") in ("dropdown", "radio")]
        if len(lists) == 1:
            return lists[0]
        listed = ", ".join(repr(name) for name in names[:8])
        raise ValueError(
            f"{path}: regions have the attributes {listed}, and any could be the class; "
            "name the one that is 'class' in VIA, and save again"
        )

    def options(self, attribute: str | None) -> dict[str, str]:
        """Values that may be chosen, and the classes they mean: a number means its text."""
        given = self.declared.get(attribute or "", {}).get("options")
        result = {}
        for value, text in given.items() if isinstance(given, dict) else ():
            known = class_name(text) if value.strip().isdigit() else None
            name = known or class_name(value)
            if name:
                result[value] = name
        return result

    def tell(self, collector: Collector, attribute: str | None) -> None:
        """Say what the class was taken from, where that is not plain."""
        others = [repr(name) for name in self.seen if name != attribute]
        if attribute is None:
            message = "regions have no attributes, so all objects are of one class, 'object'"
            advice = "nothing, or give regions an attribute 'class' in VIA"
        elif others:
            message = f"the class is the attribute {attribute!r}; not read: {', '.join(others[:8])}"
            advice = "nothing, or name the attribute that is the class 'class' in VIA"
        else:
            return
        collector.note("note", collector.source, message, advice)


def _image(
    collector: Collector,
    path: pathlib.Path,
    name: str,
    regions: list[_Region],
    attribute: str | None,
    classes: dict[str, str],
) -> None:
    image = collector.image(name, said_by=path)
    if image is None:
        return
    for region in regions:
        with collector.one_object(region.place):
            polygon = _polygon(collector, region.shape)
            if polygon is not None:
                label = (
                    "object" if attribute is None else _class(region.attributes, attribute, classes)
                )
                collector.add(image, label, [polygon], place=region.place)


def _class(attributes: Any, attribute: str, classes: dict[str, str]) -> str:
    value = attributes.get(attribute) if isinstance(attributes, dict) else None
    if isinstance(value, dict):  # boxes to tick
        ticked = [key for key, on in value.items() if on]
        if len(ticked) > 1:
            raise ValueError(f"attribute {attribute!r}: several classes: {', '.join(ticked[:5])}")
        value = ticked[0] if ticked else None
    name = class_name(value)
    if name is None:
        raise ValueError(f"attribute {attribute!r}: no value, so no class")
    return classes.get(str(value), name)


def _polygon(collector: Collector, shape: Any) -> list[float] | None:
    """The outline of a region; None, with a note, for one that has no area."""
    if not isinstance(shape, dict):
        raise ValueError(f"shape_attributes: expected an object, got {kind_of(shape)}")
    name = shape.get("name")
    if name in ("polygon", "polyline"):
        points = list(_points(shape))
        if name == "polygon" or outlines.closes(points):
            return outlines.polygon(points, "point")
    if name in NO_AREA:
        collector.pass_over(f"regions of the kind {name!r}, which have no area")
        return None
    if name == "rect":
        x, y, width, height = _numbers(shape, "x", "y", "width", "height")
        return outlines.rectangle(x, y, x + width, y + height)
    if name == "circle":
        cx, cy, r = _numbers(shape, "cx", "cy", "r")
        return outlines.ellipse(cx, cy, r, r)
    if name == "ellipse":
        cx, cy, rx, ry = _numbers(shape, "cx", "cy", "rx", "ry")
        theta = outlines.number(shape.get("theta", 0), "theta")  # radians, clockwise
        return outlines.ellipse(cx, cy, rx, ry, math.degrees(theta))
    raise ValueError(f"shape_attributes.name: {str(name)[:40]!r} is not known")


def _numbers(shape: dict[str, Any], *names: str) -> Iterator[float]:
    return (outlines.number(shape.get(name), name) for name in names)


def _points(shape: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list):
        raise ValueError("all_points_x, all_points_y: expected lists")
    if len(xs) != len(ys):
        raise ValueError(f"{len(xs)} numbers in all_points_x, but {len(ys)} in all_points_y")
    return zip(xs, ys, strict=True)
