"""COCO results files: a JSON list of detections, as the official evaluation servers take it."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from minimask.evaluate.referee import check_results


def write_results(path: str | os.PathLike[str], results: list[dict[str, Any]]) -> None:
    """Write detections as a COCO results file; the file appears whole or not at all.

    Args:
        path: the .json file; replaced when it exists.
        results: COCO result dictionaries, RLE `counts` as text.
    """
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(results, file)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def read_results(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The detections of a COCO results file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or an entry lacks something; the message names the path.
    """
    target = pathlib.Path(path)
    if not target.is_file():
        raise FileNotFoundError(f"{target}: no such results file")
    try:
        results = json.loads(target.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{target}: not valid JSON ({error})") from None
    try:
        check_results(results)
    except ValueError as error:
        raise ValueError(f"{target}: {error}") from None
    return results
