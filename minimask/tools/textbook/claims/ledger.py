"""What a claim of a textbook is, and what its check leaves behind.

A chapter is a module with a `CHAPTER`; each claim in it stands in front of the function that
checks it:

    @CHAPTER.claim(13, by="S0", says="...", verdict=WRONG, correction="...", section="...")
    def anchors_of_a_map(evidence: Evidence) -> None:
        evidence.equal("anchors", len(grid), 19152)

The check computes; it is handed no numbers.  What it finds must support the verdict: for a claim
that is wrong, the evidence shows that it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

RIGHT, IMPRECISE, WRONG, OPINION = "right", "imprecise", "wrong", "opinion"
VERDICTS = (RIGHT, IMPRECISE, WRONG, OPINION)

SOURCES = {  # the five texts a student finds first, and the two papers
    "S0": "a summary, seven minutes long",
    "S1": "an overview with an example in torchvision",
    "S2": "a tutorial on matterport's code",
    "S3": "notes of a lecture",
    "S4": "slides of a seminar",
    "FR": "Faster R-CNN (Ren et al. 2015)",
    "MR": "Mask R-CNN (He et al. 2017)",
}


@dataclass(frozen=True)
class Fact:
    """One measured value.

    Attributes:
        name: what was measured.
        value: as text, with its unit.
        expected: what the verdict needs it to be, as text; None where it is only shown.
        holds: whether it is; True where it is only shown.
        quoted: whether it stands for all in a table.
    """

    name: str
    value: str
    expected: str | None = None
    holds: bool = True
    quoted: bool = False

    def __str__(self) -> str:
        requirement = "" if self.expected is None else f" ({self.expected})"
        return f"{self.name}: {self.value}{requirement}"


@dataclass
class Evidence:
    """What a check finds, one fact after the other; the facts with an expectation decide."""

    facts: list[Fact] = field(default_factory=list)

    def quote(self) -> None:
        """Let the last fact stand for all in a table; without this the first that decides does."""
        self.facts[-1] = replace(self.facts[-1], quoted=True)

    def show(self, name: str, value: object, unit: str = "") -> None:
        """A value for the reader, which decides nothing."""
        self.facts.append(Fact(name, as_text(value, unit)))

    def true(self, name: str, condition: object) -> None:
        """A sentence that must be true."""
        holds = bool(condition)
        self.facts.append(Fact(name, "yes" if holds else "no", "must be yes", holds))

    def equal(
        self, name: str, value: object, expected: object, unit: str = "", *, within: float = 0.0
    ) -> None:
        """A value that must be the expected one, up to `within` for numbers."""
        if within:
            holds = bool(abs(float(value) - float(expected)) <= within)  # type: ignore[arg-type]
            requirement = f"must be {as_text(expected)} +- {as_text(within)}"
        else:
            holds, requirement = bool(value == expected), f"must be {as_text(expected)}"
        self.facts.append(Fact(name, as_text(value, unit), requirement, holds))

    def differs(self, name: str, value: object, claimed: object, unit: str = "") -> None:
        """A value that must not be the one a wrong claim gives."""
        requirement = f"must not be {as_text(claimed)}"
        self.facts.append(Fact(name, as_text(value, unit), requirement, bool(value != claimed)))

    def at_least(self, name: str, value: float, bound: float, unit: str = "") -> None:
        """A number that must not be below the bound."""
        requirement = f"must be at least {as_text(bound)}"
        self.facts.append(Fact(name, as_text(value, unit), requirement, bool(value >= bound)))

    def at_most(self, name: str, value: float, bound: float, unit: str = "") -> None:
        """A number that must not be above the bound."""
        requirement = f"must be at most {as_text(bound)}"
        self.facts.append(Fact(name, as_text(value, unit), requirement, bool(value <= bound)))


def as_text(value: object, unit: str = "") -> str:
    """A value as a person writes it: thousands apart, four digits, and its unit."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int):
        text = f"{value:,}".replace(",", " ") if abs(value) >= 10_000 else str(value)
    elif isinstance(value, float):
        text = f"{value:,.0f}".replace(",", " ") if abs(value) >= 10_000 else f"{value:.4g}"
    elif isinstance(value, tuple | list):
        text = ", ".join(as_text(item) for item in value) or "none"
    else:
        text = str(value)
    return f"{text} {unit}" if unit else text


