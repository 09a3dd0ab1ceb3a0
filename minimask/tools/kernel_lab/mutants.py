"""Kernels with a mistake put in, to see that a tier notices it."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

from minimask.kernels import launch


@dataclass(frozen=True)
class Mutant:
    """One piece of text of one file, and what stands there instead."""

    file: str  # the name of a .cu or .cuh file
    old: str  # must occur exactly once
    new: str


class NoMutant(ValueError):
    """The text to change is not there, or more than once: the mutant would change nothing."""


def changed(source: str, mutant: Mutant) -> str:
    """A source with everything it includes, the mutant's file changed.

    Raises:
        NoMutant: the text does not occur exactly once.
    """
    count = source.count(mutant.old)
    if count != 1:
        raise NoMutant(f"{mutant.file}: expected once, found {count} times: {mutant.old!r}")
    return source.replace(mutant.old, mutant.new)


@contextlib.contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """Inside the block every program that contains the mutant's file is compiled with it."""
    original = launch.read_source

    def read(path: pathlib.Path) -> str:
        source = original(path)
        return changed(source, mutant) if f'#line 1 "{mutant.file}"' in source else source

    launch.read_source = read  # type: ignore[assignment]
    try:
        yield
    finally:
        launch.read_source = original
