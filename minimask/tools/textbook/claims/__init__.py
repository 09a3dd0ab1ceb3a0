"""The claims of five textbooks and two papers, each with a check that computes its evidence now.

    from minimask.tools.textbook.claims import all_claims, find, run
    print(run(find(13)).facts)

`ledger.py` says what a claim is; a chapter is a module with some of them; `pictures*.py` draw
what shows better than it can be said; `report.py` and `page.py` write it all down.
"""

from __future__ import annotations

import importlib
from functools import cache

from minimask.tools.textbook.claims.ledger import Claim, Evidence, Fact, Outcome, run, run_all

__all__ = ["Claim", "Evidence", "Fact", "Outcome", "all_claims", "find", "run", "run_all"]

CHAPTERS = (
    "segmentation",
    "pixel_networks",
    "proposals",
    "receptive_field",
    "learning",
    "sharing",
    "regions",
    "pooling",
    "heads",
    "practice",
    "metric",
    "applications",
    "systems",
    "faster_rcnn",
    "roi_align",
    "mask_rcnn",
)
TEXTBOOK = 73  # claims of the five texts; those of the papers come after them


@cache
def all_claims() -> tuple[Claim, ...]:
    """Every claim, by number."""
    modules = [importlib.import_module(f"{__name__}.{name}") for name in CHAPTERS]
    claims = [claim for module in modules for claim in module.CHAPTER.claims]
    return tuple(sorted(claims, key=lambda claim: claim.number))


def find(number: int) -> Claim:
    """The claim of that number.

    Raises:
        ValueError: there is none.
    """
    for claim in all_claims():
        if claim.number == number:
            return claim
    last = all_claims()[-1].number
    raise ValueError(f"claim {number}: expected a number from 1 to {last}")
