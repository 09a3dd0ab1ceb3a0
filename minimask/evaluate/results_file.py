"""COCO results files: a JSON list of detections, as the official evaluation servers take it."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from minimask.data.segmentation import is_number, segmentation_problem
from minimask.evaluate.cocoeval import check_results
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
    target = pathlib.Path(path)
    if not target.is_file():
        raise FileNotFoundError(f"{target}: no such results file")
    try:
        results = json.loads(target.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{target}: not valid JSON ({error})") from None
    try:
        check_results(results)
        for i, result in enumerate(results):
            _check_values(f"results[{i}]", result)
    except ValueError as error:
        raise ValueError(f"{target}: {error}") from None
    return results


def _check_values(where: str, result: dict[str, Any]) -> None:
    """Raise for values that would end in wrong numbers, or in a crash inside C code."""
    if not is_number(result["score"]):
        raise ValueError(f"{where}.score: expected a number, got {result['score']!r}")
    box, mask = result.get("bbox"), result.get("segmentation")
    if box and not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
        raise ValueError(f"{where}.bbox: expected [x, y, width, height], got {box!r}")
    if isinstance(mask, dict):
        size = mask.get("size")
        if not (isinstance(size, list) and len(size) == 2 and all(map(is_number, size))):
            raise ValueError(f"{where}.segmentation.size: expected [height, width], got {size!r}")
        problem = segmentation_problem(mask, *size)
    else:
        problem = segmentation_problem(mask, 10**5, 10**5) if mask else None
    if problem:
        raise ValueError(f"{where}.segmentation{problem}")
