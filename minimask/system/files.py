"""Output files that appear whole or not at all, and are on the disk when the writer returns."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file under another name beside it, then give it its own; makes the folder.

    Args:
        path: replaced when it exists; untouched when writing fails.
        content: of the file.

    Raises:
        OSError: it cannot be written; names the path.
    """
    target = pathlib.Path(path)
    partial = target.with_name(f".writing-{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_to_disk(partial, content)
        os.replace(partial, target)
    except OSError as error:
        # writing to a full disk gives an error without a name, or one with the partial file's
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        partial.unlink(missing_ok=True)
    flush_folder(target.parent)


def write_to_disk(path: pathlib.Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk, not only in the system's memory."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: pathlib.Path) -> None:
    """Wait until a folder's list of names is on the disk (where the system can do that)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def folder_whole(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A folder to write into under another name, which gets its own when the block ends.

    Where the block raises, what it wrote is removed and `path` is untouched; a folder that is
    there already is replaced as a whole.

    Raises:
        OSError: it cannot be made; names the path.
    """
    target = pathlib.Path(path)
    partial = target.with_name(f".writing-{target.name}.{os.getpid()}")
    old = target.with_name(f".replaced-{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        if target.is_dir():
            os.replace(target, old)
        try:
            os.replace(partial, target)
        except OSError:
            if old.is_dir():
                os.replace(old, target)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    flush_folder(target.parent)
