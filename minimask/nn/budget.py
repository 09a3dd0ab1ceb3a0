"""How many numbers the layers that are being made may have, counted before they take memory.

A file of weights says which network to build for it.  A network of more numbers than the file has
cannot be right, and one of a thousand times as many would fill the memory before anyone noticed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

PER_LAYER = 64  # what a layer costs at least, so that empty ones come to an end as well

_left: ContextVar[int | None] = ContextVar("numbers that layers may still have", default=None)


class BudgetExceeded(ValueError):
    """The layers have more numbers than they may."""


@contextlib.contextmanager
def numbers_at_most(count: int) -> Iterator[None]:
    """Layers made inside the block have at most so many numbers together, else `BudgetExceeded`."""
    before = _left.set(count)
    try:
        yield
    finally:
        _left.reset(before)


def take(*shape: int) -> None:
    """Count a layer's numbers before they take memory.

    Args:
        shape: of its weight.

    Raises:
        BudgetExceeded: there are too few left.
    """
    left = _left.get()
    if left is None:
        return
    left -= max(math.prod(shape), PER_LAYER)
    if left < 0:
        raise BudgetExceeded("more numbers than there may be")
    _left.set(left)
