"""Pictures for the claims that show better than they can be said.

Each is a function that computes what it draws; the first line of its docstring says what is seen.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = ("segmentation", "proposals", "regions", "results")


@cache
def all_pictures() -> dict[int, Callable[[], Figure]]:
    """The function that draws, by the number of the claim."""
    modules = [importlib.import_module(f"{__name__}.{part}") for part in PARTS]
    return {number: draw for module in modules for number, draw in module.PICTURES.items()}


def caption(number: int) -> str:
    """What the picture of a claim shows, in a sentence."""
    first = (all_pictures()[number].__doc__ or "").strip().partition("\n")[0]
    text = first.partition(": ")[2]
    return text[:1].upper() + text[1:]
