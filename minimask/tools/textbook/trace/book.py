"""The trace as a page: one HTML file with every picture inside."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from minimask.tools.profile.machine import peak_memory
from minimask.tools.textbook.page import write_page
from minimask.tools.textbook.trace.context import TraceContext, megabytes, milliseconds
from minimask.tools.textbook.trace.steps import Step, number, parts_of, share


def write_book(
    path: str | os.PathLike[str],
    context: TraceContext,
    steps: Sequence[Step],
    title: str,
    about: str = "",
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the HTML file.
        context: the recorded passes that it shows.
        steps: in order.
        title: of the page.
        about: a sentence below it.

    Raises:
        OSError: it cannot be written.
    """
    names = names_of(context, steps) | {"title": title, "about": about}
    write_page(path, "trace/book.html.j2", names)


def names_of(context: TraceContext, steps: Sequence[Step]) -> dict[str, Any]:
    """What the template of the book names."""
    prediction, training = context.prediction, context.training
    height, width = prediction.batch.shape
    facts = [
        ("image", " × ".join(map(str, context.image.shape[:2])) + " pixels"),
        ("network's input", f"{height} × {width}"),
        ("objects found", str(len(prediction.detections))),
        ("prediction", milliseconds(prediction.total)),
    ]
    if (peak := peak_memory()) is not None:
        facts.append(("peak memory of the process", megabytes(peak)))
    if training is not None:
        facts.append(("training step", milliseconds(sum(training.seconds.values()))))
    return {
        "parts": parts_of(steps),
        "steps": steps,
        "facts": facts,
        "has_training": training is not None,
        "has_truth": context.target is not None,
        "number": number,
        "share": share,
        "milliseconds": milliseconds,
        "megabytes": megabytes,
    }
