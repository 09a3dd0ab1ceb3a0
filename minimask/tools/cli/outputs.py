"""Where commands write: never onto what they read, onto what is there only if that is asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def keep_existing(paths: Iterable[Path | None], force: bool) -> None:
    """Raise if one of the outputs exists, unless `force` says that it may be replaced.

    A folder counts as existing when there is something in it.
    """
    for path in paths:
        if path is None or force:
            continue
        if path.is_dir() and any(path.iterdir()):
            raise ValueError(f"{path} is not empty: choose another folder, or add --force")
        if path.is_file():
            raise ValueError(f"{path} exists already: choose another name, or add --force")


def refuse_overwriting(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Raise if an output is a file or folder that the command reads, whatever `--force` says.

    Two names of one file (links, `..`, upper and lower case where the system does not tell them
    apart) are the same.  A folder counts as itself, not as what is in it: name the files that a
    command will write there.

    Args:
        outputs: what will be written; None where an option is not given.
        inputs: what will be read; likewise.

    Raises:
        ValueError: it names the output, and the input where that is written differently.
    """
    read = [path for path in inputs if path is not None]
    for output in outputs:
        for path in read:
            if output is not None and _same_place(output, path):
                also = "" if str(output) == str(path) else f", there as {path}"
                raise ValueError(
                    f"{output} is read by this command{also}: choose another name for the output"
                )


def files_of(weights: Path) -> list[Path]:
    """The files that a run, a checkpoint or a file of weights is read from, or may be."""
    if weights.is_file():
        return [weights, weights.parent / "settings.json"]
    inside = [weights / name for name in ("settings.json", "model.safetensors")]
    above = [folder / "settings.json" for folder in weights.parents[:2]]
    return [*inside, *above, *weights.glob("*.*"), *weights.glob("checkpoints/*/*")]


def refuse_pictures(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """The same for many of both: only what exists is compared, all at once."""
    read: dict[tuple[int, int], Path] = {}
    for path in inputs:
        with contextlib.suppress(OSError):
            read[_identity(path)] = path
    for output in outputs:
        with contextlib.suppress(OSError):
            same = read.get(_identity(output))
            if same is not None:
                refuse_overwriting((output,), (same,))


def _identity(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_dev, about.st_ino


def _same_place(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:  # one does not exist yet, or cannot be looked at
        return os.path.realpath(a) == os.path.realpath(b)


def is_folder(path: Path | None, option: str) -> None:
    """Raise if an output folder's name is that of a file."""
    if path is not None and path.exists() and not path.is_dir():
        raise ValueError(f"{option} {path} is a file; name a folder")
