"""labelme: a JSON file beside each image, in a folder or a tree of folders."""

# H W height and width of an image

from __future__ import annotations

import base64
import binascii
import io
import os
import pathlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats import outlines
from minimask.data.formats.documents import (
    class_name,
    ends,
    files_below,
    size_said,
    some_files,
)
from minimask.data.image_files import SUFFIXES, ImageFiles
from minimask.data.images import BROKEN
from minimask.data.json_files import kind_of, read_json

KEYS = tuple(re.compile(rf'"{key}"\s*:') for key in ("shapes", "imagePath"))
NO_AREA = ("point", "points", "line", "linestrip")
FOUR_CORNERS = ("polygon", "rotation", "oriented_rectangle", "quadrilateral")
MOST_UP = 2  # folders above the annotations in which images may lie


class Labelme:
    """Polygons, rectangles, circles and masks; equal `group_id` and label make one object.

    Coordinates are continuous pixels as in COCO.  A mask (labelme 5) fills its box from the first
    to the last pixel, both included.  Images are looked for where `imagePath` says, starting from
    the JSON file, up to two folders above the one that is read; otherwise in that folder, by the
    end of the path, and last by the name of the JSON file.
    """

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether it is such a file, or a folder that holds some."""
        if path.is_dir():
            return any(map(_is_labelme, some_files(path, ".json", depth=4)))
        return path.suffix.lower() == ".json" and _is_labelme(path)

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        documents, problems, others = _documents(path)
        if not documents:
            raise ValueError(problems[0][1] if problems else f"{path}: no labelme files in there")
        base = path if path.is_dir() else path.parent
        folder = images or _common_folder(base, documents)
        collector = Collector(path, "labelme", folder)
        search = collector.files if images else ImageFiles(base)
        for file, problem in problems:
            message = problem.removeprefix(f"{file}: ")
            collector.note("error", file, message, "mend the file, or remove it")
        for document in documents:
            found = _locate(document, base, search, folder)
            image = _image(collector, document, found)
            if image is not None:
                _shapes(collector, document, image)
        if others:
            message = f"{others} other JSON files in there are not labelme's, and are not read"
            collector.note("note", path, message, "nothing, if that is meant")
        return collector.done()


@dataclass
class _Document:
    """What one file says, without its copy of the image."""

    path: pathlib.Path
    image_path: str
    size: tuple[int, int] | None  # of the image, H and W
    has_data: bool  # a copy of the image is in the file
    shapes: list[Any]


def _is_labelme(path: pathlib.Path) -> bool:
    """Both ends of the file are looked at, as the copy of the image may lie in between."""
    text = ends(path)
    return all(key.search(text) for key in KEYS)


def _documents(
    path: pathlib.Path,
) -> tuple[list[_Document], list[tuple[pathlib.Path, str]], int]:
    """Files that could be read; those that could not, with the reason; number of other JSON."""
    if not path.is_dir():
        return [_document(path)], [], 0
    documents, problems, others = [], [], 0
    for file in files_below(path, ".json"):
        try:
            if not _is_labelme(file):
                others += 1
                continue
            documents.append(_document(file))
        except (ValueError, OSError) as error:
            problems.append((file, str(error)))
    return documents, problems, others


def _document(path: pathlib.Path) -> _Document:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object, as labelme writes, got {kind_of(content)}")
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise ValueError(f"{path}: shapes: expected a list, got {kind_of(shapes)}")
    name, data = content.get("imagePath"), content.get("imageData")
    size = size_said(content.get("imageHeight"), content.get("imageWidth"))
    if size is None and isinstance(data, str) and data:
        size = _size_inside(data)
    return _Document(path, name if isinstance(name, str) else "", size, bool(data), shapes)


def _size_inside(data: str) -> tuple[int, int] | None:
    """Height and width of an image in base64; None where it is none."""
    try:
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        return size_said(image.height, image.width)
    except (*BROKEN, binascii.Error, Image.DecompressionBombError):
        return None


def _beside(document: _Document) -> pathlib.Path | None:
    """The image where `imagePath` says, starting from the JSON file; None: it is not there."""
    name = document.image_path.replace("\\", "/")
    path = pathlib.Path(os.path.abspath(document.path.parent / name))
    try:
        return path if path.suffix.lower() in SUFFIXES and path.is_file() else None
    except (OSError, ValueError):  # longer than names can be, null characters
        return None


def _up(base: pathlib.Path, levels: int) -> pathlib.Path:
    return pathlib.Path(os.path.normpath(base.joinpath(*[".."] * levels))) if levels else base


def _common_folder(base: pathlib.Path, documents: Iterable[_Document]) -> pathlib.Path:
    """The folder that holds all images: `base`, or one above to which some `../` leads."""
    levels = 0
    above = [os.path.abspath(_up(base, i)) for i in range(MOST_UP + 1)]
    for document in documents:
        image = _beside(document) if ".." in document.image_path else None
        if image is not None:
            holds = (i for i, folder in enumerate(above) if image.is_relative_to(folder))
            levels = max(levels, next(holds, 0))
    return _up(base, levels)


def _locate(
    document: _Document, base: pathlib.Path, search: ImageFiles, folder: pathlib.Path
) -> str | None:
    """The image's name from `folder` on, or None."""
    image = _beside(document)
    if search.folder != folder and image and image.is_relative_to(os.path.abspath(folder)):
        return image.relative_to(os.path.abspath(folder)).as_posix()
    inside = pathlib.PurePath(os.path.relpath(document.path.parent, base)).as_posix()
    for name in (document.image_path, document.path.stem):
        found = search.find(f"{inside}/{name}") if name else None
        if found is not None:
            return pathlib.PurePath(os.path.relpath(found, folder)).as_posix()
    return None


