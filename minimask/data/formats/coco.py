"""COCO instance annotations: one JSON file, in every spelling whose meaning is plain."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from minimask.data.annotations import Annotations
from minimask.data.formats.coco_reading import SECTIONS, Reading
from minimask.data.image_files import ImageFiles
from minimask.data.json_files import read_json


class Coco:
    """`images`, `annotations` and `categories` in one JSON object; LVIS and lists of images too."""

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether it is a JSON object with `images` and one of the other two."""
        if not path.is_file() or path.suffix.lower() != ".json":
            return False
        try:
            content = read_json(path)
        except (ValueError, OSError):
            return _looks_like_coco(path)
        return (
            isinstance(content, dict)
            and "images" in content
            and len(content.keys() & set(SECTIONS)) > 1
        )

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`; without `images` they are looked for beside the file."""
        if images is None:
            images = path.parent / "images"
            images = images if images.is_dir() else path.parent
        return read_coco(path, images)


def read_coco(
    path: str | os.PathLike[str], images: str | os.PathLike[str] | None = None
) -> Annotations:
    """A COCO file in the official spelling, with findings on all that has no plain meaning.

    Args:
        path: the JSON file.
        images: the folder its file names start from; None: images are not looked for.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no JSON, or no object with images and categories.
    """
    files = None if images is None else ImageFiles(images)
    return from_content(read_json(path), path, files)


def from_content(
    content: Any, path: str | os.PathLike[str], files: ImageFiles | None = None
) -> Annotations:
    """The same of a dictionary that was read before, or made in Python.

    Args:
        content: the dictionary; stays as it is.
        path: what messages call it.
        files: where the images lie; None: they are not looked for.
    """
    return Reading(content, pathlib.Path(path), files).done()


def _looks_like_coco(path: pathlib.Path) -> bool:
    """Whether a broken JSON file was meant as one: then its own error is the one to read."""
    try:
        with open(path, "rb") as file:
            begin = file.read(2000)
    except OSError:
        return False
    return any(b'"%s"' % name.encode() in begin for name in SECTIONS)


def listed_images(path: str | os.PathLike[str]) -> Annotations:
    """The ids of images and categories that a COCO file lists, for a file of results.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no COCO file, or an entry of those two has no plain meaning.
    """
    content = read_json(path)
    if isinstance(content, dict):
        content = content | {"annotations": []}
    found = from_content(content, path)
    for finding in found.notes:
        if finding.severity == "error":
            raise ValueError(f"{path}: {finding.message}")
    return found
