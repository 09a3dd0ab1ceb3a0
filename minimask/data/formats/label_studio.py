"""Label Studio: the JSON export of tasks, and JSON-MIN."""

from __future__ import annotations

import base64
import binascii
import pathlib
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats import outlines
from minimask.data.formats.brush import brush_mask
from minimask.data.formats.documents import class_name, ends, files_below, size_said, some_files
from minimask.data.image_files import SUFFIXES
from minimask.data.json_files import kind_of, read_json

TASKS = (re.compile(r'"(annotations|completions|predictions)"\s*:'), re.compile(r'"data"\s*:'))
MIN = (
    re.compile(r'"original_width"\s*:'),
    re.compile(r'"(annotation_id|annotator|\w+labels)"\s*:'),
)
IMAGE_KEYS = ("image", "img", "image_url", "url", "photo", "picture", "file")
RANDOM = re.compile(r"^[0-9a-f]{8}-")  # what an upload puts before a file's name
DECIMALS = 3  # of coordinates in pixels, which come as shares
NO_AREA = (
    *("keypoint", "vector", "relation"),
    *("labels", "choices", "textarea", "rating", "number", "taxonomy"),
)


class LabelStudio:
    """Polygons, rectangles and ellipses (turned ones too), brush masks, in shares of 100.

    Of several annotations of a task the one marked as ground truth is read, else the newest that
    was not cancelled; predictions never are.  Tasks without annotation are left out, as nobody
    has looked at them; an annotation without regions is an image without objects.  Images are
    looked for by the end of their address, also without the letters that an upload puts in front.
    """

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether it is such a file, or a folder with such a file in it."""
        if path.is_dir():
            return any(map(_is_export, some_files(path, ".json", depth=1)))
        return path.suffix.lower() == ".json" and _is_export(path)

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        files = [path]
        if path.is_dir():
            files = [f for f in files_below(path, ".json") if f.parent == path and _is_export(f)]
        contents = [(file, read_json(file)) for file in files]
        folder = images or (path if path.is_dir() else path.parent)
        collector = Collector(path, "label_studio", folder)
        for file, content in contents:
            tasks = [content] if isinstance(content, dict) else content
            if not isinstance(tasks, list):
                raise ValueError(f"{file}: expected a list of tasks, got {kind_of(content)}")
            for name, results, place in _annotated(collector, file, tasks):
                _image(collector, file, name, results, place)
        return collector.done()


def _is_export(path: pathlib.Path) -> bool:
    text = ends(path)
    if '"images"' in text and '"categories"' in text:  # COCO, which Label Studio writes too
        return False
    start = text.lstrip()[:1]
    if start == "[":
        return all(key.search(text) for key in TASKS) or all(key.search(text) for key in MIN)
    return start == "{" and all(key.search(text) for key in TASKS) and '"result"' in text


Task = tuple[Any, list[Any], str]  # what is said of the image, results, place


def _annotated(collector: Collector, file: pathlib.Path, tasks: list[Any]) -> Iterator[Task]:
    """The tasks that somebody has finished."""
    shortened: dict[str, list[tuple[Any, int, dict[str, Any]]]] = {}
    for i, task in enumerate(tasks):
        place = f"{file}: [{i}]"
        with collector.one_object(place):
            if not isinstance(task, dict):
                raise ValueError(f"expected an object, got {kind_of(task)}")
            if isinstance(task.get("data"), dict):
                annotation = _annotation_of(collector, task)
                if annotation is not None:
                    results = annotation.get("result")
                    if not isinstance(results, list):
                        raise ValueError(f"result: expected a list, got {kind_of(results)}")
                    yield _address(task["data"]), results, f"{place}.result"
            else:
                name = _address(task)
                shortened.setdefault(name, []).append((_age(task), i, task))
    for name, entries in shortened.items():  # JSON-MIN: an entry for each annotation
        for _ in entries[1:]:
            collector.pass_over("older annotations of the same image are not read")
        _, i, task = max(entries, key=lambda entry: entry[:2])
        yield name, list(_short_results(task)), f"{file}: [{i}]"


def _annotation_of(collector: Collector, task: dict[str, Any]) -> dict[str, Any] | None:
    """The annotation of a task that counts, or None."""
    listed = task.get("annotations", task.get("completions"))
    if not isinstance(listed, list):
        listed = []
    done = [a for a in listed if isinstance(a, dict) and not a.get("was_cancelled")]
    if not done:
        what = "tasks without a finished annotation are left out"
        if task.get("predictions"):
            what = "tasks with predictions only are left out: nobody has looked at them"
        advice = "finish or submit them in Label Studio, unless they are not meant"
        collector.pass_over(what, advice, "warning")
        return None
    for _ in done[1:]:
        collector.pass_over("further annotations of the same tasks are not read")
    return max(done, key=lambda a: (bool(a.get("ground_truth")), _age(a)))


def _age(annotation: dict[str, Any]) -> tuple[str, int]:
    """Later ones compare greater: ISO dates, then ids."""
    date = annotation.get("updated_at") or annotation.get("created_at")
    number = annotation.get("id", annotation.get("annotation_id"))
    return (date if isinstance(date, str) else "", number if isinstance(number, int) else 0)


def _short_results(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The regions of JSON-MIN, as the long form has them."""
    for key, regions in task.items():
        for region in regions if isinstance(regions, list) else []:
            if isinstance(region, dict) and (region.keys() & {"x", "points", "rle"}):
                yield {"value": region, "from_name": key} | region


