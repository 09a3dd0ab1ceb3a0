"""Every claim is there once, is checked or says why not, and its check passes."""

from __future__ import annotations

import re

import pytest

from minimask.tools.textbook.claims import TEXTBOOK, Evidence, all_claims, find, run
from minimask.tools.textbook.claims.ledger import RIGHT, SOURCES, Chapter, as_text
from minimask.tools.textbook.claims.report import code_of, headline, in_full, markdown, totals
from minimask.tools.textbook.claims.scenes import Listener, scene, small_network

COMPUTED = [claim for claim in all_claims() if claim.check is not None]


def test_the_numbers_run_from_one_without_a_gap() -> None:
    numbers = [claim.number for claim in all_claims()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= TEXTBOOK + 10


def test_each_claim_has_a_check_or_says_what_it_reason() -> None:
    for claim in all_claims():
        assert (claim.check is None) == bool(claim.reason), claim.number
        assert claim.says and claim.correction and claim.by
    of_the_texts = [claim for claim in all_claims() if claim.number <= TEXTBOOK]
    assert sum(claim.check is not None for claim in of_the_texts) >= 60
    papers = [claim for claim in all_claims() if claim.number > TEXTBOOK]
    assert all(set(claim.by) <= {"FR", "MR"} and claim.section for claim in papers)


def test_every_source_says_something() -> None:
    assert set(SOURCES) == {name for claim in all_claims() for name in claim.by}


def test_the_wording_is_our_own(shared) -> None:
    """No six words in a row are those of a text; letters of formulas are no words."""
    files = sorted((shared / "textbook").glob("*.txt"))
    texts = [_words(file.read_text("utf-8")) for file in files]
    assert len(texts) == 5
    known = {tuple(words[i : i + 6]) for words in texts for i in range(len(words) - 5)}
    for claim in all_claims():
        words = _words(claim.says)
        runs = {tuple(words[i : i + 6]) for i in range(len(words) - 5)}
        assert not runs & known, claim.number


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]{2,}", text.lower())


@pytest.mark.parametrize("claim", COMPUTED, ids=lambda claim: str(claim.number))
def test_the_evidence_supports_the_verdict(claim) -> None:
    outcome = run(claim)
    assert outcome.passed, in_full(outcome)
    assert headline(outcome)


def test_a_check_can_fail_in_every_way() -> None:
    chapter = Chapter("test")
    words = {"by": "S0", "says": "a", "verdict": RIGHT, "correction": "b"}

    @chapter.claim(1, **words)
    def wrong_value(evidence: Evidence) -> None:
        evidence.equal("one", 1, 1)
        evidence.equal("two", 2, 3)

    @chapter.claim(2, **words)
    def stops(evidence: Evidence) -> None:
        evidence.equal("one", 1, 1)
        raise KeyError("gone")

    @chapter.claim(3, **words)
    def decides_nothing(evidence: Evidence) -> None:
        evidence.show("one", 1)

    chapter.unchecked(4, **words, reason="something")
    outcomes = [run(claim) for claim in chapter.claims]
    assert [outcome.status for outcome in outcomes] == ["FAILED", "FAILED", "FAILED", "unchecked"]
    assert headline(outcomes[0]) == "two: 2"
    assert "KeyError: 'gone'" in in_full(outcomes[1])
    assert "X two: 2 (must be 3)" in in_full(outcomes[0])
    assert totals(outcomes).endswith("0 ok, 3 failed; 1 cannot be checked here")
    assert len(markdown(outcomes).splitlines()) == 2 + 4 + 3


@pytest.mark.parametrize(
    ("method", "values", "holds"),
    [
        ("equal", (float("nan"), 1.0), False),
        ("equal", ("a", "a"), True),
        ("at_least", (float("nan"), 0), False),
        ("at_most", (float("nan"), 0), False),
        ("at_most", (1, 1), True),
        ("differs", (1, 1), False),
        ("true", (0,), False),
    ],
)
def test_facts(method: str, values: tuple, holds: bool) -> None:
    evidence = Evidence()
    getattr(evidence, method)("name", *values)
    (fact,) = evidence.facts
    assert fact.holds is holds and fact.expected


def test_nan_is_not_near_anything() -> None:
    evidence = Evidence()
    evidence.equal("name", float("nan"), 1.0, within=5.0)
    assert not evidence.facts[0].holds


def test_values_as_text() -> None:
    assert as_text(19152, "anchors") == "19 152 anchors"
    assert as_text(0.37123456) == "0.3712"
    assert as_text((1, 2.5)) == "1, 2.5" and as_text([]) == "none" and as_text(True) == "yes"


def test_wrong_words_are_refused() -> None:
    chapter = Chapter("test")
    with pytest.raises(ValueError, match="no source S9"):
        chapter.unchecked(1, by="S9", says="a", verdict=RIGHT, correction="b", reason="c")
    with pytest.raises(ValueError, match="expected one of"):
        chapter.unchecked(1, by="S0", says="a", verdict="maybe", correction="b", reason="c")
    with pytest.raises(ValueError, match="expected a number from 1 to"):
        find(0)


def test_the_code_shown_is_that_of_the_check() -> None:
    code = code_of(find(13))
    assert code is not None and code.text.startswith("def anchors_of_a_map(")
    assert code.file == "minimask/tools/textbook/claims/proposals.py"
    assert code_of(find(48)) is None


def test_the_work_of_a_module_that_did_not_run_is_an_error_and_not_zero() -> None:
    listener = Listener()
    with listener.listen():
        small_network().predict([scene().image])
    parts = listener.flop("FPNBackbone") + listener.flop("RPNHead")
    assert 0 < parts < listener.flop()
    with pytest.raises(ValueError, match="no Backbone has run, only "):
        listener.flop("Backbone")
