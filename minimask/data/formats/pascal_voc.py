"""Pascal VOC instances: SegmentationObject beside SegmentationClass and JPEGImages.

Pixels of a SegmentationObject file are object numbers, those of SegmentationClass class numbers;
255 is an edge that belongs to nobody.  CVAT writes colours instead, listed in labelmap.txt.
"""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

from minimask.data.annotations import Annotations, Collector
from minimask.data.formats.pixel_files import files_in, folders_in, follow, other_size, read_labels
from minimask.data.image_files import SUFFIXES
from minimask.data.images import BROKEN
from minimask.data.label_runs import objects_of_labels

CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
).split()
EDGE = 255
EDGE_COLOUR = 0xE0E0C0  # 224 224 192: number 255 in VOC's palette
BACKGROUND = "background"


class PascalVoc:
    """A folder VOC2012, one that holds it, or a list such as ImageSets/Segmentation/train.txt."""

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether SegmentationObject or SegmentationClass lie there."""
        return root_of(path) is not None

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        root = root_of(path)
        if root is None or not (root / "SegmentationObject").is_dir():
            raise ValueError(
                f"{root or path}: no folder SegmentationObject, so classes of pixels but no "
                "objects; instances are needed"
            )
        labels = LabelMap.of(root)
        folder = images or root / "JPEGImages"
        collector = Collector(path, "pascal_voc", folder, labels.names)
        files = _listed_files(root, path)
        if not files:
            raise ValueError(f"{root / 'SegmentationObject'}: no image files")
        for file in follow(files, len(files), "Pascal VOC"):
            _read_file(collector, root, file, labels)
        return collector.done()


def root_of(path: pathlib.Path) -> pathlib.Path | None:
    """The folder that holds SegmentationObject or SegmentationClass; None: not of this format."""
    candidates = [path, path.parent] if path.is_dir() else []
    if path.is_dir() and (path / "VOCdevkit").is_dir():
        path = path / "VOCdevkit"
    if path.is_dir() and len(below := folders_in(path)) == 1:
        candidates[1:1] = below
    if path.is_file() and path.suffix == ".txt" and path.parent.name == "Segmentation":
        candidates = [path.parent.parent.parent]
    for folder in candidates:
        if folder == path.parent and path.name not in ("SegmentationObject", "SegmentationClass"):
            continue
        if any((folder / name).is_dir() for name in ("SegmentationObject", "SegmentationClass")):
            return folder
    return None


class LabelMap:
    """Numbers and colours of classes.

    Args:
        names: in the order of their numbers, from 1 on.
        by_colour: red x 65536 + green x 256 + blue -> name.
    """

    def __init__(self, names: list[str], by_colour: dict[int, str]) -> None:
        self.names, self.by_colour = names, by_colour

    @classmethod
    def of(cls, root: pathlib.Path) -> LabelMap:
        """From labelmap.txt (`name:red,green,blue:parts:actions`), or the 20 classes of VOC.

        Raises:
            ValueError: a line without a name and three numbers.
        """
        path = root / "labelmap.txt"
        if not path.is_file():
            colours = {voc_colour(i + 1): name for i, name in enumerate(CLASSES)}
            return cls(list(CLASSES), colours)
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except ValueError as error:
            raise ValueError(f"{path}: not a text file in UTF-8: {error}") from None
        names: list[str] = []
        by_colour: dict[int, str] = {}
        for i, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, rest = line.partition(":")
            values = rest.partition(":")[0].split(",")
            if not name.strip() or (rest.strip(": ") and not _are_bytes(values)):
                raise ValueError(
                    f"{path}: line {i}: expected name:red,green,blue::, got {line[:60]!r}"
                )
            if name.strip().lower() != BACKGROUND:
                names.append(name.strip())
            if _are_bytes(values):
                red, green, blue = map(int, values)
                by_colour[red * 65536 + green * 256 + blue] = name.strip()
        return cls(names, by_colour)

    def name(self, value: int, colour: int | None) -> str | None:
        """The class of a pixel value: by its colour where that is listed, else by its number."""
        key = value if colour is None else colour
        if key in self.by_colour:
            found = self.by_colour[key]
            return None if found.lower() == BACKGROUND else found
        if colour is None and value > EDGE:
            return None
        return self.names[value - 1] if 1 <= value <= len(self.names) else f"class {value}"


def voc_colour(number: int) -> int:
    """The colour of a number in VOC's palette: its bits dealt out to red, green and blue."""
    red = green = blue = 0
    for bit in range(7, -1, -1):
        red |= (number & 1) << bit
        green |= (number >> 1 & 1) << bit
        blue |= (number >> 2 & 1) << bit
        number >>= 3
    return red * 65536 + green * 256 + blue