def _address(data: dict[str, Any]) -> str:
    """What the task calls its image."""
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value}
    for key in IMAGE_KEYS:
        if key in texts:
            return texts[key]
    for value in texts.values():
        if value.lower().split("?")[0].endswith(SUFFIXES) or "/data/" in value:
            return value
    raise ValueError("data: no image in it; expected image: its address")


def _image(
    collector: Collector, file: pathlib.Path, address: str, results: list[Any], place: str
) -> None:
    """Add an image with its objects."""
    size, turned = None, False
    for result in results:
        if isinstance(result, dict):
            size = size or size_said(result.get("original_height"), result.get("original_width"))
            turned = turned or bool(result.get("image_rotation"))
    found = None
    names = list(_names(address))
    for name in names:
        found = found or collector.files.find(name)
    image = collector.image(
        collector.files.relative(found) if found else names[-1], size, said_by=file
    )
    if image is None:
        return
    if turned:
        what = "images were turned in Label Studio; their regions may lie elsewhere"
        collector.pass_over(what, "look at them with `minimask data show`", "warning")
    regions: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    for i, result in enumerate(results):
        with collector.one_object(f"{place}[{i}]"):
            if not isinstance(result, dict):
                raise ValueError(f"expected an object, got {kind_of(result)}")
            key = result.get("id")
            regions.setdefault(key if isinstance(key, str | int) else (i,), []).append((i, result))
    for region in regions.values():
        _region(collector, image, region, place)


def _names(address: str) -> Iterator[str]:
    """File names that an address can mean."""
    try:
        parts = urllib.parse.urlsplit(address)
        query = urllib.parse.parse_qs(parts.query)
    except ValueError:  # broken brackets of an IPv6 address
        yield address
        return
    if address.startswith("data:"):
        yield "an image inside the file (data:)"
        return
    for given in query.get("d", []):  # /data/local-files/?d=folder/a.png
        address = given
    for given in query.get("fileuri", []):  # /tasks/7/resolve/?fileuri=base64 of s3://...
        try:
            address = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)).decode("utf-8")
        except (binascii.Error, ValueError):
            continue
    yield address
    folder, _, last = address.split("?")[0].rpartition("/")
    yield last or folder
    if RANDOM.match(last):
        yield RANDOM.sub("", last)


def _region(
    collector: Collector,
    image: dict[str, Any],
    region: list[tuple[int, dict[str, Any]]],
    place: str,
) -> None:
    """Add one object: a shape, and its label with it or in a result of the same id."""
    i, drawn = next(((i, r) for i, r in region if _kind(r) not in NO_AREA), region[0])
    place = f"{place}[{i}]"
    with collector.one_object(place):
        kind = _kind(drawn)
        if kind in NO_AREA:
            collector.pass_over(f"results of the kind {kind!r}, which have no area")
            return
        names = [name for _, result in region for name in _labels(result)]
        if not names:
            raise ValueError("no label, so no class")
        if len(set(names)) > 1:
            what = "regions have several labels, of which the first is their class"
            collector.pass_over(what, "see that the first is meant", "warning")
        part = _part(kind, drawn.get("value"), image["height"], image["width"])
        collector.add(
            image, names[0], outlines.union([part], image["height"], image["width"]), place=place
        )


def _kind(result: dict[str, Any]) -> str:
    """What was drawn: "polygon" for polygonlabels too, also where `type` is not said."""
    given = result.get("type")
    if isinstance(given, str):
        return given.removesuffix("labels") or "labels"
    value = result.get("value")
    keys = value.keys() if isinstance(value, dict) else ()
    for key, kind in (("points", "polygon"), ("rle", "brush"), ("radiusX", "ellipse")):
        if key in keys:
            return kind
    return "rectangle" if {"x", "height"} <= set(keys) else "keypoint" if "x" in keys else "choices"


def _labels(result: dict[str, Any]) -> Iterator[str]:
    """Names that a result gives to its region."""
    value = result.get("value")
    if not isinstance(value, dict):
        return
    for key, listed in value.items():
        if key.endswith("labels") or key == "choices":
            for label in listed if isinstance(listed, list) else [listed]:
                name = class_name(label)
                if name:
                    yield name


def _part(kind: str, value: Any, height: int, width: int) -> outlines.Part:
    """The outline or mask of a region."""
    if not isinstance(value, dict):
        raise ValueError(f"value: expected an object, got {kind_of(value)}")
    if kind == "polygon":
        shares = outlines.coordinates(value.get("points"))
        scale = (width / 100, height / 100) * (len(shares) // 2)
        scaled = [round(v * s, DECIMALS) for v, s in zip(shares, scale, strict=True)]
        return outlines.outline(scaled)
    if kind == "brush":
        return brush_mask(value.get("rle"), height, width)
    if kind not in ("rectangle", "ellipse"):
        raise ValueError(f"type: {kind[:40]!r} is not known")
    names = (
        ("x", "y", "width", "height") if kind == "rectangle" else ("x", "y", "radiusX", "radiusY")
    )
    x, y, a, b = (outlines.number(value.get(name), name) for name in names)
    x, a = round(x * width / 100, DECIMALS), round(a * width / 100, DECIMALS)
    y, b = round(y * height / 100, DECIMALS), round(b * height / 100, DECIMALS)
    turn = outlines.number(value.get("rotation") or 0, "rotation")
    if kind == "ellipse":
        return outlines.ellipse(x, y, a, b, turn)
    corners = outlines.rectangle(x, y, x + a, y + b, turn, about="corner")
    return [round(corner, DECIMALS) for corner in corners]
