"""Find what is wrong with the image files that annotations name."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from minimask.data import remarks
from minimask.data.annotations import Annotations
from minimask.data.findings import Finding, Severity
from minimask.data.image_depth import White
from minimask.data.image_files import TURNED
from minimask.data.images import BROKEN, read_image, shown_size
from minimask.data.opening import identify


def examine_images(
    found: Annotations,
    said: Collection[str],
    threads: int,
    progress: Callable[[int, int], None] | None = None,
    white: White = None,
    page: int | None = None,
) -> Iterator[Finding]:
    """Read every image that nothing has been said about.

    Args:
        found: annotations with a folder.
        said: files that have an error already, such as those that are missing.
        threads: that read.
        progress: called after every image with their number and how many there are.
        white: as in `read_image`.
        page: likewise.
    """
    assert found.folder is not None
    paths = [found.folder / image["file_name"] for image in found.images]

    def look(i: int) -> list[Finding]:
        path = paths[i]
        if str(path) in said or not path.is_file():
            return []
        return list(image_problems(path, found, i, remarked, white, page))

    with remarks.collected() as remarked, ThreadPoolExecutor(threads) as pool:
        for i, findings in enumerate(pool.map(look, range(len(paths)))):
            yield from findings
            if progress is not None:
                progress(i + 1, len(paths))


def image_problems(
    path: pathlib.Path,
    found: Annotations,
    i: int,
    said: remarks.Remarks,
    white: White = None,
    page: int | None = None,
) -> Iterator[Finding]:
    """What is wrong with one image file; runs in a thread.

    Args:
        path: the file.
        found: the annotations.
        i: number of the image in them.
        said: listens to what is remarked while images are read.
        white: as in `read_image`.
        page: likewise.
    """
    entry = found.images[i]

    def finding(severity: Severity, message: str, advice: str) -> Finding:
        return Finding(severity, str(path), None, message, advice)

    try:
        (height, width), orientation = _decoded(path, white, page)
    except (ValueError, OSError, MemoryError) as error:
        message = str(error).removeprefix(f"{path}: ")
        advice = f"put the right file there, or remove images[{i}] from {found.source.name}"
        yield finding("error", message, advice)
        return
    yield from _size_problems(finding, (height, width), orientation, entry, i)
    for kind, text in said.of(path).items():
        message, _, advice = text.partition("; ")
        severity: Severity = "note" if kind in ("pages", "channels") else "warning"
        yield finding(severity, message, advice or "look at it with `minimask data show`")


def _decoded(path: pathlib.Path, white: White, page: int | None) -> tuple[tuple[int, int], int]:
    """Height and width as shown, and EXIF orientation, of an image whose pixels were all read.

    JPEG is decoded at an eighth of its size: that reads the whole file all the same, and damage
    shows, in a third of the time.
    """
    height, width, orientation = shown_size(path, page)
    try:
        with open(path, "rb") as file, identify(file, path, page) as image:
            small = image.format == "JPEG" and image.mode in ("L", "RGB")
            if small:
                image.draft(image.mode, (image.width // 8, image.height // 8))
                image.load()
    except BROKEN:
        small = False  # read_image finds the words
    if not small:
        height, width = read_image(path, white=white, page=page).shape[:2]
    return (height, width), orientation


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
