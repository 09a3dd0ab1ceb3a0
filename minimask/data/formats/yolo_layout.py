"""Where the images, labels and class names of a YOLO data set lie."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from minimask.data.formats.documents import class_name, ends, files_below, read_text, some_files
from minimask.data.image_files import SUFFIXES, ImageFiles

CONFIG = (
    re.compile(r"^\s*[\"']?(names|nc)[\"']?\s*:", re.MULTILINE),
    re.compile(r"^\s*[\"']?(train|val|test|path)[\"']?\s*:", re.MULTILINE),
)
SPLITS = ("train", "val", "valid", "test")
NAME_FILES = ("classes.txt", "obj.names", "classes.names", "names.txt", "labels.txt")
MOST_CLASSES = 100_000
MOST_OPEN = 50  # brackets in brackets, over which PyYAML takes very long
LARGEST_CONFIG = 4 << 20  # bytes


@dataclass
class Layout:
    """What is to be read.

    Attributes:
        folder: that holds all images.
        images: their files, in order.
        label_of: the label file of an image, or None.
        labels: the folder of label files, if the user named it: all of it should be used.
        names: of the classes, by number.
        names_classes: whether the files say them.
        named_by: the file that does.
        keypoints: whether lines hold a box and key points.
        notes: message and advice.
    """

    folder: pathlib.Path
    images: list[pathlib.Path]
    label_of: Callable[[pathlib.Path], pathlib.Path | None]
    labels: pathlib.Path | None = None
    names: list[str] | None = None
    names_classes: bool = False
    named_by: pathlib.Path | None = None
    keypoints: bool = False
    notes: list[tuple[str, str]] = field(default_factory=list)


def is_config(path: pathlib.Path) -> bool:
    """Whether a file is a data.yaml."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return False
    text = ends(path)
    return all(key.search(text) for key in CONFIG)


def layout(path: pathlib.Path, images: pathlib.Path | None) -> Layout:
    """Look for everything that belongs to a data.yaml, or to a folder.

    Raises:
        FileNotFoundError: no folder of images where they should be.
        ValueError: the data.yaml is damaged.
    """
    config = path if path.is_file() else _config_of(path)
    content = {} if config is None else _load(config)
    notes: list[tuple[str, str]] = []
    whole = config is not None and (path.is_file() or config.parent == path)
    if images is not None:
        folder, files = images, ImageFiles(images).all()
    elif whole and config is not None and any(content.get(split) for split in SPLITS):
        folder, files = _split_images(config, content, notes)
    else:
        folder = _images_beside(path if path.is_dir() else path.parent)
        files = ImageFiles(folder).all()
    root = path if path.is_dir() else path.parent
    result = Layout(folder, files, _Labels(root, folder), notes=notes)
    result.labels = path if path.is_dir() and not whole else None
    result.keypoints = "kpt_shape" in content
    _name_classes(result, root, config, content)
    return result


def _config_of(folder: pathlib.Path) -> pathlib.Path | None:
    """The data.yaml in a folder, or in one of the two above it."""
    above = pathlib.Path(os.path.abspath(folder)).parents
    for here in (folder, *above[:2]):
        found = sorted(
            file
            for suffix in (".yaml", ".yml")
            for file in some_files(here, suffix, depth=1)
            if is_config(file)
        )
        if found:
            return found[0]
    return None


def _load(config: pathlib.Path) -> dict[str, Any]:
    """The content of a data.yaml.

    Raises:
        ValueError: broken YAML, with line and column, or no mapping.
    """
    import yaml

    text = read_text(config)
    if len(text) > LARGEST_CONFIG:
        raise ValueError(f"{config}: {len(text)} characters, too many for a data.yaml")
    if max(accumulate((c in "[{") - (c in "]}") for c in text), default=0) > MOST_OPEN:
        raise ValueError(f"{config}: broken YAML: lists in lists, nested too deeply")
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)  # text only: the class "no" stays "no"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{config}: broken YAML{where}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{config}: broken YAML: {reason}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{config}: expected keys such as names and train")
    return content


def _split_images(
    config: pathlib.Path, content: dict[str, Any], notes: list[tuple[str, str]]
) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """The images of the first split there is; the folder that holds them all."""
    given = [split for split in SPLITS if content.get(split)]
    split = given[0]
    values = content[split] if isinstance(content[split], list) else [content[split]]
    files: dict[pathlib.Path, None] = {}
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{config}: {split}: expected a path, got {str(value)[:40]!r}")
        files |= dict.fromkeys(_images_of(config, content, split, value))
    others = [s for s in given[1:] if content[s] != content[split]]
    if others:
        notes.append(
            (
                f"read: {split!r} of {config.name}; not read: {', '.join(map(repr, others))}",
                "nothing; to read another, name its folder",
            )
        )
    if not files:
        return config.parent, []
    folder = os.path.commonpath([os.path.abspath(file.parent) for file in files])
    inside = os.path.relpath(folder, os.path.abspath(config.parent))
    if not inside.startswith(".."):  # as the user wrote it
        return pathlib.Path(os.path.normpath(config.parent / inside)), list(files)
    return pathlib.Path(folder), list(files)


