"""Modules that take no assignment which nothing would read."""

from __future__ import annotations

import difflib
from typing import Any

from minimask.nn import Module


class Sealed(Module):
    """A module whose attributes are those of its constructor, which ends with `self.seal()`.

    Assigning to one of them takes effect; assigning to any other name would be ignored without a
    word, and raises instead.
    """

    _sealed = False

    def seal(self) -> None:
        """End the constructor."""
        self._sealed = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._sealed and not hasattr(self, name):
            known = [n for n in (*vars(self), *vars(type(self))) if not n.startswith("_")]
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}, so setting it would change "
                f"nothing{hint}{self.where_else(name)}"
            )
        super().__setattr__(name, value)

    def where_else(self, name: str) -> str:
        """A sentence about the part that does have what `name` means; empty if there is none."""
        return ""
