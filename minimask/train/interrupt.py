"""Ctrl-C between two steps, not in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While active, the first Ctrl-C (or SIGTERM) only sets `.requested`.

    An update that stops half-way leaves weights that belong to no step, so training looks at the
    flag between steps.  A second Ctrl-C stops at once.  Outside the main thread, where Python
    delivers no signals, it does nothing.

    Args:
        say: called with a line for the user when a signal arrives.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        self._say = say
        self.requested: signal.Signals | None = None
        self._at_once = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._handle) for s in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside the block a signal raises KeyboardInterrupt: for work that changes nothing."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, signal.Signals(number)
        if self._at_once or again:
            raise KeyboardInterrupt
        self._say("stopping after this step; press Ctrl-C again to stop at once")