def _are_bytes(values: list[str]) -> bool:
    return len(values) == 3 and all(v.strip().isdecimal() and int(v) < 256 for v in values)


def _listed_files(root: pathlib.Path, path: pathlib.Path) -> list[pathlib.Path]:
    """The files of SegmentationObject, or of a list those it names.

    Raises:
        ValueError: the list names none of them.
    """
    files = files_in(root / "SegmentationObject", SUFFIXES)
    if not path.is_file():
        return files
    try:
        stems = set(path.read_text(encoding="utf-8-sig").split())
    except ValueError as error:
        raise ValueError(f"{path}: not a text file in UTF-8: {error}") from None
    listed = [file for file in files if file.stem in stems]
    if not listed:
        raise ValueError(f"{path}: names no file of {root / 'SegmentationObject'}")
    return listed


def _read_file(
    collector: Collector, root: pathlib.Path, file: pathlib.Path, labels: LabelMap
) -> None:
    """Add the objects of one image."""
    if collector.files.find(file.stem) is None:
        collector.note("note", file, "objects without an image", "nothing, or put its image there")
        return
    image = collector.image(file.stem, said_by=file)
    if image is None:
        return
    now = file
    try:
        numbers = _numbers(file, image)
        now = next(iter(_of_stem(root / "SegmentationClass", file.stem)), file)
        if now == file:
            raise ValueError(f"{file}: no file of this name in {root / 'SegmentationClass'}")
        classes, palette = _numbers(now, image), _palette(now)
        now = file
        found = objects_of_labels(numbers)
    except ValueError as error:
        message = str(error).removeprefix(f"{now}: ")
        collector.note("error", now, message, "mend the file, or remove it")
        collector.forget(image)
        return
    majority = class_of_each(numbers, classes)
    for number, runs in found.items():
        value = majority.get(number)
        colour = None if palette is None or value is None else palette.get(value, value)
        name = None if value is None else labels.name(value, colour)
        place = f"{file}: object {number}"
        if name is None:
            message = f"object {number} has no class in {now.name}"
            collector.note("error", file, message, "draw it there, or remove the object")
            continue
        collector.add(image, name, runs, place=place)


def class_of_each(numbers: np.ndarray, classes: np.ndarray) -> dict[int, int]:
    """The class number that most pixels of each object have; none where all are background.

    Args:
        numbers: (H, W) object numbers.
        classes: (H, W) class numbers, 0: background or edge.
    """
    both = (numbers > 0) & (classes > 0)
    pairs, count = np.unique(np.stack([numbers[both], classes[both]]), axis=1, return_counts=True)
    order = np.argsort(count, kind="stable")
    return {int(pairs[0, i]): int(pairs[1, i]) for i in order}


def _numbers(file: pathlib.Path, image: dict[str, object]) -> np.ndarray:
    """Values of a file with the edge as background."""
    problem = other_size(file, image)
    if problem:
        raise ValueError(problem)
    values = read_labels(file)
    values[(values == EDGE) | (values == EDGE_COLOUR)] = 0
    return values


def _palette(file: pathlib.Path) -> dict[int, int] | None:
    """Number -> colour of a palette file; None: it holds colours or grey values."""
    try:
        with Image.open(file) as image:
            if image.mode != "P":
                return None
            table = image.getpalette("RGB") or []
    except BROKEN:
        return None
    table = table[: len(table) // 3 * 3]
    return {
        i: red * 65536 + green * 256 + blue
        for i, (red, green, blue) in enumerate(zip(*(table[c::3] for c in range(3)), strict=True))
    }


def _of_stem(folder: pathlib.Path, stem: str) -> list[pathlib.Path]:
    return [
        folder / f"{stem}{suffix}" for suffix in SUFFIXES if (folder / f"{stem}{suffix}").is_file()
    ]
