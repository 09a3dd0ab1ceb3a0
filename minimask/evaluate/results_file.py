"""COCO results files: a JSON list of detections, as the official evaluation servers take it."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from minimask.evaluate.check import check_results
from minimask.system.files import write_whole


def write_results(path: str | os.PathLike[str], results: list[dict[str, Any]]) -> None:
    """Write detections as a COCO results file; the file appears whole or not at all.

    Args:
        path: the .json file; replaced when it exists.
        results: COCO result dictionaries, RLE `counts` as text.
    """
    write_whole(path, json.dumps(results).encode())


def read_results(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The detections of a COCO results file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or an entry lacks something; the message names the path.
    """
    results = parse_results(path)
    check_results(results, str(path))
    return results


def parse_results(path: str | os.PathLike[str]) -> Any:
    """What a results file holds, unchecked; for `evaluate_detections`, which checks it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON.
    """
    target = pathlib.Path(path)
    if not target.is_file():
        raise FileNotFoundError(f"{target}: no such results file")
    try:
        return json.loads(target.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also numbers too long, nested too deeply
        raise ValueError(f"{target}: not valid JSON ({error})") from None
