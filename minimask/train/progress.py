"""Two live lines in a terminal; in a file, a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from minimask.train.log import LOSSES

SHORT = dict(zip(LOSSES, ("obj", "rpn", "cls", "box", "mask", "kp", "pixels"), strict=True))
EVERY = 10.0  # seconds between two plain lines


class Progress:
    """Shows where training stands.

    Args:
        total: steps of the whole run.
        done: steps already done (a resumed run).
        stream: where to write; default: stderr.
        show: False shows nothing.
    """

    def __init__(
        self, total: int, done: int = 0, stream: TextIO | None = None, show: bool = True
    ) -> None:
        self.total, self.done, self.show = total, done, show
        self.stream = stream or sys.stderr
        self.started, self.first = time.monotonic(), done
        self._last_line = -EVERY
        self._bar: Any = None
        self._losses: Any = None

    def __enter__(self) -> Self:
        if self.show and self.stream.isatty():
            from tqdm import tqdm

            shared: dict[str, Any] = {"file": self.stream, "dynamic_ncols": True}
            self._bar = tqdm(
                total=self.total,
                initial=self.done,
                bar_format="{n}/{total} {bar:10} {remaining} left | {desc}",
                **shared,
            )
            self._losses = tqdm(position=1, bar_format="{desc}", **shared)  # two lines fit in 80
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._losses.close()
            self._bar.close()

    def update(self, row: Mapping[str, Any]) -> None:
        """Show the step that `row` (a line of log.csv) describes."""
        self.done = int(row["step"])
        if not self.show:
            return
        losses, state = describe(row)
        if self._bar is not None:
            self._losses.set_description_str(losses, refresh=False)
            self._losses.update()
            self._bar.set_description_str(state, refresh=False)
            self._bar.update(self.done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line >= EVERY or self.done == self.total:
            self._last_line = now
            self.say(f"{self.done}/{self.total} {self._left(now)} left | {losses} | {state}")

    def say(self, message: str) -> None:
        """A line that stays."""
        if not self.show:
            return
        if self._bar is not None:
            self._bar.write(message, file=self.stream)
        else:
            print(message, file=self.stream, flush=True)

    def _left(self, now: float) -> str:
        """The time left, such as "01:30", at this process's average speed."""
        steps = max(1, self.done - self.first)
        seconds = round((now - self.started) / steps * (self.total - self.done))
        return f"{seconds // 60:02d}:{seconds % 60:02d}"


def describe(row: Mapping[str, Any]) -> tuple[str, str]:
    """One step in words: the total loss and its parts; rate, speed, memory."""
    parts = " ".join(f"{SHORT[n]} {row[n]:.3f}" for n in LOSSES if n in row)
    losses = f"loss {row['loss']:.3f} = {parts}"
    speed = f"{row['images_per_second']:.1f} images/s"
    return losses, f"lr {row['lr']:.1e} | {speed} | {row['memory_mb']:.0f} MB"


def memory_mb() -> float:
    """Memory of this process right now in megabytes; where unknown, its greatest so far."""
    try:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        import os

        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, ValueError):
        return _peak_mb()


def _peak_mb() -> float:
    """The greatest memory use so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
