"""Mask folders: one file per object, white on black.

ID/images/ID.png with ID/masks/*.png   as the Data Science Bowl 2018 came
ID/images/ID.png with ID/masks/CLASS/*.png   as `minimask data convert --to masks` writes
images/X.png with masks/X/*.png, masks/X/CLASS/*.png, or masks/CLASS/X.png and X_1.png
X.png with X_0_CLASS.png, X_1_CLASS.png beside it

Names of classes that no folder can have are written with %: `a%2Fb` is a/b.  A file `*_crowd.png`
is a region of many objects; `classes.txt` lists the classes in their order.
"""

from __future__ import annotations

import pathlib
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats.pixel_files import (
    black_or_white,
    files_in,
    folders_in,
    follow,
    other_size,
    read_object,
)
from minimask.data.image_files import SUFFIXES
from minimask.data.images import BROKEN
from minimask.data.label_runs import objects_of_labels

CLASS = "object"
CROWD = "_crowd"
CLASSES = "classes.txt"
BESIDE = re.compile(r"^(?P<image>.+)_(?P<number>\d+)(?:_(?P<name>[^_].*))?$")
FEW = 3  # files that are opened to recognise a layout


@dataclass
class Group:
    """An image and the files of its objects.

    Attributes:
        image: its file, or its name without suffix.
        masks: files, each with its class; None: the format says none.
        said: whether there is a place for masks, though perhaps none in it.
    """

    image: pathlib.Path | str
    masks: list[tuple[pathlib.Path, str | None]] = field(default_factory=list)
    said: bool = True


class MaskFolders:
    """See the module."""

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether a folder holds images with one file per object."""
        return path.is_dir() and layout(path) is not None

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        kind = layout(path) or "folders"
        folder = _images_folder(path, kind, images)
        groups = list(_GROUPS[kind](path, images))
        if not groups:
            raise ValueError(
                f"{path}: expected folders ID/images/ID.png with masks in ID/masks, found none"
            )
        named = any(name is not None for group in groups for _, name in group.masks)
        declared = _declared(path) if named else None
        collector = Collector(path, "mask_folders", folder, declared, named)
        reading = _Reading(collector)
        for group in follow(groups, len(groups), "mask folders"):
            reading.group(group)
        reading.finish()
        return collector.done()


def layout(path: pathlib.Path) -> str | None:
    """Which of the layouts a folder has: "folders", "shared", "beside"; None: none of them."""
    if next(image_folders(path), None) is not None:
        return "folders"
    if folders_in(path / "masks") and (files_in(path / "images") or not files_in(path / "masks")):
        inside = folders_in(path / "masks")
        if any(files_in(folder) or folders_in(folder) for folder in inside[:FEW]):
            return "shared"
    groups = list(_beside(path, None))
    masks = [mask for group in groups for mask, _ in group.masks]
    if masks and all(map(_is_bilevel, masks[:FEW])):
        return "beside"
    return None


def image_folders(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folders ID/images that lie beside ID/masks, or alone, of a folder of folders."""
    for folder in folders_in(path):
        if (folder / "images").is_dir():
            yield folder / "images"


def only_image(folder: pathlib.Path) -> pathlib.Path:
    """The image file of a folder ID/images.

    Raises:
        ValueError: there is not exactly one.
    """
    files = files_in(folder, SUFFIXES)
    if len(files) != 1:
        hint = ""
        if len(files) > 1:
            hint = f"; with one label image for each, the annotations are {folder.parent}"
        raise ValueError(f"{folder}: expected one image file, found {len(files)}{hint}")
    return files[0]


def mask_files(folder: pathlib.Path) -> list[tuple[pathlib.Path, str | None]]:
    """The files of a folder of masks, and of its folders, which are called like classes."""
    found: list[tuple[pathlib.Path, str | None]] = [
        (file, None) for file in files_in(folder, SUFFIXES)
    ]
    for below in folders_in(folder):
        name = urllib.parse.unquote(below.name)
        found += [(file, name) for file in files_in(below, SUFFIXES)]
    return found


def _folders(path: pathlib.Path, images: pathlib.Path | None) -> Iterator[Group]:
    """ID/images/ID.png with ID/masks/*.png."""
    for folder in image_folders(path):
        masks = folder.parent / "masks"
        yield Group(only_image(folder), mask_files(masks), masks.is_dir())


