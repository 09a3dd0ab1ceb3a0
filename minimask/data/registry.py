"""Data sets by name: what `--data NAME`, the settings of a run and `open_dataset` find.

"files" is annotations of any format, recognised by what is in them; the name of a format says
which; the others are data sets of their own.

Nothing heavy is imported here: the command reads options before NumPy is loaded.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minimask.data import formats

if TYPE_CHECKING:
    from minimask.data.findings import Finding
    from minimask.data.image_depth import White
    from minimask.data.sample import Dataset

VALIDATION_SEED = 2**31  # of generated validation images: the same for all runs, trained on by none


@dataclass(frozen=True)
class Entry:
    """How data sets of one name are opened.

    Attributes:
        open: a class or function that gives a `Dataset`; its parameters are the options that
            such data takes.  Those called annotations, images and classes have options of the
            command line of their own; the rest is given with --data-option NAME=VALUE.
        generated: drawn from `seed`, not read from files; there are other images to be checked
            on without naming any.
        names_classes: the files say what the classes are called; False: the user does.
        check: takes the same options and gives all findings with a line about the contents;
            None: every image is read.
        format: of the annotations that it opens, "" where that is recognised; None: it is no
            data set of annotation files.
    """

    open: Callable[..., Dataset]
    generated: bool = False
    names_classes: bool = True
    check: Callable[..., tuple[list[Finding], str]] | None = None
    format: str | None = None

    @property
    def options(self) -> dict[str, bool]:
        """Names of the options, and whether they must be given."""
        bound = getattr(self.open, "keywords", {})  # of a partial function: given already
        return {
            name: parameter.default is parameter.empty
            for name, parameter in inspect.signature(self.open).parameters.items()
            if name not in bound
        }

    def takes(self, offered: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the values on offer for which the data set has an option."""
        return {name: value for name, value in offered.items() if name in self.options}

    def lacks(self, given: Mapping[str, Any]) -> list[str]:
        """The options that must be given and are not."""
        return [name for name, needed in self.options.items() if needed and name not in given]


def _shapes(
    count: int | None = None,
    size: int = 128,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> Dataset:
    from minimask.data.shapes import DEFAULT_CLASSES, Shapes

    return Shapes(count, size, seed, classes or DEFAULT_CLASSES)


def _sticks(
    count: int | None = None,
    size: int = 128,
    seed: int = 0,
    figures: Sequence[int] = (1, 3),
    figure_size: Sequence[float] = (0.5, 0.95),
    behind: float = 0.25,
    lean: float = 15.0,
    boards: float = 0.3,
) -> Dataset:
    from minimask.data.sticks import Sticks

    return Sticks(
        count,
        size,
        seed,
        figures=figures,
        figure_size=figure_size,
        behind=behind,
        lean=lean,
        boards=boards,
    )


def _files(
    annotations: str | None = None,
    images: str | None = None,
    classes: Sequence[str] | None = None,
    boxes_only: bool = False,
    white: White = None,
    page: int | None = None,
    may_lack: bool = False,
    unnamed: Sequence[str] | None = None,
    format: str | None = None,
) -> Dataset:
    from minimask.data.annotated import open_annotations

    source = annotations or images
    if source is None:
        raise ValueError("which images? Name their annotations, or a folder that holds both")
    return open_annotations(
        source,
        images,
        classes,
        format=format,
        boxes_only=boxes_only,
        white=white,
        page=page,
        may_lack=may_lack,
        unnamed=unnamed,
    )


def _folder(
    images: str,
    classes: Sequence[str] = ("object",),
    white: White = None,
    page: int | None = None,
) -> Dataset:
    from minimask.data.folder_masks import FolderMasks

    return FolderMasks(images, classes, white=white, page=page)


def _check_folder(
    images: str, white: White = None, page: int | None = None
) -> tuple[list[Finding], str]:
    from minimask.data.check_images import check_images
    from minimask.data.folder_masks import FolderMasks

    dataset = FolderMasks(images, white=white, page=page)
    return check_images(dataset, annotated=lambda index: len(dataset.mask_files(index)))


DATASETS: dict[str, Entry] = {
    "files": Entry(_files, format=""),
    "shapes": Entry(_shapes, generated=True),
    "sticks": Entry(_sticks, generated=True),
    "folder": Entry(_folder, names_classes=False, check=_check_folder),
}


def register(name: str, open: Callable[..., Dataset], **about: Any) -> None:
    """Let a data set of one's own be found by name, in settings and by the command.

    A run remembers name and options; whoever trains on or evaluates its data registers the name
    first, as a script does that ends with `minimask.tools.cli.main()`.

        register("cells", MyCells)  # class MyCells: def __init__(self, images, channel=0): ...
        open_dataset("cells", images="plates", channel=2)

    Args:
        name: that nobody has yet.
        open: see `Entry`, as all others.
        **about: `generated`, `names_classes`, `check`.

    Raises:
        ValueError: the name is taken.
    """
    if name in (*names(), "own"):
        raise ValueError(f"register: there is a data set {name!r} already; choose another name")
    DATASETS[name] = Entry(open, **about)


def names() -> tuple[str, ...]:
    """What --data can be: data sets, and formats of annotations."""
    return (*DATASETS, *formats.names())


def find(name: str) -> Entry:
    """The entry of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name in DATASETS:
        return DATASETS[name]
    if name in formats.names():
        return Entry(functools.partial(_files, format=name), format=name)
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"--data: expected one of {', '.join(names())}, got {name!r}{hint}")


def check_options(
    name: str, given: Mapping[str, Any], shown: Callable[[str], str | None] = str
) -> None:
    """Raise unless a data set takes all these options and needs no other.

    Args:
        name: of the data set.
        given: the options.
        shown: an option's name in the message; None: not one that a user gives.

    Raises:
        ValueError: no such data set, an option that it does not take, or one that it needs.
    """
    entry = find(name)
    taken = ", ".join(text for option in entry.options if (text := shown(option)))
    for option in given:
        if option not in entry.options:
            close = difflib.get_close_matches(option, entry.options, n=1, cutoff=0.75)
            if close:
                raise ValueError(
                    f"{shown(option) or option}: --data {name} has no such option; did you mean "
                    f"{shown(close[0])}?"
                )
            raise ValueError(
                f"{shown(option) or option} and --data {name} exclude each other: choose one; "
                f"{name} takes {taken}"
            )
    lacking = entry.lacks(given)
    if lacking:
        needed = " and ".join(filter(None, map(shown, lacking)))
        raise ValueError(f"--data {name} needs {needed}; it takes {taken}")


def open_dataset(name: str, **options: Any) -> Dataset:
    """The data set of that name.

    Args:
        name: "files" (the format is recognised), "shapes", "sticks", "folder", a format such as
            "coco", or one that was registered.
        **options: what it takes, e.g. `annotations`, `images`, `classes`; None: not given.

    Raises:
        ValueError: no such data set or option; a file is damaged.
        FileNotFoundError: a file or folder is not there.
    """
    given = {option: value for option, value in options.items() if value is not None}
    check_options(name, given)
    return find(name).open(**given)
