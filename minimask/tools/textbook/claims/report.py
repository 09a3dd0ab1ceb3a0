"""The ledger as text: a table for the terminal, Markdown, JSON, and one claim in full."""

from __future__ import annotations

import inspect
import pathlib
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minimask.tools.textbook.claims.ledger import SOURCES, VERDICTS, Claim, Fact, Outcome
from minimask.tools.textbook.claims.pictures import all_pictures, caption

ROOT = pathlib.Path(__file__).resolve().parents[4]  # the folder that holds the package
WIDTH = 96  # columns of a claim in full


@dataclass(frozen=True)
class Code:
    """The lines of a check: where they are, and they themselves without the claim above."""

    file: str
    line: int
    text: str


def code_of(claim: Claim) -> Code | None:
    """Where a claim is checked; None without a check."""
    if claim.check is None:
        return None
    lines, first = inspect.getsourcelines(claim.check)
    start = next(i for i, line in enumerate(lines) if line.lstrip().startswith("def "))
    file = pathlib.Path(inspect.getsourcefile(claim.check) or "").resolve()
    return Code(
        str(file.relative_to(ROOT)), first + start, textwrap.dedent("".join(lines[start:])).rstrip()
    )


def headline(outcome: Outcome) -> str:
    """What was measured, in one line: what failed, else the fact that the check quotes."""
    if outcome.error:
        return outcome.error
    decisive = [fact for fact in outcome.facts if fact.expected is not None]
    if not decisive:
        return outcome.claim.reason
    wrong = [fact for fact in decisive if not fact.holds]
    quoted = [fact for fact in outcome.facts if fact.quoted]
    quotation = (wrong or quoted or decisive)[0]
    return f"{quotation.name}: {quotation.value}"


def totals(outcomes: Sequence[Outcome]) -> str:
    """Counts of verdicts and checks, and the time, in two lines."""
    verdicts = Counter(outcome.claim.verdict for outcome in outcomes)
    states = Counter(outcome.status for outcome in outcomes)
    parts = ", ".join(f"{verdicts[name]} {name}" for name in VERDICTS if verdicts[name])
    seconds = sum(outcome.seconds for outcome in outcomes)
    return (
        f"{len(outcomes)} claims: {parts}\n"
        f"{states['ok'] + states['FAILED']} checked in {seconds:.1f} s: {states['ok']} ok, "
        f"{states['FAILED']} failed; {states['unchecked']} cannot be checked here"
    )


def print_table(outcomes: Sequence[Outcome], width: int | None = None) -> None:
    """Print a row for every claim; `width` in columns, default: the terminal's."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    colors = {"right": "green", "imprecise": "yellow", "wrong": "red", "opinion": "blue"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("no.", justify="right")
    table.add_column("says", max_width=8)
    table.add_column("claim", ratio=5)
    table.add_column("verdict", no_wrap=True)
    table.add_column("measured", ratio=4)
    table.add_column("check", no_wrap=True)
    for outcome in outcomes:
        claim = outcome.claim
        state = {"ok": "green", "FAILED": "bold red", "unchecked": "dim"}[outcome.status]
        table.add_row(
            str(claim.number),
            " ".join(claim.by),
            _plain(claim.says),
            f"[{colors[claim.verdict]}]{claim.verdict}[/]",
            _plain(headline(outcome)),
            f"[{state}]{outcome.status}[/]",
        )
    Console(width=width).print(table)


def _plain(text: str) -> str:
    """Text without rich's markup."""
    from rich.markup import escape

    return escape(text)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """A row for every claim, and the totals."""
    rows = [
        "| no. | says | claim | verdict | correction | measured | check |",
        "|---:|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        claim = outcome.claim
        cells = (
            str(claim.number),
            " ".join(claim.by),
            claim.says,
            claim.verdict,
            claim.correction,
            headline(outcome),
            outcome.status,
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n\n" + totals(outcomes) + "\n"


def as_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything that is known, as plain values."""
    return {"sources": SOURCES, "claims": [_entry(outcome) for outcome in outcomes]}


def _entry(outcome: Outcome) -> dict[str, Any]:
    claim, code = outcome.claim, code_of(outcome.claim)
    return {
        "number": claim.number,
        "chapter": claim.chapter,
        "by": list(claim.by),
        "says": claim.says,
        "verdict": claim.verdict,
        "correction": claim.correction,
        "section": claim.section,
        "status": outcome.status,
        "reason": claim.reason,
        "error": outcome.error,
        "seconds": round(outcome.seconds, 3),
        "facts": [asdict(fact) for fact in outcome.facts],
        "code": code and {"file": code.file, "line": code.line},
        "picture": caption(claim.number) if claim.number in all_pictures() else None,
    }


def in_full(outcome: Outcome) -> str:
    """One claim with its correction, everything measured, and the lines that measured it."""
    claim, code = outcome.claim, code_of(outcome.claim)
    parts = [
        f"Claim {claim.number}: {claim.chapter}",
        _indented("says", claim.says),
        _indented("by", "; ".join(f"{key}, {SOURCES[key]}" for key in claim.by)),
        _indented("verdict", f"{claim.verdict}. {claim.correction}"),
    ]
    if claim.section:
        parts.append(_indented("see", claim.section))
    if claim.reason:
        parts.append(_indented("check", f"none: {claim.reason}"))
    if code is not None:
        parts.append(f"\nMeasured now, in {outcome.seconds:.2f} s:")
        parts += [_fact(fact) for fact in outcome.facts]
        if outcome.error:
            parts.append(f"  the check stopped: {outcome.error}")
        parts.append(f"The check: {outcome.status}")
        parts.append(f"\n{code.file}, line {code.line}:\n{textwrap.indent(code.text, '    ')}")
    if claim.number in all_pictures():
        parts.append(f"\nPicture (--picture FILE): {caption(claim.number)}")
    return "\n".join(parts)


def _indented(name: str, text: str) -> str:
    """A name, and text that hangs beside it."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {name:9}",
        subsequent_indent=" " * 11,
        break_on_hyphens=False,
    )


def _fact(fact: Fact) -> str:
    mark = " " if fact.expected is None else "+" if fact.holds else "X"
    return textwrap.fill(str(fact), WIDTH, initial_indent=f"  {mark} ", subsequent_indent="      ")
