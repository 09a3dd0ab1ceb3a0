"""A small notebook that makes a trace again, and shows its steps as objects."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minimask.system.files import write_whole
from minimask.tools.textbook.trace.steps import parts_of

if TYPE_CHECKING:
    from minimask.tools.textbook.trace.whole import Trace

FORMAT = (4, 5)  # of notebooks: versions that cells with ids have


def write_notebook(
    path: str | os.PathLike[str], trace: Trace, setup: Sequence[str], seed: int = 0
) -> None:
    """Write the notebook, whole or not at all.

    Args:
        path: of the .ipynb file.
        trace: whose steps it shows.
        setup: lines of Python that make `model`, `image` and `target`.
        seed: that the trace was made with.

    Raises:
        OSError: it cannot be written.
    """
    major, minor = FORMAT
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {
        "cells": _cells(trace, setup, seed),
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": major,
        "nbformat_minor": minor,
    }
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _cells(trace: Trace, setup: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """A cell for the setup, one for the list of steps, and one for each step."""
    name = trace.title
    cells = [
        _text(f"# {name}\n\nEvery step of a prediction and of a training step, as an object."),
        _code("\n".join(setup)),
        _code(
            "from minimask.tools.textbook.trace import trace\n\n"
            f"run = trace(model, image, target, seed={seed})\nrun"
        ),
        _text(
            "Any intermediate is an array: `run.rpn.proposals`, `run.body[0]`, "
            '`run["mask/logits"]`.'
        ),
        _code("run.rpn.proposals[:5]"),
    ]
    for part, steps in parts_of(trace.steps):
        cells.append(_text(f"## {part}"))
        cells += [_code(f'run["{step.key}"]  # {step.title}') for step in steps]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i:02d}"
    return cells


def _text(content: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": content.splitlines(keepends=True)}


def _code(content: str) -> dict[str, Any]:
    lines = content.splitlines(keepends=True)
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": lines,
    }
