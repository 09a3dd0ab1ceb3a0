"""Intervals with known values, verdicts, and what the report says of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from small_table import SMALL

from minimask.tools.textbook.ablate.cells import Store
from minimask.tools.textbook.ablate.page import markdown
from minimask.tools.textbook.ablate.picture import draw
from minimask.tools.textbook.ablate.report import INTERVALS, collect, sentence, to_json
from minimask.tools.textbook.ablate.runner import Plan
from minimask.tools.textbook.ablate.statistics import estimate, paired_difference, verdict
from minimask.tools.textbook.ablate.tables import Question


@pytest.mark.parametrize(
    ("values", "mean", "low", "high"),
    [
        ([3.0, 3.0, 3.0], 3, 3, 3),
        ([0.0, 1.0], 0.5, 0, 1),  # of four samples the extremes have a quarter each
        # the sum of five draws is binomial (5, 1/5): at most 0 in 33 %, at most 3 in 99 %
        ([0.0, 0.0, 0.0, 0.0, 1.0], 0.2, 0, 0.6),
        # drawn, not gone through: binomial (10, 1/2): at most 1 in 1.1 %, 2 in 5.5 %, 8 in 98.9 %
        ([0.0] * 5 + [1.0] * 5, 0.5, 0.2, 0.8),
    ],
)
def test_known_intervals(values, mean, low, high) -> None:
    found = estimate(values)
    assert (found.mean, found.low, found.high) == pytest.approx((mean, low, high))
    assert estimate(values) == found


def test_intervals_of_five_seeds_are_as_narrow_as_the_report_says() -> None:
    rng = np.random.default_rng(3)
    found = [estimate(values.tolist()) for values in rng.standard_normal((1500, 5))]
    share = sum(e.low <= 0 <= e.high for e in found) / len(found)
    assert "about 85 of 100" in INTERVALS and share == pytest.approx(0.85, abs=0.025)


def test_one_seed_has_no_interval() -> None:
    found = estimate([2.0])
    assert found.mean == 2 and math.isnan(found.low) and math.isnan(found.high)
    assert found.overlaps(estimate([99.0]))
    with pytest.raises(ValueError, match="at least one"):
        estimate([])


def test_intervals_overlap_or_not() -> None:
    low, high = estimate([1.0, 2.0]), estimate([3.0, 4.0])
    assert not low.overlaps(high) and not high.overlaps(low)
    assert low.overlaps(estimate([2.0, 5.0])) and low.overlaps(low)


def test_differences_are_paired_by_seed() -> None:
    found = paired_difference({0: 10.0, 1: 50.0, 3: 7.0}, {0: 9.0, 1: 49.0, 2: 0.0})
    assert found is not None and found.values == (1.0, 1.0) and found.low == found.high == 1
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("values", "expected", "found"),
    [
        ([1.0, 2.0, 3.0], +7.3, "reproduced"),
        ([1.0, 2.0, 3.0], -7.3, "reversed"),
        ([-1.0, -2.0, -3.0], +7.3, "reversed"),
        ([-1.0, -2.0, -3.0], -7.3, "reproduced"),
        ([-1.0, 2.0, 3.0], +7.3, "undecided"),
        ([5.0], +7.3, "undecided"),
    ],
)
def test_verdicts(values, expected, found) -> None:
    assert verdict(estimate(values), expected) == found


QUESTION = Question("align", "pool", "mask_AP", 7.3, source="table 2d")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, 2.0, 3.0], "+2.0 points [+1.0, +3.0], higher in 3 of 3 seeds; the paper has +7.3"),
        ([1.0, 2.0, 3.0], "The paper's direction is reproduced"),
        ([-1.0, -2.0, -3.0], "is not reproduced: the whole interval is on the other side"),
        ([-1.0, 2.0, 3.0], "neither reproduced nor refuted"),
    ],
)
def test_sentences(values, words) -> None:
    assert words in sentence(QUESTION, estimate(values), "RoIAlign", "RoIPool")


def test_sentences_without_a_number_or_a_direction() -> None:
    above = estimate([1.0, 2.0, 3.0])
    text = sentence(Question("a", "b", "box_AP", expected=1, source="section 3.1"), above, "A", "B")
    assert "the text expects it higher (section 3.1)" in text
    assert "The expected direction is reproduced" in text
    text = sentence(Question("a", "b", "box_AP"), above, "A", "B")
    assert "no direction is expected. Zero is not in the interval" in text
    text = sentence(Question("a", "b", "box_AP", -0.6), above, "A", "B")
    assert "lower in 0 of 3 seeds; the paper has -0.6. The paper's direction is not" in text


def write(out, pool, align):
    """Cells as if they had been measured: the mask AP of each row by seed."""
    plan = Plan(SMALL, SMALL.rows, max(len(pool), len(align)), out)
    store = Store(out)
    for cell in plan.cells():
        values = {"pool": pool, "align": align}[cell.row]
        if cell.seed < len(values):
            metrics = {"mask_AP": values[cell.seed], "box_AP": 10.0, "mask_APs": 1.0}
            store.write(cell, {"evaluations": {"detections": metrics}}, 30.0)
    return collect(plan)


def test_a_whole_report(tmp_path) -> None:
    report = write(tmp_path, [10.0, 12.0, 11.0], [20.0, 21.0, 23.0])
    page = markdown(report, "minimask ablate small", "small.png")
    assert "| **RoIPool** | 11.0 [10.0, 12.0] | 10.0 [10.0, 10.0] | 3 |" in page
    assert "| *paper* | *23.6* |  |  |" in page
    assert "The paper's direction is reproduced" in page and "do not overlap" in page
    assert "All differences: mask AP +10.3 [+9.0, +12.0], box AP +0.0" in page
    assert "4 steps of 2 images" in page and "`minimask ablate small`: 3 minutes" in page
    assert "Not complete" not in page and "mask_APs" not in page
    (answer,) = json.loads(json.dumps(to_json(report), allow_nan=False))["answers"]
    assert answer["verdict"] == "reproduced" and answer["intervals_apart"]
    assert answer["differences"]["mask_AP"]["values"] == [10, 9, 12]
    assert draw(report).startswith(b"\x89PNG")


def test_an_unfinished_report(tmp_path) -> None:
    report = write(tmp_path, [10.0, 12.0, 11.0], [20.0])
    page = markdown(report, "minimask ablate small")
    assert "**Not complete**: 2 of 6 cells" in page
    assert "Fewer than 3 seeds" in page and "reproduced" not in page
    content = to_json(report)
    assert content["answers"][0]["verdict"] == "none" and content["missing_cells"] == 2
    json.dumps(content, allow_nan=False)
    assert draw(report).startswith(b"\x89PNG")


def test_rows_that_learned_nothing_are_not_compared(tmp_path) -> None:
    page = markdown(write(tmp_path, [0.1, 0.2, 0.1], [0.3, 0.4, 0.5]), "minimask")
    assert "Neither row has learned enough" in page and "reproduced" not in page


def test_a_row_without_cells(tmp_path) -> None:
    report = write(tmp_path, [10.0, 12.0, 11.0], [])
    assert not report.answers
    assert "| **RoIAlign** |  |  | 0 |" in markdown(report, "minimask ablate small")
    assert draw(report).startswith(b"\x89PNG")
