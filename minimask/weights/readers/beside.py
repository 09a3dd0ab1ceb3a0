"""What training programs write beside the weights, as far as it is plain text and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BESIDE = "meta"  # mmengine's and mmcv's: the configuration, the names of the classes
LONGEST_TEXT = 1 << 20
MOST = 5000
DEEPEST = 3


def plain_beside(content: Any) -> dict[str, Any]:
    """The plain values of such a dict in what a pickle holds; nothing else of it is kept."""
    meta = content.get(BESIDE) if isinstance(content, dict) else None
    return {BESIDE: _plain(meta, DEEPEST)} if isinstance(meta, Mapping) else {}


def _plain(value: Any, depth: int) -> Any:
    if type(value) is str:
        return value[:LONGEST_TEXT]
    if type(value) in (int, float, bool):
        return value
    if type(value) in (list, tuple) and depth and len(value) <= MOST:
        return [_plain(entry, depth - 1) for entry in value]
    if isinstance(value, dict) and depth and len(value) <= MOST:
        return {k: _plain(v, depth - 1) for k, v in value.items() if type(k) is str}
    return None
