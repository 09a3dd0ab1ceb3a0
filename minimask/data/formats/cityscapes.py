"""Cityscapes: leftImg8bit/*/*/X_leftImg8bit.png, gtFine/*/*/X_gtFine_instanceIds.png.

A pixel holds class x 1000 + number; the class alone, below 1000, where objects could not be told
apart: a crowd.  Of its classes the 8 that have instances in the benchmark are read.  Where there
is X_gtFine_polygons.json alone, its polygons are drawn one over the other, as Cityscapes does.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats.pixel_files import follow, other_size, read_labels
from minimask.data.label_runs import objects_of_labels
from minimask.data.segmentation import is_number

CLASSES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
NUMBER_OF = {name: number for number, name in CLASSES.items()}
IDS, POLYGONS = "_instanceIds.png", "_polygons.json"
KINDS = ("_gtFine", "_gtCoarse")
PER_CLASS = 1000


class Cityscapes:
    """The folder of both trees, gtFine, one of its parts, or one city."""

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether files called *_gtFine_instanceIds.png or *_gtFine_polygons.json lie below."""
        return path.is_dir() and next(_files(path), None) is not None

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        files = sorted(_files(path))
        if not files:
            raise ValueError(f"{path}: no files *_gtFine_instanceIds.png")
        drawn = {_stem(file) for file in files if file.name.endswith(IDS)}
        files = [f for f in files if f.name.endswith(IDS) or _stem(f) not in drawn]
        collector = Collector(path, "cityscapes", images or images_of(path), list(CLASSES.values()))
        passed: Counter[int] = Counter()
        for file in follow(files, len(files), "Cityscapes"):
            _read_file(collector, file, passed)
        if passed:
            message = f"{passed.total()} objects of classes that the benchmark does not measure"
            advice = "nothing: Cityscapes measures 8 classes"
            collector.note("note", path, f"{message} (numbers {sorted(passed)})", advice)
        without = len(files) - len(drawn)
        if without:
            message = f"{without} images have no *{IDS}: their polygons are drawn"
            collector.note("note", path, message, "nothing, or make them with cityscapesScripts")
        return collector.done()


def _files(path: pathlib.Path) -> Iterator[pathlib.Path]:
    endings = tuple(kind + end for kind in KINDS for end in (IDS, POLYGONS))
    for folder, folders, names in os.walk(path):
        if len(pathlib.Path(folder).relative_to(path).parts) >= 3:
            folders.clear()
        folders.sort()
        yield from (pathlib.Path(folder, name) for name in sorted(names) if name.endswith(endings))


def _stem(file: pathlib.Path) -> str:
    """City, sequence and frame: what the files of an image share."""
    name = file.name.removesuffix(IDS).removesuffix(POLYGONS)
    return next(name.removesuffix(kind) for kind in KINDS if name.endswith(kind))


def images_of(path: pathlib.Path) -> pathlib.Path:
    """The folder of leftImg8bit that belongs to a folder of annotations."""
    if (path / "leftImg8bit").is_dir():
        return path / "leftImg8bit"
    parts = list(path.resolve().parts)
    for i in range(len(parts) - 1, 0, -1):
        if parts[i] in ("gtFine", "gtCoarse"):
            beside = pathlib.Path(*parts[:i], "leftImg8bit", *parts[i + 1 :])
            if beside.is_dir():
                return beside
    return path


def _read_file(collector: Collector, file: pathlib.Path, passed: Counter[int]) -> None:
    """Add the objects of one image."""
    stem = _stem(file)
    spellings = (f"{stem}_leftImg8bit", stem)
    name = next((name for name in spellings if collector.files.find(name) is not None), None)
    if name is None:
        collector.note("note", file, "objects without an image", "nothing, or put its image there")
        return
    image = collector.image(name, said_by=file)
    if image is None:
        return
    try:
        if file.name.endswith(IDS):
            problem = other_size(file, image)
            if problem:
                raise ValueError(problem)
            labels = read_labels(file)
        else:
            labels = draw_polygons(file, image["height"], image["width"])
        found = objects_of_labels(labels)
    except ValueError as error:
        message = str(error).removeprefix(f"{file}: ")
        collector.note("error", file, message, "mend the file, or remove it")
        collector.forget(image)
        return
    for value, runs in found.items():
        crowd = value < PER_CLASS
        number = value if crowd else value // PER_CLASS
        if number in CLASSES:
            place = f"{file}: value {value}"
            collector.add(image, CLASSES[number], runs, place=place, crowd=crowd)
        elif not crowd:
            passed[number] += 1


def draw_polygons(file: pathlib.Path, height: int, width: int) -> np.ndarray:
    """The object numbers that Cityscapes' polygons stand for: later ones lie over earlier ones.

    Args:
        file: JSON with `imgHeight`, `imgWidth` and `objects` of `label` and `polygon`.
        height: of the image.
        width: the same.

    Returns:
        (height, width) int32: class x 1000 + number, the class alone for groups, else 1.

    Raises:
        ValueError: damaged, or of an image of another size; with file and place.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: broken JSON: {error}") from None
    objects = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(objects, list):
        raise ValueError(f"{file}: expected an object with imgHeight, imgWidth and objects")
    size = content.get("imgHeight"), content.get("imgWidth")
    if size != (height, width):
        raise ValueError(f"{file}: says height and width {size}, the image has {height, width}")
    canvas = Image.new("I", (width, height))
    draw = ImageDraw.Draw(canvas)
    count: Counter[int] = Counter()
    for i, entry in enumerate(objects):
        label, points = _checked(entry, f"{file}: objects[{i}]")
        group = label.endswith("group")
        number = NUMBER_OF.get(label.removesuffix("group"), 0)
        value = number if group and number else 1
        if number and not group:
            value = number * PER_CLASS + min(count[number], PER_CLASS - 1)
            count[number] += 1
        if len(points) >= 3:
            draw.polygon(points, fill=value)
    return np.asarray(canvas).astype(np.int32)


def _checked(entry: Any, place: str) -> tuple[str, list[tuple[float, float]]]:
    """Label and points of an object."""
    if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
        raise ValueError(f"{place}: expected an object with label and polygon")
    points = entry.get("polygon")
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 and all(map(is_number, point))
        for point in points
    ):
        raise ValueError(f"{place}.polygon: expected a list of points [x, y]")
    # Pillow draws in 32 bits: farther out nothing changes inside an image
    return entry["label"], [
        (max(-1e5, min(1e5, float(x))), max(-1e5, min(1e5, float(y)))) for x, y in points
    ]
