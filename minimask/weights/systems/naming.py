"""Tables of names that are read in both directions, so that export is the inverse of import.

A line of a table is a pair of beginnings, theirs and ours; what follows is the same in both.
Numbers stand in braces and may be counted from elsewhere: "res{s+1}.{b}." and "layer{s}.{b}." say
that the stage that is called res2 there is layer1 here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"\{([a-z])([+-]\d+)?\}")
Line = tuple[str, str]


@dataclass(frozen=True)
class _Rule:
    """One direction of a line."""

    pattern: re.Pattern[str]
    to: str
    shifts: dict[str, int]  # of each number, from what it is called to what it is

    def apply(self, name: str) -> str | None:
        """The name in the other system; None: of another line."""
        match = self.pattern.match(name)
        if match is None:
            return None
        numbers = {letter: int(match[letter]) - shift for letter, shift in self.shifts.items()}
        if any(number < 0 for number in numbers.values()):
            return None
        begin = _NUMBER.sub(lambda m: str(numbers[m[1]] + int(m[2] or 0)), self.to)
        return begin + name[match.end() :]


class NameTable:
    """What parameters are called in two systems.

    Args:
        lines: pairs (theirs, ours); of several that fit a name the first counts.
    """

    def __init__(self, lines: Sequence[Line]):
        self._to_ours = [_rule(theirs, ours) for theirs, ours in lines]
        self._to_theirs = [_rule(ours, theirs) for theirs, ours in lines]

    def ours(self, name: str) -> str | None:
        """What a parameter of theirs is called here; None: no line has it."""
        return _first(self._to_ours, name)

    def theirs(self, name: str) -> str | None:
        """What a parameter of ours is called there; None: no line has it."""
        return _first(self._to_theirs, name)


def _first(rules: Sequence[_Rule], name: str) -> str | None:
    return next((found for rule in rules if (found := rule.apply(name)) is not None), None)


def _rule(begin: str, to: str) -> _Rule:
    pattern, end, shifts = "^", 0, {}
    for number in _NUMBER.finditer(begin):
        letter = number[1]
        pattern += re.escape(begin[end : number.start()]) + rf"(?P<{letter}>\d+)"
        shifts[letter], end = int(number[2] or 0), number.end()
    return _Rule(re.compile(pattern + re.escape(begin[end:])), to, shifts)
