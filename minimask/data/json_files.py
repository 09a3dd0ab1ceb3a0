"""Read JSON files, with errors that say where they are broken."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from minimask.data.images import missing_file


def read_json(path: str | os.PathLike[str]) -> Any:
    """The file's content, or an error that names file, line and column.

    Raises:
        FileNotFoundError: no such file; the message names the closest one there is.
        ValueError: not JSON.
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None
    except IsADirectoryError:
        raise ValueError(f"{path}: a folder; expected a JSON file") from None
    try:
        return json.loads(content)  # in UTF-8, with or without a mark, or UTF-16 as Windows writes
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8: {error}") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: broken JSON in line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (RecursionError, ValueError) as error:  # nested too deeply, numbers too long
        raise ValueError(f"{path}: broken JSON: {error}") from None


def kind_of(value: Any) -> str:
    """A value's type and beginning, for messages."""
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]}"
