"""The images that a command is given, and which entries of an annotation file they are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUFFIXES: tuple[str, ...] = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".tif",
    ".tiff",
    ".bmp",
    ".webp",
    ".gif",
)
SUFFIXES += (".ppm", ".pgm", ".pnm", ".jp2", ".j2k", ".tga", ".mpo", ".apng")
SUFFIXES += (".heic", ".heif", ".hif", ".avif")
SYSTEM = {"thumbs.db", "desktop.ini", ".ds_store"}  # put everywhere by the system


@dataclass
class ImageList:
    """Image files, and what was passed over in their folders.

    Attributes:
        names: for each file its path from the folder that was named on.
    """

    names: dict[Path, Path] = field(default_factory=dict)
    _others: Counter[str] = field(default_factory=Counter)
    _unnamed: list[Path] = field(default_factory=list)
    _hidden: int = 0
    _below: int = 0

    def passed_over(self) -> str | None:
        """One sentence on all that was not taken; None: everything was."""
        parts = []
        if self._below:
            parts.append(f"{_count(self._below, 'image')} in subfolders: --recursive reads them")
        if self._unnamed:
            more = f" and {len(self._unnamed) - 1} more" if len(self._unnamed) > 1 else ""
            parts.append(f"images by content, not by name: {self._unnamed[0]}{more}: name them")
        if self._hidden:
            parts.append(_count(self._hidden, "hidden image"))
        if self._others:
            shown = ", ".join(
                f"{number} {suffix or 'without suffix'}"
                for suffix, number in self._others.most_common(5)
            )
            parts.append(f"{_count(self._others.total(), 'other file')} ({shown})")
        return f"passed over: {'; '.join(parts)}" if parts else None

    def add_folder(self, folder: Path, recursive: bool, without: Path | None) -> None:
        """Take the images of a folder.

        Args:
            folder: the folder.
            recursive: those in its folders too.
            without: a folder in it that is not entered.
        """
        before, below = len(self.names), self._below
        for path in _files(folder, recursive, without):
            self._add(path, path.relative_to(folder))
        if not recursive:
            self._below += sum(
                entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
                for entry in _files(folder, True, without)
                if entry.parent != folder
            )
        if len(self.names) == before:
            found = self._below - below
            hint = f", but {found} in subfolders: add --recursive" if found else ""
            looked = "looked for *.png, *.jpg, ..."
            raise ValueError(f"{folder}: no images in this folder ({looked}){hint}")

    def _add(self, path: Path, name: Path) -> None:
        image = path.suffix.lower() in SUFFIXES
        if path.name.lower() in SYSTEM:
            return
        if path.name.startswith("."):
            self._hidden += image
        elif image:
            self.names.setdefault(path, name)
        elif _is_image(path):
            self._unnamed.append(path)
        else:
            self._others[path.suffix.lower()] += 1


def find_images(
    paths: Sequence[Path], recursive: bool = False, without: Path | None = None
) -> ImageList:
    """The files named, and the image files in the folders named, in order, each once.

    Args:
        paths: files and folders.
        recursive: enter folders in folders.
        without: a folder that is not entered: that of the results.

    Raises:
        FileNotFoundError: nothing of that name.
        ValueError: a folder without images.
    """
    from minimask.data.images import missing_file

    found = ImageList()
    for path in paths:
        if path.is_dir():
            found.add_folder(path, recursive, without)
        elif path.exists():
            found.names.setdefault(path, Path(path.name))
        else:
            raise FileNotFoundError(missing_file(path))
    return found


def _files(folder: Path, recursive: bool, without: Path | None) -> Iterator[Path]:
    """Files in order, those of folders in folders after them; links that lead in circles once."""
    seen = set() if without is None else {os.path.realpath(without)}
    seen.discard(os.path.realpath(folder))
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(place, name)) not in seen
        )
        yield from (Path(place, name) for name in sorted(names))
        if not recursive:
            return


def _is_image(path: Path) -> bool:
    from minimask.data.image_kinds import HEAD, kind_of

    try:
        with open(path, "rb") as file:
            kind = kind_of(file.read(HEAD))
    except OSError:
        return False
    return kind is not None and kind.image


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Ids:
    """The image and category ids that COCO results carry.

    An image is found by its path: of the names in the file, that with the longest end in common.

    Attributes:
        by_name_alone: images of which only the file's own name is the same, their folder is not.

    Raises:
        ValueError: an image or class that the annotations do not have, or have more than once.
    """

    def __init__(self, files: Sequence[Path], classes: Sequence[str], source: Path | None) -> None:
        self.images: dict[Path, Any] = {path: i + 1 for i, path in enumerate(files)}
        self.categories: list[Any] = list(range(1, len(classes) + 1))
        self.by_name_alone: list[Path] = []
        if source is None:
            return
        from minimask.data.formats import read_annotations, recognise
        from minimask.data.formats.coco import listed_images

        found = read_annotations(source) if recognise(source) not in (None, "coco") else None
        found = found or listed_images(source)
        self.source = source
        category = {entry["name"]: entry["id"] for entry in found.categories}
        unknown = [name for name in classes if name not in category]
        self.images = self._matched(files, found.images)
        if unknown:
            raise ValueError(
                f"{source}: has no category {unknown[0]!r}, which the model knows; it has "
                f"{', '.join(map(repr, list(category)[:8]))}"
            )
        self.categories = [category[name] for name in classes]

    def _matched(self, files: Sequence[Path], images: list[dict[str, Any]]) -> dict[Path, Any]:
        by_last: dict[str, list[tuple[tuple[str, ...], dict[str, Any]]]] = {}
        for image in images:
            parts = _parts(image["file_name"])
            by_last.setdefault(_key(parts[-1:]), []).append((parts, image))
        taken: dict[Any, Path] = {}
        ids = {}
        for path in files:
            image = self._image(path, by_last.get(_key((path.name,)), []))
            number = image["id"]
            if number in taken:
                raise ValueError(
                    f"{path} and {taken[number]} are both image {number!r} of {self.source} "
                    f"({image['file_name']!r}): predict them one after the other, or give both "
                    "an entry"
                )
            taken[number] = path
            ids[path] = number
        return ids

    def _image(
        self, path: Path, candidates: list[tuple[tuple[str, ...], dict[str, Any]]]
    ) -> dict[str, Any]:
        """The entry that a file is."""
        mine = Path(os.path.abspath(path)).parts
        # the longest end in whatever case; of equal ones, that which is written the same
        ends = [
            ((_common(_folded(mine), _folded(parts)), _common(mine, parts)), parts, image)
            for parts, image in candidates
        ]
        longest = max((end for end, _, _ in ends), default=(0, 0))
        best = [(parts, image) for end, parts, image in ends if end == longest]
        if len(best) > 1:
            names = ", ".join(repr(image["file_name"]) for _, image in best[:3])
            raise ValueError(
                f"{path}: {len(best)} images of {self.source} could be this one: {names}"
            )
        if best:
            if longest[0] < len(best[0][0]):
                self.by_name_alone.append(path)
            return best[0][1]
        raise ValueError(f"{self.source}: lists no image of the name {path.name!r} ({path})")


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file of a path of any system."""
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _folded(parts: Sequence[str]) -> tuple[str, ...]:
    import unicodedata

    return tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)


def _key(parts: Sequence[str]) -> str:
    return "".join(_folded(parts))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many parts at the end are the same."""
    count = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        count += 1
    return count
