"""`minimask explore`: in the making."""

from __future__ import annotations


def explore() -> None:
    """In the making."""
    raise NotImplementedError
