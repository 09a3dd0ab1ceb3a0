"""Find what is wrong with the image files that annotations name."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from minimask.data.annotations import Annotations
from minimask.data.findings import Finding, Severity
from minimask.data.image_files import EXIF_ORIENTATION, TURNED
from minimask.data.images import BROKEN, SIXTEEN_BIT, read_image


def examine_images(
    found: Annotations, threads: int, progress: Callable[[int, int], None] | None = None
) -> Iterator[Finding]:
    """Read every image; those that are missing have been named by the reader of the annotations.

    Args:
        found: annotations with a folder.
        threads: that read.
        progress: called after every image with their number and how many there are.
    """
    assert found.folder is not None
    missing = {finding.file for finding in found.notes if finding.severity == "error"}
    paths = [found.folder / image["file_name"] for image in found.images]

    def look(i: int) -> list[Finding]:
        path = paths[i]
        if str(path) in missing or not path.is_file():
            return []
        return list(image_problems(path, found, i))

    with ThreadPoolExecutor(threads) as pool:
        for i, findings in enumerate(pool.map(look, range(len(paths)))):
            yield from findings
            if progress is not None:
                progress(i + 1, len(paths))


def image_problems(path: pathlib.Path, found: Annotations, i: int) -> Iterator[Finding]:
    """What is wrong with one image file; runs in a thread."""
    entry = found.images[i]

    def finding(severity: Severity, message: str, advice: str) -> Finding:
        return Finding(severity, str(path), None, message, advice)

    try:
        (height, width), orientation, brightest = _decoded(path)
    except (ValueError, OSError) as error:
        message = str(error).removeprefix(f"{path}: ")
        advice = f"put the right file there, or remove images[{i}] from {found.source.name}"
        yield finding("error", message, advice)
        return
    yield from _size_problems(finding, (height, width), orientation, entry, i)
    if brightest is not None and brightest < 65535 // 8:
        message = f"16-bit image whose brightest value is {brightest}, so it is nearly black"
        yield finding("warning", message, "say which value is white, e.g. --white 4095")


def _decoded(path: pathlib.Path) -> tuple[tuple[int, int], int, int | None]:
    """Height and width as shown, EXIF orientation, and of 16-bit images the brightest value.

    JPEG is decoded at an eighth of its size: that reads the whole file all the same, and damage
    shows, in a third of the time.
    """
    orientation = 1
    with open(path, "rb") as file:
        try:
            image = Image.open(file)
            width, height = image.size
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)
            if image.format == "JPEG" and image.mode in ("L", "RGB"):
                image.draft(image.mode, (width // 8, height // 8))
                image.load()
                return _as_shown(height, width, orientation), orientation, None
        except (*BROKEN, Image.DecompressionBombError):
            pass  # read_image finds the words
    height, width = read_image(path).shape[:2]
    with Image.open(path) as image:
        brightest = int(np.max(np.asarray(image))) if image.mode in SIXTEEN_BIT else None
    return (height, width), orientation, brightest


def _as_shown(height: int, width: int, orientation: int) -> tuple[int, int]:
    return (width, height) if orientation in TURNED else (height, width)


def _size_problems(
    finding: Callable[[Severity, str, str], Finding],
    size: tuple[int, int],
    orientation: int,
    entry: dict[str, Any],
    i: int,
) -> Iterator[Finding]:
    height, width = size
    if (height, width) != (entry["height"], entry["width"]):
        message = (
            f"{width} x {height} pixels, but images[{i}] says {entry['width']} x {entry['height']}"
        )
        advice = "annotate the image at the size it has now, or put the original back"
        if orientation in TURNED:
            message += f" (the file is turned by EXIF orientation {orientation})"
            advice = "save the image without EXIF orientation, as it was annotated"
        yield finding("error", message, advice)
    elif orientation != 1:
        message = f"shown turned by EXIF orientation {orientation}; masks may not be"
        yield finding("warning", message, "look at it with `minimask data show`")
