"""The same step several times, with and without the observer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minimask.tools.profile.machine import peak_memory
from minimask.tools.profile.observer import Observer


@dataclass(frozen=True)
class Measured:
    """Times of a step.

    Attributes:
        observer: of the step whose time is the median, so that its parts add up.
        plain: seconds without an observer, of every repeat.
        observed: seconds with one.
        peak: the most memory that the process had until then, in bytes; None: unknown.
    """

    observer: Observer
    plain: list[float]
    observed: list[float]
    peak: int | None

    @property
    def overhead(self) -> float:
        """What observing adds, as a share of the step without it; medians of both."""
        return statistics.median(self.observed) / statistics.median(self.plain) - 1


def measure(step: Callable[[], Any], model: Any, repeat: int = 5) -> Measured:
    """Run a step once to warm up, then in turns without and with an observer.

    Args:
        step: computes the same each time.
        model: whose modules name the stages.
        repeat: how often of each.
    """
    step()  # compiles kernels, fills caches and the memory pool
    plain, observers = [], []
    for _ in range(repeat):
        began = time.perf_counter()
        step()
        plain.append(time.perf_counter() - began)
        observer = Observer(model)
        with observer.watch():
            step()
        observers.append(observer)
    observers.sort(key=lambda o: o.total)
    observed = [observer.total / 1e9 for observer in observers]
    return Measured(observers[(repeat - 1) // 2], plain, observed, peak_memory())