def _shared(path: pathlib.Path, images: pathlib.Path | None) -> Iterator[Group]:
    """images/X.png with masks/X/*.png or masks/CLASS/X*.png."""
    pictures = files_in(images or path / "images", SUFFIXES)
    groups = {file.stem: Group(file, said=False) for file in pictures}
    for folder in folders_in(path / "masks"):
        if folder.name in groups:
            groups[folder.name].masks += mask_files(folder)
            groups[folder.name].said = True
            continue
        name = urllib.parse.unquote(folder.name)
        for file in files_in(folder, SUFFIXES):
            stem = file.stem if file.stem in groups else file.stem.rpartition("_")[0]
            group = groups.setdefault(stem or file.stem, Group(stem or file.stem))
            group.masks.append((file, name))
            group.said = True
    yield from groups.values()


def _beside(path: pathlib.Path, images: pathlib.Path | None) -> Iterator[Group]:
    """X.png with X_0_CLASS.png beside it, or in a folder of their own."""
    files = files_in(path, SUFFIXES)
    pictures = files if images is None else files_in(images, SUFFIXES)
    groups = {file.stem: Group(file, said=False) for file in pictures}
    for file in files:
        match = BESIDE.match(file.stem)
        group = groups.get(match["image"]) if match else None
        if match and group and group.image != file:
            group.masks.append((file, match["name"]))
            group.said = True
    masks = {mask for group in groups.values() for mask, _ in group.masks}
    yield from (group for group in groups.values() if group.image not in masks)


_GROUPS = {"folders": _folders, "shared": _shared, "beside": _beside}


def _images_folder(path: pathlib.Path, kind: str, images: pathlib.Path | None) -> pathlib.Path:
    """The folder that file names start from."""
    if kind == "folders":  # the images lie in the folders that are read
        return path
    return images or (path / "images" if kind == "shared" else path)


def _declared(path: pathlib.Path) -> list[str] | None:
    """The classes in their order, where a file lists them."""
    try:
        lines = (path / CLASSES).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        return None
    return [urllib.parse.unquote(line.strip()) for line in lines if line.strip()] or None


def _is_bilevel(file: pathlib.Path) -> bool:
    """Whether a file is black and white, one of which may be missing."""
    try:
        found = read_object(file)
        return not found.soft and (not found.lossy or black_or_white(file) is not None)
    except (*BROKEN, MemoryError):
        return False


class _Reading:
    """What is gathered over all files."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.files = self.soft = self.lossy = self.bright = self.empty = 0

    def group(self, group: Group) -> None:
        """Add an image with its objects."""
        collector = self.collector
        if isinstance(group.image, str):
            if collector.files.find(group.image) is None:
                for file, _ in group.masks:
                    collector.note("note", file, "a mask without an image", "put its image there")
                return
            name = group.image
        else:
            name = collector.files.relative(group.image)
        if not group.said:
            message = "no masks, so the image is left out"
            collector.note("note", collector.files.folder / name, message, "nothing, or add them")
            return
        first = group.masks[0][0] if group.masks else collector.files.folder / name
        image = collector.image(name, said_by=first)
        if image is None:
            return
        if not group.masks:
            message = "no mask, so an image without objects"
            collector.note("note", collector.files.folder / name, message, "nothing, if it is one")
        for file, kind in group.masks:
            try:
                problem = other_size(file, image)
                if problem:
                    raise ValueError(problem)
                mask = self.mask(file)
            except ValueError as error:
                message = str(error).removeprefix(f"{file}: ")
                collector.note("error", file, message, "mend the file, or remove it")
                continue
            if mask is not None:
                (runs,) = objects_of_labels(mask).values()
                crowd = file.stem.endswith(CROWD)
                place = f"{file}: the mask"
                collector.add(image, kind or CLASS, runs, place=place, crowd=crowd)

    def mask(self, file: pathlib.Path) -> np.ndarray | None:
        """One mask; None where it has no pixel."""
        found = read_object(file)
        self.files += 1
        self.soft += found.soft
        self.lossy += found.lossy
        self.bright += found.bright
        if not found.mask.any():
            self.empty += 1
            return None
        return found.mask

    def finish(self) -> None:
        """The remarks about all files together."""
        of = f"of {self.files} mask files"

        def note(severity: str, count: int, message: str, advice: str) -> None:
            if count:
                text = f"{count} {of} {message}"
                self.collector.note(severity, self.collector.source, text, advice)  # type: ignore[arg-type]

        note("note", self.empty, "have no pixel and are left out", "nothing, or remove them")
        message = "have grey edges: what is at least half white is object"
        note("note", self.soft, message, "nothing, or save masks in black and white")
        message = "are JPEG, whose compression changes edges: what is at least half white is object"
        note("warning", self.lossy, message, "save masks as PNG")
        message = "are mostly white: are they inverted, with the object in black?"
        many = self.bright if 2 * self.bright > self.files else 0
        note("warning", many, message, "look at them with `minimask data show`; invert them")