def _images_of(
    config: pathlib.Path, content: dict[str, Any], split: str, value: str
) -> Iterator[pathlib.Path]:
    """Images of a folder, or of a text file that lists them."""
    place = _existing(config, content.get("path"), value)
    if place is None:
        raise FileNotFoundError(
            f"{config}: {split}: no such folder or file: {value!r}, looked for beside it"
        )
    if place.is_dir():
        yield from ImageFiles(place).all()
        return
    if place.suffix.lower() in SUFFIXES:
        yield place
        return
    for line in read_text(place).splitlines():
        if line.strip():
            yield _existing(config, content.get("path"), line.strip()) or place.parent / line


def _existing(config: pathlib.Path, root: Any, value: str) -> pathlib.Path | None:
    """What a path of a data.yaml means, which was perhaps written on another machine.

    Tried: from `path` on, from the file on, and the longest end of the path that is there.
    """
    value = value.replace("\\", "/")
    starts = [config.parent]
    if isinstance(root, str):
        starts.insert(0, config.parent / root)
    parts = [part for part in value.split("/") if part not in ("", ".", "..")]
    ends_of = ["/".join(parts[i:]) for i in range(len(parts))]
    for end in (value, *ends_of):
        for start in starts:
            try:
                if (start / end).exists():
                    return pathlib.Path(os.path.normpath(start / end))
            except (OSError, ValueError):  # longer than names can be, null characters
                continue
    return None


def _images_beside(folder: pathlib.Path) -> pathlib.Path:
    """The images' folder of a folder that was named: in it, beside it, or itself."""
    parts = pathlib.Path(os.path.abspath(folder)).parts
    places = [i for i, part in enumerate(parts) if part.lower() == "labels"]
    if places:
        i = places[-1]
        candidate = pathlib.Path(*parts[:i], "images", *parts[i + 1 :])
        up = len(parts) - i  # keep the user's spelling of the path
        spelled = folder.joinpath(*[".."] * up, "images", *parts[i + 1 :])
        if candidate.is_dir():
            return pathlib.Path(os.path.normpath(spelled))
    return folder / "images" if (folder / "images").is_dir() else folder


class _Labels:
    """Finds the label file of an image."""

    def __init__(self, root: pathlib.Path, folder: pathlib.Path) -> None:
        self.root, self.folder = root, folder
        self._by_stem: dict[str, list[pathlib.Path]] | None = None

    def __call__(self, image: pathlib.Path) -> pathlib.Path | None:
        inside = pathlib.PurePath(os.path.relpath(image, self.folder)).with_suffix(".txt")
        candidates = [self.root / inside, self.root / "labels" / inside, image.with_suffix(".txt")]
        parts = list(image.parts)
        for i in reversed(range(len(parts) - 1)):
            if parts[i].lower() == "images":
                there = pathlib.Path(*parts[:i], "labels", *parts[i + 1 :]).with_suffix(".txt")
                candidates.insert(0, there)
                break
        for candidate in candidates:
            if candidate.is_file() and candidate.name not in NAME_FILES:
                return candidate
        if self._by_stem is None:
            self._by_stem = {}
            for file in files_below(self.root, ".txt"):
                self._by_stem.setdefault(file.stem, []).append(file)
        found = self._by_stem.get(image.stem, [])
        return found[0] if len(found) == 1 and found[0].name not in NAME_FILES else None


def _name_classes(
    result: Layout, root: pathlib.Path, config: pathlib.Path | None, content: dict[str, Any]
) -> None:
    """Set the classes' names from the data.yaml, else from a list of names."""
    names = content.get("names")
    if config is not None and names is not None:
        result.names, result.named_by = _names(config, names), config
    for folder in (root, root.parent, root.parent.parent):
        for name in NAME_FILES:
            if result.names is None and (folder / name).is_file():
                lines = [line.strip() for line in read_text(folder / name).splitlines()]
                if lines and not all(re.fullmatch(r"[\d.\s]*", line) for line in lines):
                    while lines and not lines[-1]:
                        lines.pop()
                    named = [line or str(i) for i, line in enumerate(lines)]
                    result.names, result.named_by = named, folder / name
    result.names_classes = result.names is not None
    count = content.get("nc")
    if result.names is None and isinstance(count, str) and count.isdecimal():
        result.names = [str(i) for i in range(min(int(count[:6]), MOST_CLASSES))]


def _names(config: pathlib.Path, names: Any) -> list[str]:
    """Names by number, of a list or of numbers with names; gaps are called by their number."""
    if isinstance(names, str):
        names = [names]
    entries = list(enumerate(names)) if isinstance(names, list) else None
    if isinstance(names, dict):
        entries = list(names.items())
    if not entries:
        raise ValueError(f"{config}: names: expected a list, or numbers with names")
    by_number: dict[int, str] = {}
    for key, value in entries:
        name = class_name(value)
        number = str(key)
        if not number.isdecimal() or len(number) > 6 or int(key) >= MOST_CLASSES or not name:
            shown = f"{str(key)[:20]}: {str(value)[:40]}"
            raise ValueError(f"{config}: names: expected numbers with names, got {shown!r}")
        by_number[int(key)] = name
    return [by_number.get(i, str(i)) for i in range(max(by_number) + 1)]
