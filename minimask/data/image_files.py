"""Find an image file by the name that an annotation file calls it."""

from __future__ import annotations

import os
import pathlib
import unicodedata
import urllib.parse

from minimask.data.images import missing_file, shown_size

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".ppm", ".pgm")
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


class ImageFiles:
    """A folder of images, and the ways in which files of annotations write their names.

    The name itself is tried first.  Where there is no such file, a name is taken for the one file
    that it can mean: with the other system's separators, as a path of another machine or an
    address whose end is there, in other upper and lower case or Unicode form, with %20 for a
    space, without its suffix, or lying in a folder below.  Two candidates are none.

    Args:
        folder: the images' folder.

    Raises:
        FileNotFoundError: no such folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(missing_file(self.folder, "folder"))
        self._by_key: dict[str, list[pathlib.Path]] | None = None

    def find(self, name: str) -> pathlib.Path | None:
        """The file that `name` means; None: there is none, or more than one could be meant."""
        if not name or "\0" in name:
            return None
        try:
            direct = self.folder / name
            if direct.is_file() and _inside(direct, self.folder):
                return direct
        except (OSError, ValueError):  # longer than names can be
            return None
        for spelling in dict.fromkeys((name, urllib.parse.unquote(name))):
            parts = _parts(spelling)
            for start in range(len(parts)):  # the longest end of the path that is there
                end = parts[start:]
                path = self.folder.joinpath(*end)
                if path.is_file():
                    return path
                found = self._index().get(_key("/".join(end)), [])
                if len(found) == 1:
                    return found[0]
                if found:
                    return None
        return None

    def relative(self, path: pathlib.Path) -> str:
        """The path from the folder on, with / on every system."""
        return path.relative_to(self.folder).as_posix()

    def missing(self, name: str) -> str:
        """One sentence about a name that `find` does not know."""
        parts = _parts(name)
        several = self._index().get(_key(parts[-1]), []) if parts else []
        if len(several) > 1:
            listed = ", ".join(self.relative(path) for path in several[:3])
            return f"{name!r} could be any of {len(several)} files in {self.folder}: {listed}"
        return missing_file(self.folder / "/".join(parts[-1:] or [name[:80]]))

    def all(self) -> list[pathlib.Path]:
        """All image files of the folder and the folders below, in order."""
        return sorted({path for paths in self._index().values() for path in paths})

    def _index(self) -> dict[str, list[pathlib.Path]]:
        """Files by every end of their path, with and without suffix, in one spelling."""
        if self._by_key is None:
            self._by_key = {}
            for folder, folders, names in os.walk(self.folder):
                folders[:] = sorted(f for f in folders if not f.startswith("."))
                inside = pathlib.Path(folder).relative_to(self.folder).parts
                for name in sorted(names):
                    if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                        continue
                    path = pathlib.Path(folder, name)
                    for start in range(len(inside) + 1):
                        whole = "/".join((*inside[start:], name))
                        for key in {_key(whole), _key(whole.rpartition(".")[0])}:
                            self._by_key.setdefault(key, []).append(path)
        return self._by_key


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of an image as it is shown, from the file's head alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image.
    """
    height, width, _ = shown_size(path)
    return height, width


def _parts(name: str) -> list[str]:
    """The folders and the file of a path of any system, or of an address."""
    path = urllib.parse.urlsplit(name).path if "://" in name else name
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _inside(path: pathlib.Path, folder: pathlib.Path) -> bool:
    """Whether a path that is spelled from the folder on stays in it."""
    return ".." not in path.relative_to(folder).parts if path.is_relative_to(folder) else False