Check = Callable[[Evidence], None]


@dataclass(frozen=True)
class Claim:
    """A sentence of a textbook or paper, held against the code.

    Attributes:
        number: 1 to 73 are the texts', the papers' follow.
        chapter: title of the chapter it stands in.
        by: keys of `SOURCES`: who says it.
        says: what is said, in our words.
        verdict: one of `VERDICTS`.
        correction: what is right, or why it is.
        section: where the papers say so; may be empty.
        check: computes the evidence; None where that cannot be done here.
        reason: why there is no check, or what it waits for; empty where there is one.
    """

    number: int
    chapter: str
    by: tuple[str, ...]
    says: str
    verdict: str
    correction: str
    section: str
    check: Check | None
    reason: str = ""


class Chapter:
    """Some claims on one subject, in the order they are written down."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.claims: list[Claim] = []

    def claim(
        self, number: int, *, by: str, says: str, verdict: str, correction: str, section: str = ""
    ) -> Callable[[Check], Check]:
        """Put a claim in front of its check; the arguments are those of `Claim`, `by` with spaces.

        Raises:
            ValueError: a verdict or a source that does not exist.
        """

        def keep(check: Check) -> Check:
            self._add(number, by, says, verdict, correction, section, check, "")
            return check

        return keep

    def unchecked(
        self,
        number: int,
        *,
        by: str,
        says: str,
        verdict: str,
        correction: str,
        reason: str,
        section: str = "",
    ) -> None:
        """Note a claim that cannot be checked here, and why."""
        self._add(number, by, says, verdict, correction, section, None, reason)

    def _add(
        self,
        number: int,
        by: str,
        says: str,
        verdict: str,
        correction: str,
        section: str,
        check: Check | None,
        reason: str,
    ) -> None:
        sources = tuple(by.split())
        if verdict not in VERDICTS:
            raise ValueError(f"claim {number}: expected one of {VERDICTS}, got {verdict!r}")
        if unknown := [name for name in sources if name not in SOURCES]:
            raise ValueError(f"claim {number}: no source {', '.join(unknown)}")
        self.claims.append(
            Claim(number, self.title, sources, says, verdict, correction, section, check, reason)
        )


@dataclass(frozen=True)
class Outcome:
    """What came out when a claim was checked.

    Attributes:
        claim: the claim.
        facts: the evidence; empty without a check.
        seconds: the check took.
        error: what stopped the check; empty if nothing did.
    """

    claim: Claim
    facts: tuple[Fact, ...] = ()
    seconds: float = 0.0
    error: str = ""

    @property
    def computed(self) -> bool:
        """Whether there is a check."""
        return self.claim.check is not None

    @property
    def passed(self) -> bool:
        """Whether the evidence supports the verdict: at least one fact decides, and all hold."""
        decisive = [fact for fact in self.facts if fact.expected is not None]
        return not self.error and bool(decisive) and all(fact.holds for fact in decisive)

    @property
    def failed(self) -> bool:
        """Whether there is a check and it does not support the verdict."""
        return self.computed and not self.passed

    @property
    def status(self) -> str:
        """One word: ok, FAILED or unchecked."""
        return "FAILED" if self.failed else "ok" if self.computed else "unchecked"


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one core: for arrays this small, threads only wait for each other."""
    import numba
    import threadpoolctl

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        numba.set_num_threads(threads)


def run(claim: Claim) -> Outcome:
    """Check one claim; an error in a check is a failed check."""
    if claim.check is None:
        return Outcome(claim)
    evidence, start = Evidence(), time.perf_counter()
    error = ""
    try:
        with one_thread():
            claim.check(evidence)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Outcome(claim, tuple(evidence.facts), time.perf_counter() - start, error)


def run_all(
    claims: Sequence[Claim], after_each: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Check claims in turn.

    Args:
        claims: in the order wanted.
        after_each: called with every outcome, for progress.
    """
    outcomes = []
    for claim in claims:
        outcomes.append(run(claim))
        if after_each is not None:
            after_each(outcomes[-1])
    return outcomes
