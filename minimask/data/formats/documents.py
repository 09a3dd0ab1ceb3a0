"""The files of annotation formats: recognising them, finding them in folders, names and sizes."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Any

from minimask.data.formats.coco_spelling import LARGEST
from minimask.data.images import missing_file
from minimask.data.segmentation import is_number

HEAD = 1 << 16  # bytes at either end of a file that show its format


def ends(path: pathlib.Path) -> str:
    """The beginning and the end of a file, for recognising it; "" where it cannot be read.

    Latin-1, so that any bytes are text; null characters of UTF-16 are left out.
    """
    try:
        if not path.is_file():
            return ""
        with open(path, "rb") as file:
            data = file.read(HEAD)
            size = file.seek(0, os.SEEK_END)
            if size > len(data):
                file.seek(max(len(data), size - HEAD))
                data += b"\n" + file.read(HEAD)
    except OSError:
        return ""
    return data.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").decode("latin-1")


def read_text(path: pathlib.Path) -> str:
    """A text file, in UTF-8 with or without a mark.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, or not readable.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8: {error}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


def files_below(folder: pathlib.Path, suffix: str) -> list[pathlib.Path]:
    """All files of a folder and the folders below with that suffix, in order; no hidden ones."""
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            path
            for name in names
            if name.lower().endswith(suffix) and not name.startswith(".")
            if (path := pathlib.Path(here, name)).is_file()
        ]
    return sorted(found)


def some_files(
    folder: pathlib.Path, suffix: str, *, depth: int = 2, most: int = 50
) -> Iterator[pathlib.Path]:
    """A few files with that suffix, for recognising a folder; never walks a whole tree.

    Args:
        folder: where to look.
        suffix: in lower case.
        depth: levels of folders, 1: only this one.
        most: files, and folders on each level.
    """
    level = [folder]
    for _ in range(depth):
        below: list[pathlib.Path] = []
        for here in level[:most]:
            for entry in _entries(here, 20 * most):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    below.append(pathlib.Path(entry.path))
                elif entry.name.lower().endswith(suffix) and entry.is_file():
                    yield pathlib.Path(entry.path)
                    most -= 1
                    if most <= 0:
                        return
        level = sorted(below)


def _entries(folder: pathlib.Path, most: int) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for i, entry in enumerate(entries):
                if i >= most:
                    return
                yield entry
    except OSError:
        return


def class_name(value: Any) -> str | None:
    """A class's name as text, spaces joined to one; None: `value` is no name.

    Numbers are names too.  Halves of character pairs, which no file can hold, become "?".
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value) if isinstance(value, str) or abs(value) < 1e15 else ""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split()) or None


def size_said(height: Any, width: Any) -> tuple[int, int] | None:
    """Height and width that a file says; None where it says none that an image can have."""
    if not (is_number(height) and is_number(width)):
        return None
    if not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
        return None
    return int(height), int(width)
