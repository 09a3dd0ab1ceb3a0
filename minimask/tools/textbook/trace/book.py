"""The trace as a page: one HTML file with every picture inside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.tools.profile.machine import peak_memory
from minimask.tools.textbook.page import render, write_page
from minimask.tools.textbook.trace.material import megabytes, milliseconds

if TYPE_CHECKING:
    from minimask.tools.textbook.trace.steps import Step
    from minimask.tools.textbook.trace.whole import Trace


def write_book(path: str | os.PathLike[str], trace: Trace) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the HTML file.
        trace: what it shows.

    Raises:
        OSError: it cannot be written.
    """
    write_page(path, "trace/book.html.j2", context_of(trace))


def render_step(step: Step) -> str:
    """A step by itself, as a notebook shows it."""
    context = {"step": step, "number": number, "share": share}
    return render("trace/notebook_step.html.j2", context)


def context_of(trace: Trace) -> dict[str, Any]:
    """What the template of the book names."""
    prediction, lesson = trace.prediction, trace.lesson
    height, width = prediction.batch.shape
    facts = [
        ("image", " × ".join(map(str, trace.material.image.shape[:2])) + " pixels"),
        ("network's input", f"{height} × {width}"),
        ("objects found", str(len(prediction.detections))),
        ("prediction", milliseconds(prediction.total)),
    ]
    if (peak := peak_memory()) is not None:
        facts.append(("peak memory of the process", megabytes(peak)))
    if lesson is not None:
        facts.append(("training step", milliseconds(sum(lesson.seconds.values()))))
    return {
        "trace": trace,
        "parts": list(trace.parts()),
        "steps": trace.steps,
        "facts": facts,
        "has_training": lesson is not None,
        "has_truth": trace.material.target is not None,
        "number": number,
        "share": share,
        "milliseconds": milliseconds,
        "megabytes": megabytes,
    }


def number(value: float) -> str:
    """A value of an array, readable; a dash where there is none."""
    return "–" if np.isnan(value) else f"{value:.4g}"


def share(value: float) -> str:
    """A share as percent; exactly none is a dash."""
    return "–" if value == 0 else f"{value:.1%}"
