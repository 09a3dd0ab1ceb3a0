"""A report as Markdown, beside its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minimask.tools.textbook.ablate.data import in_words
from minimask.tools.textbook.ablate.measure import make_cell
from minimask.tools.textbook.ablate.report import INTERVALS, Answer, Report, interval, points
from minimask.tools.textbook.ablate.statistics import Estimate
from minimask.tools.textbook.ablate.tables import METRICS


def markdown(report: Report, command: str, picture: str | None = None) -> str:
    """The whole page.

    Args:
        report: what the finished cells say.
        command: that made it.
        picture: file name of the figure beside it; None: there is none.
    """
    table = report.plan.table
    parts = [f"# Table {table.key}: {table.title}", _setting(report)]
    if table.note:
        parts.append(table.note)
    parts.append(_table(report))
    if report.answers:
        parts += ["## What it says", _answers(report.answers)]
    if picture is not None:
        parts.append(f"![{table.title}: every seed, mean and interval]({picture})")
    parts += [INTERVALS, _made_by(report, command)]
    return "\n\n".join(parts) + "\n"


def _setting(report: Report) -> str:
    """What was trained on what, in two sentences."""
    plan = report.plan
    settings = make_cell(plan.table, plan.rows[0], 0, plan.steps, plan.data).settings
    data, train = settings["data"], settings["train"]
    return (
        f"Small networks from random weights, {train['steps']} steps of {train['batch']} images "
        f"unless a row says otherwise; {in_words(data)}. The paper's numbers are of COCO with "
        "pre-trained ResNets: compare signs, not sizes."
    )


def _table(report: Report) -> str:
    """The rows with their estimates, each followed by the paper's where it has one."""
    found = report.rows()
    metrics = [
        m for m in METRICS if any(m in estimates or m in row.paper for row, estimates in found)
    ]
    head = ["", *(m.replace("_", " ") for m in metrics), "seeds"]
    lines = [head, ["---", *(["---:"] * (len(head) - 1))]]
    for row, estimates in found:
        count = max((len(e.values) for e in estimates.values()), default=0)
        cells = [_cell(estimates.get(m)) for m in metrics]
        lines.append([f"**{row.title}**", *cells, str(count)])
        if row.paper:
            lines.append(["*paper*", *_paper(row.paper, metrics), ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Estimate | None) -> str:
    return "" if value is None else f"{value.mean:.1f}{interval(value)}"


def _paper(numbers: Mapping[str, float], metrics: Sequence[str]) -> list[str]:
    return [f"*{numbers[m]:.1f}*" if m in numbers else "" for m in metrics]


def _answers(answers: Sequence[Answer]) -> str:
    """A sentence for each question; all differences of two rows after the last about them."""
    lines = []
    pairs = [(answer.question.row, answer.question.baseline) for answer in answers]
    for i, answer in enumerate(answers):
        lines.append(f"* {answer.sentence}")
        if pairs[i] not in pairs[i + 1 :]:
            listed = [
                f"{m.replace('_', ' ')} {points(d.mean)}{interval(d, signed=True)}"
                for m, d in answer.differences.items()
            ]
            lines.append(f"  All differences: {', '.join(listed)}.")
    return "\n".join(lines)


def _made_by(report: Report, command: str) -> str:
    minutes = round(report.seconds / 60)
    text = (
        f"Made by `{command}`: {minutes} minute{'' if minutes == 1 else 's'} of computing in all "
        "cells together."
    )
    if report.missing:
        cells = len(report.plan.cells())
        text += (
            f" **Not complete**: {report.missing} of {cells} cells are not finished; "
            "the same command goes on."
        )
    return text
