"""Where a converted data set goes: checks, links to images, names, what was written."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from minimask.data.annotated import AnnotatedImages
from minimask.system.files import folder_whole

SIGNED = ".converted.json"  # in every folder written here: such a folder may be replaced
LAYOUT = ("images", "labels", "masks")  # folders that mean something to readers


@dataclass
class Written:
    """What a conversion wrote.

    Attributes:
        images: their number.
        objects: class -> number.
        left_out: what the format has no form for -> number.
        remarks: sentences about how something was written.
    """

    images: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)


def check(data: AnnotatedImages, out: pathlib.Path, to: str, *, copy: bool, force: bool) -> None:
    """Raise where nothing may be written.

    Raises:
        ValueError: `out` is or holds what is read, is in use, or is no folder (a file for COCO).
    """
    place = pathlib.Path(os.path.realpath(out))
    for read in (data.path, data.folder):
        real = pathlib.Path(os.path.realpath(read))
        if place == real or (place in real.parents and to != "coco"):
            raise ValueError(f"{out} holds what is read ({read}): choose another name")
    if to == "coco":
        if copy:
            raise ValueError("--copy: a COCO file names its images, which stay where they are")
        if out.is_dir():
            raise ValueError(f"{out} is a folder; a COCO file needs a name such as {out}/coco.json")
        if out.exists() and not force:
            raise ValueError(f"{out} exists already: choose another name, or add --force")
        return
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; {to} needs the name of a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not force:
        raise ValueError(f"{out} is not empty: choose another folder, or add --force")
    if not (out / SIGNED).is_file() or out.is_symlink():
        raise ValueError(
            f"{out} was not written by `minimask data convert`, so it is not replaced, not even "
            "with --force: empty it, or choose another folder"
        )


def sign(folder: pathlib.Path, data: AnnotatedImages, to: str, written: Written) -> None:
    """Note in the folder what it was made from."""
    content = {
        "written_by": "minimask data convert",
        "source": str(data.path),
        "format": to,
        "images": written.images,
        "objects": dict(written.objects),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / SIGNED).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def new_folder(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to write into that takes its name when all is written; see `folder_whole`."""
    with folder_whole(out) as folder:
        yield folder


def put_image(source: pathlib.Path, place: pathlib.Path, copy: bool) -> None:
    """An image in its new folder: a link to the file, or a copy of it.

    Systems that make no links get a copy too.

    Raises:
        OSError: it cannot be read or written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        with contextlib.suppress(OSError):
            place.symlink_to(os.path.realpath(source))
            return
    shutil.copyfile(source, place)


def names_of(data: AnnotatedImages) -> list[str]:
    """New relative names of the images, by index.

    Folders that mean something to readers are left out (a/images/b.png is a/b.png), and no two
    names differ in their suffix only, as those of the files beside them would be the same.
    """
    taken: set[str] = set()
    names = []
    for entry in data.images:
        *folders, last = pathlib.PurePosixPath(entry["file_name"]).parts
        stem, dot, suffix = last.rpartition(".")
        base = "/".join([f for f in folders if f.lower() not in LAYOUT] + [stem if dot else last])
        name, again = base, 1
        while name.casefold() in taken:
            again += 1
            name = f"{base}_{again}"
        taken.add(name.casefold())
        names.append(f"{name}.{suffix}" if dot else name)
    return names


def class_of(data: AnnotatedImages) -> dict[Any, str]:
    """Category id -> class, for all categories of the files."""
    return {category["id"]: category["name"] for category in data.found.categories}


def links_or_copies(copy: bool) -> str:
    """One phrase about the images, for the last line."""
    return "images copied" if copy else "images as links (--copy copies them)"
