"""The ledger as a page: one file that can be searched, with every picture and every check."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from minimask.tools.textbook.claims.ledger import SOURCES, VERDICTS, Outcome, one_thread
from minimask.tools.textbook.claims.pictures import all_pictures, caption
from minimask.tools.textbook.claims.report import code_of, headline, totals
from minimask.tools.textbook.page import png_uri, write_page

TEMPLATE = "claims/page.html.j2"
COLORS = 128  # of a picture's palette: a third of the bytes, and nobody sees it


def write_claims_page(path: str | os.PathLike[str], outcomes: Sequence[Outcome]) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the HTML file.
        outcomes: of the claims it is to show.

    Raises:
        OSError: the file cannot be written.
    """
    write_page(path, TEMPLATE, page_context(outcomes))


def page_context(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the template names."""
    verdicts = Counter(outcome.claim.verdict for outcome in outcomes)
    by = {name for outcome in outcomes for name in outcome.claim.by}
    return {
        "entries": [_entry(outcome) for outcome in outcomes],
        "verdicts": [(name, verdicts[name]) for name in VERDICTS if verdicts[name]],
        "sources": {name: text for name, text in SOURCES.items() if name in by},
        "totals": totals(outcomes).replace("\n", ". "),
        "failed": sum(outcome.failed for outcome in outcomes),
    }


def _entry(outcome: Outcome) -> dict[str, Any]:
    claim = outcome.claim
    return {
        "outcome": outcome,
        "claim": claim,
        "headline": headline(outcome),
        "code": code_of(claim),
        "picture": _picture(claim.number) if claim.number in all_pictures() else None,
        "words": " ".join((claim.says, claim.correction, claim.section, claim.chapter)).lower(),
    }


def _picture(number: int) -> dict[str, str]:
    """Address and caption; as a check does, a picture that fails says so in its place."""
    entry = {"caption": caption(number), "uri": "", "error": ""}
    try:
        with one_thread():
            entry["uri"] = png_uri(all_pictures()[number](), colors=COLORS)
    except Exception as problem:
        entry["error"] = f"{type(problem).__name__}: {problem}"
    return entry
