"""YOLO segmentation: a text file for each image, a line for each object."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats import outlines
from minimask.data.formats.documents import ends, files_below, read_text, some_files
from minimask.data.formats.yolo_layout import Layout, is_config, layout

LINE = re.compile(r"\s*\d+(\.0*)?(\s+[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?){4,}\s*(\n|\r|$)")
DECIMALS = 3  # of coordinates in pixels: shares are written with 6, which is noise below that
FAR = 0.5  # how far outside the image a share may be; more is another unit


class Yolo:
    """Lines of a class number and shares of width and height, x y x y ...; class names in YAML.

    A line of four shares is a box, x y of its centre, width, height.  Boxes have no mask, but in a
    set that has outlines too they are taken as rectangles.  A label file that is missing or empty
    is an image without objects.  Coordinates in pixels are rounded to 1/1000.
    """

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether it is a data.yaml, or a folder that holds one, or label files."""
        if path.is_dir():
            configs = (*some_files(path, ".yaml", depth=1), *some_files(path, ".yml", depth=1))
            return any(map(is_config, configs)) or any(
                LINE.match(ends(file)) for file in some_files(path, ".txt", depth=3)
            )
        return is_config(path)

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`; of a data.yaml without `images`: what it calls `train`."""
        plan = layout(path, images)
        collector = Collector(path, "yolo", plan.folder, plan.names, plan.names_classes)
        for message, advice in plan.notes:
            collector.note("note", path, message, advice)
        used: set[pathlib.Path] = set()
        objects: list[Object] = []
        without = 0
        for file in plan.images:
            image = collector.image(
                pathlib.PurePath(os.path.relpath(file, plan.folder)).as_posix(), said_by=path
            )
            label = plan.label_of(file)
            if label is None:
                without += 1
            elif image is not None:
                used.add(label)
                objects += _objects(collector, label, image, plan)
        _add(collector, objects)
        if without:
            message = f"{without} of {len(plan.images)} images have no label file, so no objects"
            collector.note("note", path, message, "nothing, if there is nothing on them")
        _left_over(collector, path, plan, used)
        return collector.done()


Object = tuple[dict[str, Any], str, list[float], bool, str]  # image, class, polygon, box?, place


def _objects(
    collector: Collector, label: pathlib.Path, image: dict[str, Any], plan: Layout
) -> Iterator[Object]:
    try:
        lines = read_text(label).splitlines()
    except ValueError as error:
        message = str(error).removeprefix(f"{label}: ")
        collector.note("error", label, message, "write it anew, or remove it")
        return
    rows = [(i, line.split()) for i, line in enumerate(lines, 1) if line.strip()]
    # class and pairs: an odd count; if all are even, a confidence stands at the end of each
    scored = bool(rows) and not plan.keypoints and all(len(r) % 2 == 0 for _, r in rows)
    seen = set()
    for i, row in rows:
        if tuple(row) in seen:
            collector.pass_over("lines that repeat one before in their file are read once")
            continue
        seen.add(tuple(row))
        place = f"{label}: line {i}"
        with collector.one_object(place):
            if scored:
                collector.pass_over("objects have a confidence, which is not read")
                row = row[:-1]
            if plan.keypoints:
                collector.pass_over("objects have key points, which are not read")
                row = row[:5]
            name = _class(row[0], plan)
            polygon = _polygon(row[1:], image["width"], image["height"])
            x, y = polygon[0::2], polygon[1::2]
            if min(polygon) < 0 or max(x) > image["width"] or max(y) > image["height"]:
                collector.pass_over("objects reach over the border of their image, and are cut")
            yield image, name, polygon, len(row) == 5, place


def _class(text: str, plan: Layout) -> str:
    """The name of a class number."""
    number = outlines.number(text, "class number")
    if number != int(number) or number < 0:
        raise ValueError(f"class number: expected a whole number from 0, got {text[:40]!r}")
    if not plan.names_classes:
        return str(int(number))
    assert plan.names is not None
    if number >= len(plan.names):
        raise ValueError(
            f"class number {int(number)}: the {len(plan.names)} names of {plan.named_by} "
            f"end at {len(plan.names) - 1}"
        )
    return plan.names[int(number)]


def _polygon(row: list[str], width: int, height: int) -> list[float]:
    """Pixels of a box or an outline."""
    shares = outlines.numbers(row)
    if shares is None:  # say which
        shares = [outlines.number(text, f"number {i}") for i, text in enumerate(row, 2)]
    if len(shares) < 4 or len(shares) % 2:
        raise ValueError(
            f"{len(shares)} numbers behind the class; expected x y of at least 3 points, or "
            "x y width height of a box"
        )
    far = max(shares, key=lambda share: abs(share - 0.5))
    if abs(far - 0.5) > 0.5 + FAR:
        raise ValueError(f"{far:g} is no share of the image, 0 to 1; is it in pixels?")
    if len(shares) == 4:
        x, y, w, h = shares
        corners = outlines.rectangle(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        return _pixels(corners, width, height)
    return outlines.outline(_pixels(shares, width, height))


def _pixels(shares: list[float], width: int, height: int) -> list[float]:
    sizes = (width, height) * (len(shares) // 2)
    return [round(share * size, DECIMALS) for share, size in zip(shares, sizes, strict=True)]


def _add(collector: Collector, objects: list[Object]) -> None:
    """Boxes have no mask where there are boxes only: then this is no data set of masks."""
    boxes = sum(box for *_, box, _ in objects)
    masks = boxes < len(objects)
    for image, name, polygon, _, place in objects:
        x, y = polygon[0::2], polygon[1::2]
        box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
        collector.add(image, name, [polygon] if masks else None, place=place, box=box)
    if boxes and masks:
        message = f"{boxes} of {len(objects)} objects are boxes, taken as rectangular masks"
        advice = "draw their outlines, unless they are rectangles"
        collector.note("warning", collector.source, message, advice)


def _left_over(
    collector: Collector, path: pathlib.Path, plan: Layout, used: set[pathlib.Path]
) -> None:
    """Label files that belong to no image: probably the wrong folder of images."""
    if plan.labels is None:
        return
    files = [
        file
        for file in files_below(plan.labels, ".txt")
        if file not in used and LINE.match(ends(file))
    ]
    if files:
        message = f"{len(files)} label files have no image, such as {files[0]}"
        advice = "put the images there, or name their folder with --images"
        collector.note("warning" if used else "error", path, message, advice)
