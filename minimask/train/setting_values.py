"""Values of settings: as text, from text, and whether they can be."""

from __future__ import annotations

import json
import math
from typing import Any


def frozen(value: Any) -> Any:
    """A list as a tuple, which a frozen dataclass holds."""
    return tuple(value) if isinstance(value, list) else value


def parsed(text: str) -> Any:
    """A value as JSON reads it, or numbers with commas between them; all else is text."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        numbers = json.loads(f"[{text}]") if "," in text else []
    except ValueError:
        return text
    only_numbers = numbers and all(type(n) in (int, float) for n in numbers)
    return numbers if only_numbers else text


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def at_least(name: str, value: float, low: float) -> None:
    """Raise ValueError unless a number is finite and at least `low`."""
    option = name.replace("_", "-")
    if not math.isfinite(value) or value < low:
        raise ValueError(f"--{option}: expected a number of at least {low}, got {value}")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless a word is one of `choices`."""
    if value not in choices:
        option = name.replace("_", "-")
        raise ValueError(f"--{option}: expected one of {', '.join(choices)}, got {value!r}")
