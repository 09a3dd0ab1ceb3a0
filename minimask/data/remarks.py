"""What to say about images that are read, but perhaps not as they are meant: once, with a count.

Readers remark through `logging`, which is silent unless somebody listens; the commands do.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

LOGGER = logging.getLogger("minimask.data.images")


def wanted() -> bool:
    """Whether anybody listens; what only remarks need is not computed otherwise."""
    return LOGGER.isEnabledFor(logging.INFO)


def remark(kind: str, path: str | os.PathLike[str], text: str, value: float = 0) -> None:
    """Say something about an image.

    Args:
        kind: remarks of one kind are counted together.
        path: the image's file.
        text: what to know, and what to do.
        value: of several, that with the largest value is shown.
    """
    LOGGER.info("%s: %s", path, text, extra={"remark": (kind, str(path), text, value)})


class Remarks(logging.Handler):
    """All that was said, by kind."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._kept: dict[str, tuple[str, str, float]] = {}
        self._files: dict[str, dict[str, str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Count a remark; from any thread, as `logging` locks."""
        kind, path, text, value = getattr(record, "remark", ("", "", record.getMessage(), 0))
        self._files.setdefault(kind, {})[path] = text
        kept = self._kept.get(kind)
        # of equal ones the first by name: threads read in any order
        if kept is None or (-value, path) < (-kept[2], kept[0]):
            self._kept[kind] = (path, text, value)

    def of(self, path: str | os.PathLike[str]) -> dict[str, str]:
        """What was said of a file, by kind."""
        return {kind: files[str(path)] for kind, files in self._files.items() if str(path) in files}

    def lines(self) -> list[str]:
        """One sentence per kind: the most telling file, and how many others are like it."""
        found = []
        for kind, (path, text, _) in self._kept.items():
            others = len(self._files[kind]) - 1
            more = f" (and {others} other{'s' if others > 1 else ''})" if others else ""
            found.append(f"{path}{more}: {text}")
        return found


@contextlib.contextmanager
def collected() -> Iterator[Remarks]:
    """Listen to all readers, in all threads, until the end of the block."""
    remarks = Remarks()
    level = LOGGER.level
    LOGGER.addHandler(remarks)
    LOGGER.setLevel(logging.INFO)
    try:
        yield remarks
    finally:
        LOGGER.removeHandler(remarks)
        LOGGER.setLevel(level)
