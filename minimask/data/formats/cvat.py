"""CVAT: XML for images 1.1, and for video 1.1 with tracks."""

# H W height and width of an image

from __future__ import annotations

import pathlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats import outlines
from minimask.data.formats.documents import class_name, ends, files_below, size_said, some_files
from minimask.data.images import missing_file

ROOT = re.compile(r"<annotations[\s>]")
CVATS = re.compile(r"<(version|meta|image|track)[\s>]")
DRAWN = ("polygon", "box", "ellipse", "mask", "polyline")
NO_AREA = ("points", "tag", "skeleton", "cuboid")  # and polylines that do not close
NO_CLASS = ("tag", "points", "polyline", "skeleton", "cuboid")  # kinds of labels


class Cvat:
    """Polygons, boxes and ellipses (turned ones too), masks; the order of classes is the task's.

    Coordinates are continuous pixels as in COCO.  Shapes of an image that share label and
    `group_id` (not 0) are parts of one object.  Of tracks, every frame in which the object is not
    `outside` is read; the image of frame 7 is `frame_000007`, or the eighth of the folder where it
    holds exactly the task's frames.
    """

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether it is such a file, or a folder that holds some."""
        if path.is_dir():
            return any(map(_is_cvat, some_files(path, ".xml")))
        return path.suffix.lower() == ".xml" and _is_cvat(path)

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        files = [path]
        if path.is_dir():
            files = [file for file in files_below(path, ".xml") if _is_cvat(file)]
        roots = [(file, _parse(file)) for file in files]
        classes = [name for _, root in roots for name in _classes(root)]
        folder = images or (path if path.is_dir() else path.parent)
        collector = Collector(path, "cvat", folder, list(dict.fromkeys(classes)) or None)
        for file, root in roots:
            for element in root.iterfind("image"):
                _image(collector, file, element)
            _tracks(collector, file, root)
        return collector.done()


class _Builder(ET.TreeBuilder):
    """Refuses what CVAT never writes, and what entities are declared in."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("a document type (<!DOCTYPE>), which CVAT does not write, is not read")


def _is_cvat(path: pathlib.Path) -> bool:
    text = ends(path)
    return bool(ROOT.search(text) and CVATS.search(text))


def _parse(path: pathlib.Path) -> ET.Element:
    """The root element.

    Raises:
        ValueError: broken XML, another root, or a document type.
    """
    parser = ET.XMLParser(target=_Builder())
    try:
        with open(path, "rb") as file:
            while data := file.read(1 << 20):
                parser.feed(data)
        root = parser.close()
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except ET.ParseError as error:
        raise ValueError(f"{path}: broken XML: {error}") from None
    except (ValueError, LookupError) as error:  # a document type, an unknown encoding
        raise ValueError(f"{path}: {error}") from None
    if root.tag != "annotations":
        raise ValueError(f"{path}: expected <annotations>, as CVAT writes, got <{root.tag[:40]}>")
    return root


def _classes(root: ET.Element) -> Iterator[str]:
    """Names of labels that objects can have, in the order of the task."""
    for label in root.iterfind("meta/*/labels/label"):
        if label.findtext("parent") or label.findtext("type") in NO_CLASS:
            continue
        name = class_name(label.findtext("name"))
        if name:
            yield name


def _image(collector: Collector, file: pathlib.Path, element: ET.Element) -> None:
    name = element.get("name") or ""
    size = size_said(_whole(element.get("height")), _whole(element.get("width")))
    image = collector.image(name, size, said_by=file)
    if image is None:
        return
    shapes = [
        (shape, f"{file}: image {name!r}, {shape.tag} {i}") for i, shape in enumerate(element, 1)
    ]
    _add(collector, image, shapes)


