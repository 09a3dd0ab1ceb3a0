"""`minimask ablate`: in the making."""

from __future__ import annotations


def ablate() -> None:
    """In the making."""
    raise NotImplementedError
