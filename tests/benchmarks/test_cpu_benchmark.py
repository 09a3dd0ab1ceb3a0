"""benchmarks/cpu.py: what it calls the same result, its floors, its file, and one side at work."""

from __future__ import annotations

import json
import pathlib
import sys

import numpy as np
import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def cpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import cpu

    return cpu


@pytest.fixture
def report(cpu):
    import cpu_report

    return cpu_report


@pytest.fixture
def cases(cpu):
    import cpu_cases

    return cpu_cases


def line(report, case, ours: float, installed: float, tuned: float):
    """A case whose three sides took these seconds."""
    seconds = {report.OURS: [ours], report.INSTALLED: [installed], report.TUNED: [tuned]}
    return report.Line(case, seconds, dict.fromkeys(seconds, 10**9), same=True)


# ---- the same result


def same(report, ours: np.ndarray, theirs: np.ndarray) -> bool:
    """As the two processes would find, JSON and all."""
    a, b = (json.loads(json.dumps(report.digest([values]))) for values in (ours, theirs))
    return report.agree(a, b)


def test_rounding_is_no_difference_and_more_is(report):
    values = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)
    noise = np.random.default_rng(1).standard_normal((40, 50)).astype(np.float32)
    assert same(report, values, values)
    assert same(report, values, values + 1e-5 * noise)
    assert not same(report, values, values * 1.01)
    assert not same(report, values, -values)
    assert not same(report, values, values[::-1])
    assert not same(report, values, values.reshape(50, 40))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_result_with_nan_agrees_with_nothing(report, wrong):
    values = np.ones((4, 5), np.float32)
    broken = values.copy()
    broken[2, 3] = wrong
    assert not same(report, broken, values)
    assert not same(report, values, broken)
    assert not same(report, broken, broken)


def test_whole_numbers_agree_exactly_or_not(report):
    values = np.arange(1000)
    assert same(report, values, values)
    for i in (0, 999):  # among the first, which are listed, and behind them
        other = values.copy()
        other[i] += 1
        assert not same(report, values, other)


def test_empty_results_and_their_number(report):
    assert report.agree(report.digest([np.zeros((0, 4))]), report.digest([np.zeros((0, 4))]))
    assert report.agree([], [])
    assert not report.agree(report.digest([np.ones(3)]), [])


def test_a_digest_says_what_is_compared(report):
    (found,) = report.digest([np.array([[3.0, -4.0]], np.float32)])
    assert found["shape"] == [1, 2] and found["size"] == 4 and found["spread"] == 5
    assert not found["whole"] and found["first"] == []
    (whole,) = report.digest([np.arange(60)])
    assert whole["whole"] and whole["first"] == list(range(50))


# ---- goals and floors


def test_every_goal_belongs_to_a_line_or_group(cpu, cases):
    """A case that is renamed must not lose its floor silently."""
    names = {case.in_group for case in cases.CASES}
    assert set(cases.RATIOS) <= names, set(cases.RATIOS) - names
    assert len({case.name for case in cases.CASES}) == len(cases.CASES)
    for name, (_, floor) in cases.RATIOS.items():
        assert floor, name


def test_every_case_can_be_made(cpu, cases):
    import cpu_minimask

    for case in cases.CASES:
        assert callable(getattr(cpu_minimask, case.kind)), case.name


def test_a_group_counts_as_its_geometric_mean(report, cases):
    lines = [
        line(report, cases.Case("a", "nms", group="both"), 1, 2, 4),
        line(report, cases.Case("b", "nms", group="both"), 1, 8, 1),
        line(report, cases.Case("c", "nms"), 2, 3, 1),
    ]
    found = report.summaries(lines)
    assert found["both"] == pytest.approx((4, 2))
    assert found["c"] == pytest.approx((1.5, 0.5))
    assert set(found) == {"both", "c"}


def test_below_the_floor_counts_the_faster_peer(report, cases, monkeypatch):
    monkeypatch.setattr(cases, "RATIOS", {"a": (2, 1.0), "b": (2, None), "c": (None, 0.9)})
    ratios = {"a": (3.0, 0.95), "b": (0.1, 0.1), "c": (0.9, 0.9), "d": (0.1, 0.1)}
    assert report.below_floor(ratios) == ["a: 0.95 times the peer's speed, the floor is 1"]
    assert report.below_floor({"a": (1.0, 1.0)}) == []


# ---- the file and the table


def test_times_are_saved_whole(report, cases, tmp_path):
    lines = [line(report, cases.Case("a", "nms"), 1, 2, 4)]
    path = tmp_path / "times.json"
    path.write_text("old")
    report.save(path, lines, threads=2)
    content = json.loads(path.read_text())
    assert content["threads"] == 2 and content["ratios"] == {"a": [2, 4]}
    (saved,) = content["lines"]
    assert saved["seconds"][report.OURS] == {"median": 1, "min": 1, "max": 1, "runs": 1}
    assert saved["memory"] == lines[0].memory
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_names_a_difference(report, cases):
    found = line(report, cases.Case("a", "nms"), 0.001, 0.002, 0.004)
    assert report.row(found).startswith("| a | 1 | 2 | 4 | 2.00 | 4.00 |")
    found.same = False
    assert "results differ" in report.row(found)


def test_more_memory_than_the_peer_is_a_problem(report, cases):
    found = line(report, cases.Case("a", "nms", model=True), 1, 2, 4)
    assert report.problems_of([found]) == []
    found.memory[report.OURS] *= 1.2
    assert report.problems_of([found]) == ["a: more memory than the peer needs"]


def test_a_difference_without_a_reason_is_a_problem(report, cases):
    found = line(report, cases.Case("a", "nms"), 1, 2, 4)
    found.same = False
    assert report.problems_of([found]) == ["a: results differ"]
    known = line(report, cases.Case("b", "nms", differs="rounding"), 1, 2, 4)
    known.same = False
    assert report.problems_of([known]) == []
    assert list(report.reasons([known])) == ["Results differ: b: rounding."]


# ---- one side, at work


def test_our_side_serves_requests(cpu, cases):
    (index,) = (i for i, case in enumerate(cases.CASES) if case.name == "nms 1000 boxes")
    worker = cpu.Worker(cpu.OURS, sys.executable, threads=1)
    try:
        (kept,) = worker.ask(make=index, files=["", ""])
        assert kept["whole"] and 0 < kept["shape"][0] < 1000
        assert worker.ask(make=index, files=["", ""]) == [kept]
        times = worker.ask(seconds=0.0, least=3)
        assert len(times) == 3 and min(times) > 0
        assert worker.ask(memory=True) > 0 or not sys.platform.startswith("linux")
    finally:
        worker.close()
    assert worker.process.returncode == 0


def test_a_side_that_died_is_named(cpu):
    worker = cpu.Worker("no such side", sys.executable, threads=1)
    try:
        with pytest.raises(SystemExit, match="no such side does not run"):
            worker.ask(memory=True)
    finally:
        worker.close()
