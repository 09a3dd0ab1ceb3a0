"""Annotation formats by name, and recognised by content.

A format is a class of two methods, `recognises` and `read`; each has its own file here.  Nothing
heavy is imported before a format is asked for: the command reads options before NumPy is loaded.
"""

from __future__ import annotations

import importlib
import os
import pathlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from minimask.data.annotations import Annotations


class Format(Protocol):
    """What is asked of a format."""

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether `path` (a file or folder that exists) is of this format.

        Cheap: looks at names and the beginning of files.  Never raises on what files hold.
        """

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """Everything the files say.

        Args:
            path: the file or folder.
            images: the folder of the images; None: as the files say, or beside them.

        Raises:
            FileNotFoundError: a file or folder is not there.
            ValueError: a file is damaged as a whole: its path, the place, and what is wrong.
        """


# name -> module and class, in the order in which a path is asked for: the more special first
_BUILT_IN = {
    "label_studio": "label_studio:LabelStudio",
    "labelme": "labelme:Labelme",
    "via": "via:Via",
    "cvat": "cvat:Cvat",
    "yolo": "yolo:Yolo",
    "coco": "coco:Coco",
}
FORMATS: dict[str, Format] = {}  # those made so far, and registered ones


def register_format(name: str, format: Format) -> None:
    """Let a format of one's own be recognised, and found by its name.

    Raises:
        ValueError: the name is taken.
    """
    if name in _BUILT_IN or name in FORMATS:
        raise ValueError(f"register_format: there is a format {name!r} already")
    FORMATS[name] = format


def names() -> tuple[str, ...]:
    """Of all formats; registered ones first, so that they are asked first."""
    own = [name for name in FORMATS if name not in _BUILT_IN]
    return (*own, *_BUILT_IN)


def get_format(name: str) -> Format:
    """The format of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in FORMATS:
        if name not in _BUILT_IN:
            raise ValueError(f"format: expected one of {', '.join(names())}, got {name!r}")
        module, _, kind = _BUILT_IN[name].partition(":")
        FORMATS[name] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)()
    return FORMATS[name]


def recognise(path: str | os.PathLike[str]) -> str | None:
    """Name of the format of a file or folder; None: of none.

    Raises:
        FileNotFoundError: no such file or folder.
    """
    path = pathlib.Path(path)
    if not path.exists():
        from minimask.data.images import missing_file

        raise FileNotFoundError(missing_file(path))
    return next((name for name in names() if get_format(name).recognises(path)), None)


def read_annotations(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    format: str | None = None,
) -> Annotations:
    """What annotation files of any format say.

    Args:
        path: a file or folder.
        images: the folder of the images; default: as the files say, or beside them.
        format: name of the format; default: recognised.

    Raises:
        FileNotFoundError: a file or folder is not there.
        ValueError: of no known format, or damaged; the message says what and where.
    """
    path = pathlib.Path(path)
    name = format or recognise(path)
    if name is None:
        raise ValueError(
            f"{path}: of no annotation format that is known here ({', '.join(names())}); "
            f"{_seen(path)}"
        )
    return get_format(name).read(path, None if images is None else pathlib.Path(images))


def _seen(path: pathlib.Path) -> str:
    """What a file or folder looks like, for a message."""
    if path.is_dir():
        inside = sorted(entry.name for entry in path.iterdir())
        listed = ", ".join(inside[:4]) + (", ..." if len(inside) > 4 else "")
        return f"it is a folder with {listed}" if inside else "it is an empty folder"
    if path.suffix.lower() != ".json":
        return f"it is a file of {path.stat().st_size} bytes"
    from minimask.data.json_files import read_json

    content = read_json(path)  # broken JSON has an error of its own
    if isinstance(content, dict):
        keys = list(content)
        listed = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
        return f"it is JSON with {listed}" if keys else "it is an empty JSON object"
    if content and isinstance(content, list) and isinstance(content[0], dict):
        if {"image_id", "score"} <= content[0].keys():
            return "it is a list of detections, as `predict --results` writes it"
        return f"it is a JSON list of objects with {', '.join(list(content[0])[:8])}"
    return f"it is JSON of type {type(content).__name__}"
