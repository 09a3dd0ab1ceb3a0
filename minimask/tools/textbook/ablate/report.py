"""The finished cells of a table in numbers and sentences, beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minimask.tools.textbook.ablate.cells import Store
from minimask.tools.textbook.ablate.runner import Plan
from minimask.tools.textbook.ablate.statistics import (
    REPRODUCED,
    REVERSED,
    Estimate,
    estimate,
    paired_difference,
    verdict,
)
from minimask.tools.textbook.ablate.tables import METRICS, Question, Row

FEWEST = 3  # of one or two seeds all can agree by chance
LEARNED = 1.0  # percent; rows that stay below have learned nothing that could be compared

Values = dict[str, dict[int, float]]  # metric -> seed -> percent

INTERVALS = (
    "Each number is the mean over the seeds in percent, in brackets its 95 % percentile bootstrap "
    "interval over the seeds. Of so few seeds such an interval is too narrow: for 5 normal "
    "values it holds the true mean in about 85 of 100 cases. It speaks of the seeds (weights, "
    "training images, sampling), not of other data or longer training. Differences are paired, "
    "seed by seed."
)


@dataclass(frozen=True)
class Answer:
    """What the cells say to a question.

    Attributes:
        question: the two rows and the metric.
        differences: of each metric that both rows have, row minus baseline, paired by seed.
        apart: whether the two rows' own intervals do not overlap in the question's metric.
        untold: why the differences say nothing; None: they do.
        sentence: all of it in words.
    """

    question: Question
    differences: Mapping[str, Estimate]
    apart: bool
    untold: str | None
    sentence: str

    @property
    def verdict(self) -> str:
        """Of `statistics.verdict`; "none" where nothing is expected or nothing can be said."""
        difference = self.differences[self.question.metric]
        if not self.question.direction or self.untold is not None:
            return "none"
        return verdict(difference, self.question.direction)


@dataclass(frozen=True)
class Report:
    """All of a table.

    Attributes:
        plan: what was asked for.
        values: row key -> metric -> seed -> percent; rows without a finished cell are empty.
        answers: to those of the table's questions whose rows share a seed.
        seconds: of all finished cells.
        missing: cells that are not finished.
    """

    plan: Plan
    values: Mapping[str, Values]
    answers: Sequence[Answer]
    seconds: float
    missing: int

    def rows(self) -> list[tuple[Row, dict[str, Estimate]]]:
        """Every row with the estimates of its metrics."""
        return [
            (row, {metric: estimate(_sorted(v)) for metric, v in self.values[row.key].items()})
            for row in self.plan.rows
        ]


def collect(plan: Plan) -> Report:
    """Read the finished cells of a plan."""
    store = Store(plan.out)
    values: dict[str, Values] = {row.key: {} for row in plan.rows}
    seconds: dict[str, float] = {}
    missing = 0
    for cell in plan.cells():
        content = store.read(cell)
        if content is None:
            missing += 1
            continue
        seconds[cell.name] = content["seconds"]
        for metric, value in content["results"]["evaluations"][cell.evaluation].items():
            if metric in METRICS:
                values[cell.row].setdefault(metric, {})[cell.seed] = value
    answers = [
        answer
        for question in plan.table.questions
        if (answer := _answer(question, plan, values)) is not None
    ]
    return Report(plan, values, answers, sum(seconds.values()), missing)


def _answer(question: Question, plan: Plan, values: Mapping[str, Values]) -> Answer | None:
    ours, baseline = values.get(question.row, {}), values.get(question.baseline, {})
    differences = {
        metric: difference
        for metric in METRICS
        if (difference := paired_difference(ours.get(metric, {}), baseline.get(metric, {})))
    }
    if question.metric not in differences:
        return None
    difference = differences[question.metric]
    own = [estimate(_sorted(v[question.metric])) for v in (ours, baseline)]
    apart = not own[0].overlaps(own[1])
    untold = _untold(difference, own)
    names = plan.table.row(question.row).title, plan.table.row(question.baseline).title
    text = sentence(question, difference, *names, untold)
    if untold is None:
        text += f" The two rows' own intervals {'do not ' if apart else ''}overlap."
    return Answer(question, differences, apart, untold, text)


def _untold(difference: Estimate, own: Sequence[Estimate]) -> str | None:
    """Why a difference says nothing about the choice; None: it does."""
    if len(difference.values) < FEWEST:
        return f"Fewer than {FEWEST} seeds can agree by chance: nothing is said of the direction."
    if max(row.mean for row in own) < LEARNED:
        return "Neither row has learned enough to be compared: train longer."
    return None


def sentence(
    question: Question, difference: Estimate, row: str, baseline: str, untold: str | None = None
) -> str:
    """What was measured and whether the paper's direction is reproduced.

    Args:
        question: what was expected.
        difference: of its metric, paired.
        row: the row's title.
        baseline: the other's.
        untold: why it says nothing of the direction; None: it does.
    """
    metric = question.metric.replace("_", " ")
    count = len(difference.values)
    same = sum(v * (question.direction or 1) > 0 for v in difference.values)
    side = "lower" if question.direction < 0 else "higher"
    measured = (
        f"{row} against {baseline}: {metric} {points(difference.mean)} points"
        f"{interval(difference, signed=True)}, {side} in {same} of {count} "
        f"seed{'' if count == 1 else 's'}"
    )
    if question.paper is not None:
        expectation = f"the paper has {points(question.paper)}"
    elif question.direction:
        expectation = f"the text expects it {'higher' if question.direction > 0 else 'lower'}"
    else:
        expectation = "no direction is expected"
    expectation += f" ({question.source})" if question.source else ""
    return f"{measured}; {expectation}. {untold or _judgement(question, difference)}"


def _judgement(question: Question, difference: Estimate) -> str:
    whose = "The paper's direction" if question.paper is not None else "The expected direction"
    if not question.direction:
        zero = difference.low <= 0 <= difference.high
        return "Zero is in the interval." if zero else "Zero is not in the interval."
    found = verdict(difference, question.direction)
    if found == REPRODUCED:
        return f"{whose} is reproduced: the whole interval is on its side of zero."
    if found == REVERSED:
        return f"{whose} is not reproduced: the whole interval is on the other side of zero."
    return f"{whose} is neither reproduced nor refuted: zero is in the interval."


def points(value: float) -> str:
    """With its sign and one decimal; never -0.0."""
    return f"{round(value, 1) + 0.0:+.1f}"


def interval(value: Estimate, *, signed: bool = False) -> str:
    """The interval in brackets after a blank; nothing for a single seed."""
    if math.isnan(value.low):
        return ""
    low, high = (points(x) if signed else f"{x:.1f}" for x in (value.low, value.high))
    return f" [{low}, {high}]"


def _sorted(by_seed: Mapping[int, float]) -> list[float]:
    return [by_seed[seed] for seed in sorted(by_seed)]


def to_json(report: Report) -> dict[str, Any]:
    """Everything the Markdown page says, for programs."""
    plan = report.plan
    return {
        "table": plan.table.key,
        "title": plan.table.title,
        "seeds": plan.seeds,
        "missing_cells": report.missing,
        "seconds": round(report.seconds, 1),
        "rows": [
            {
                "key": row.key,
                "title": row.title,
                "paper": dict(row.paper),
                "metrics": {m: _estimate_json(e) for m, e in estimates.items()},
            }
            for row, estimates in report.rows()
        ],
        "answers": [
            {
                "row": answer.question.row,
                "baseline": answer.question.baseline,
                "metric": answer.question.metric,
                "paper": answer.question.paper,
                "verdict": answer.verdict,
                "intervals_apart": answer.apart,
                "differences": {m: _estimate_json(e) for m, e in answer.differences.items()},
                "sentence": answer.sentence,
            }
            for answer in report.answers
        ],
    }


def _estimate_json(value: Estimate) -> dict[str, Any]:
    """NaN is no JSON."""
    low, high = (None if math.isnan(x) else round(x, 3) for x in (value.low, value.high))
    values = [round(v, 3) for v in value.values]
    return {"mean": round(value.mean, 3), "low": low, "high": high, "values": values}