def _image(collector: Collector, document: _Document, found: str | None) -> dict[str, Any] | None:
    """The entry of the document's image.  One whose file is gone stays, if its size is known."""
    if found is not None:
        if pathlib.PurePath(found).stem != _parts(document.image_path)[-1].rpartition(".")[0]:
            collector.pass_over(
                "images are found by the name of the JSON file, not by its imagePath",
                "nothing, if the images were renamed on purpose",
            )
        return collector.image(found, document.size, said_by=document.path)
    name = document.image_path or document.path.stem
    if not document.has_data or document.size is None:
        collector.lacks(name, document.path)
        return None
    collector.lacks(
        name,
        document.path,
        "put it there, or write out the copy that is in the file's imageData, with labelme's "
        "labelme_export_json",
    )
    entry = {
        "id": len(collector.images) + 1,
        "file_name": "/".join(_parts(document.image_path)) or document.path.stem,
        "height": document.size[0],
        "width": document.size[1],
    }
    collector.images.append(entry)
    return entry


def _parts(name: str) -> list[str]:
    parts = name.replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")] or [""]


def _shapes(collector: Collector, document: _Document, image: dict[str, Any]) -> None:
    """Add the objects of one file; those of a group when all their parts are known."""
    height, width = image["height"], image["width"]
    objects: dict[tuple[str, Any], tuple[list[outlines.Part], str]] = {}
    for i, shape in enumerate(document.shapes):
        place = f"{document.path}: shapes[{i}]"
        with collector.one_object(place):
            if not isinstance(shape, dict):
                raise ValueError(f"expected an object, got {kind_of(shape)}")
            drawn = shape.get("shape_type") or "polygon"
            if drawn in NO_AREA and not (
                drawn == "linestrip" and outlines.closes(shape.get("points"))
            ):
                collector.pass_over(f"shapes of the kind {drawn!r}, which have no area")
                continue
            name = class_name(shape.get("label"))
            if name is None:
                raise ValueError(f"label: expected text, got {kind_of(shape.get('label'))}")
            group = shape.get("group_id")
            key = (name, i if not isinstance(group, int | str) else f"group {group}")
            part = _part(shape, drawn, height, width)
            objects.setdefault(key, ([], place))[0].append(part)
    for (name, _), (parts, place) in objects.items():
        with collector.one_object(place):
            collector.add(image, name, outlines.union(parts, height, width), place=place)


def _part(shape: dict[str, Any], drawn: Any, height: int, width: int) -> outlines.Part:
    """The outline or mask of one shape."""
    points = shape.get("points")
    four = drawn == "rectangle" and isinstance(points, list) and len(points) == 4
    if drawn in (*FOUR_CORNERS, "linestrip") or four:
        return outlines.polygon(points)
    if drawn not in ("rectangle", "circle", "mask"):
        raise ValueError(f"shape_type: {str(drawn)[:40]!r} is not known")
    if not isinstance(points, list) or len(points) != 2:
        count = f"{len(points)} points" if isinstance(points, list) else kind_of(points)
        raise ValueError(f"points: expected 2 for a {drawn}, got {count}")
    (x0, y0), (x1, y1) = (outlines.point(point, f"points[{i}]") for i, point in enumerate(points))
    if drawn == "rectangle":
        return outlines.rectangle(x0, y0, x1, y1)
    if drawn == "circle":
        radius = float(np.hypot(x1 - x0, y1 - y0))
        return outlines.ellipse(x0, y0, radius, radius)
    bitmap = _bitmap(shape.get("mask"), int(y1) - int(y0) + 1, int(x1) - int(x0) + 1)
    return outlines.placed(bitmap, int(x0), int(y0), height, width)


def _bitmap(data: Any, height: int, width: int) -> np.ndarray:
    """A PNG in base64 that fills a box; (H, W) bool."""
    if not isinstance(data, str):
        raise ValueError(f"mask: expected an image in base64, got {kind_of(data)}")
    try:
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        if (image.height, image.width) != (height, width):
            raise ValueError(
                f"mask: {image.width} x {image.height} pixels, but its box has {width} x {height}"
            )
        values = np.asarray(image)
    except binascii.Error as error:
        raise ValueError(f"mask: no base64: {error}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"mask: {error}") from None
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"mask: not a readable image: {error}") from None
    mask: np.ndarray = np.any(values.reshape(height, width, -1), axis=2)
    return mask
