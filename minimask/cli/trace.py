"""`minimask trace`: in the making."""

from __future__ import annotations


def trace() -> None:
    """In the making."""
    raise NotImplementedError