def _tracks(collector: Collector, file: pathlib.Path, root: ET.Element) -> None:
    """Objects of a video, frame by frame."""
    frames: dict[int, list[tuple[ET.Element, str]]] = {}
    for track in root.iterfind("track"):
        label, group = track.get("label") or "", track.get("group_id") or ""
        for shape in track:
            place = f"{file}: track {track.get('id')}, {shape.tag} of frame {shape.get('frame')}"
            with collector.one_object(place):
                if shape.get("outside") == "1":
                    continue
                frame = _whole(shape.get("frame"))
                if frame is None:
                    raise ValueError("frame: expected a whole number")
                shape.attrib.setdefault("label", label)
                shape.attrib.setdefault("group_id", group)
                frames.setdefault(frame, []).append((shape, place))
    if not frames:
        return
    size = size_said(
        _whole(root.findtext("meta/*/original_size/height")),
        _whole(root.findtext("meta/*/original_size/width")),
    )
    names = _frame_names(collector, root, sorted(frames))
    absent = [frame for frame in sorted(frames) if frame not in names]
    for frame, name in names.items():
        image = collector.image(name, size, said_by=file)
        if image is not None:
            _add(collector, image, frames[frame])
    if absent:
        collector.note(
            "error",
            file,
            f"{len(absent)} of {len(frames)} frames with objects have no image in "
            f"{collector.files.folder}, such as {_frame_name(absent[0])}.png",
            "export the task with its images, or cut the video: "
            "ffmpeg -i VIDEO -start_number 0 images/frame_%06d.png",
        )


def _frame_name(frame: int) -> str:
    return f"frame_{frame:06d}"


def _frame_names(collector: Collector, root: ET.Element, frames: list[int]) -> dict[int, str]:
    """Names of image files for those frames that have one."""
    names = {}
    for frame in frames:
        found = collector.files.find(_frame_name(frame))
        if found is not None:
            names[frame] = collector.files.relative(found)
    if names:
        return names
    everything = collector.files.all()
    if len(everything) != _whole(root.findtext("meta/*/size")):
        return {}
    collector.note(
        "note",
        collector.source,
        f"no images are called {_frame_name(0)} and so on; the {len(everything)} images of the "
        "folder are taken for the frames, in alphabetical order",
        "nothing, if that is their order",
    )
    inside = (frame for frame in frames if 0 <= frame < len(everything))
    return {frame: collector.files.relative(everything[frame]) for frame in inside}


def _add(collector: Collector, image: dict[str, Any], shapes: list[tuple[ET.Element, str]]) -> None:
    """The objects of one image; those of a group when all their parts are known."""
    height, width = image["height"], image["width"]
    objects: dict[tuple[str, int | str], tuple[list[outlines.Part], str]] = {}
    for i, (shape, place) in enumerate(shapes):
        with collector.one_object(place):
            if shape.tag in NO_AREA or (shape.tag == "polyline" and not _closes(shape)):
                collector.pass_over(f"shapes of the kind {shape.tag!r}, which have no area")
                continue
            if shape.tag not in DRAWN:
                raise ValueError(f"<{shape.tag[:40]}> is not known")
            name = class_name(shape.get("label"))
            if name is None:
                raise ValueError("label: there is none")
            group = shape.get("group_id") or "0"
            key = (name, i if group == "0" else group)
            part = _part(shape, height, width)
            objects.setdefault(key, ([], place))[0].append(part)
    for (name, _), (parts, place) in objects.items():
        with collector.one_object(place):
            collector.add(image, name, outlines.union(parts, height, width), place=place)


def _part(shape: ET.Element, height: int, width: int) -> outlines.Part:
    """The outline or mask of one shape."""
    if shape.tag in ("polygon", "polyline"):
        return outlines.polygon(_points(shape))
    turn = outlines.number(shape.get("rotation") or "0", "rotation")
    if shape.tag == "box":
        x0, y0, x1, y1 = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
        return outlines.rectangle(x0, y0, x1, y1, turn)
    if shape.tag == "ellipse":
        cx, cy, rx, ry = _numbers(shape, "cx", "cy", "rx", "ry")
        return outlines.ellipse(cx, cy, rx, ry, turn)
    left, top, w, h = map(int, _numbers(shape, "left", "top", "width", "height"))
    text = shape.get("rle") or ""
    try:
        counts = [int(count) for count in text.split(",")]
    except ValueError:
        raise ValueError(f"rle: expected whole numbers, got {text[:40]!r}") from None
    if w < 1 or h < 1:
        raise ValueError(f"width, height: {w} x {h} pixels, expected at least 1")
    return outlines.placed(outlines.row_runs(counts, h, w), left, top, height, width)


def _points(shape: ET.Element) -> list[list[str]]:
    """Points as x,y;x,y;..., still text."""
    return [point.split(",") for point in (shape.get("points") or "").split(";") if point.strip()]


def _closes(shape: ET.Element) -> bool:
    return outlines.closes(_points(shape))


def _numbers(shape: ET.Element, *names: str) -> Iterator[float]:
    return (outlines.number(shape.get(name), name) for name in names)


def _whole(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None
