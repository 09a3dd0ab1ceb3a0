"""`minimask claims`: in the making."""

from __future__ import annotations


def claims() -> None:
    """In the making."""
    raise NotImplementedError
