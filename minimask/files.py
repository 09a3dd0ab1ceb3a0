"""Output files that appear whole or not at all."""

from __future__ import annotations

import os
import pathlib


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file under another name beside it, then give it its own; makes the folder.

    Args:
        path: replaced when it exists; untouched when writing fails.
        content: of the file.

    Raises:
        OSError: it cannot be written; names the path.
    """
    target = pathlib.Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, target)
    except OSError as error:
        # writing to a full disk gives an error without a name, or one with the partial file's
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        partial.unlink(missing_ok=True)
