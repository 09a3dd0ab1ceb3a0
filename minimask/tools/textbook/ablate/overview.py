"""All reports of a folder on one page: what was asked, what the paper has, what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minimask.tools.textbook.ablate import paper_tables
from minimask.tools.textbook.ablate.report import points
from minimask.tools.textbook.ablate.statistics import REPRODUCED, REVERSED, UNDECIDED

PAGE = "README.md"
HEAD = ("table", "comparison", "metric", "paper", "here", "seeds", "direction")
WORDS = {
    REPRODUCED: "**reproduced**",
    REVERSED: "**reversed**",
    UNDECIDED: "undecided",
    "none": "–",  # none is expected, or too few seeds
}


def overview(out: Path) -> str:
    """The page as Markdown, from the reports (TABLE.json) in a folder.

    Args:
        out: where `minimask ablate` has written its reports.

    Raises:
        ValueError: there are none, or one is damaged; the message names it.
    """
    lines = [_line(HEAD), _line("---" for _ in HEAD)]
    reports = [content for path in sorted(out.glob("*.json")) for content in [_read(path)]]
    order = list(paper_tables.TABLES)
    reports.sort(key=lambda item: (order.index(item[1]["table"]), item[0]))
    if not reports:
        raise ValueError(f"{out}: no reports; minimask ablate TABLE --out {out} makes them")
    for name, report in reports:
        titles = {row["key"]: row["title"] for row in report["rows"]}
        lines += [_answer(name, titles, answer) for answer in report["answers"]]
    minutes = round(sum(report["seconds"] for _, report in reports) / 60)
    return "\n".join(
        [
            "# Ablations",
            "",
            "Small networks that differ in one choice, trained from random weights with several "
            "seeds, beside the paper's. A row is a difference in percent, paired seed by seed, "
            "with its 95 % bootstrap interval over the seeds: reproduced where the whole interval "
            "has the paper's sign. Each table's page has all numbers, the settings and a picture.",
            "",
            *lines,
            "",
            f"Made by `minimask ablate TABLE` for each table, {minutes} minutes of computing on "
            "one core each (cells that tables share are counted in each), and `minimask ablate "
            "--overview`.",
            "",
        ]
    )


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if content["table"] not in paper_tables.TABLES:
            raise ValueError(f"no table {content['table']!r}")
        content["rows"], content["answers"], content["seconds"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no report of minimask ablate ({error})") from None
    return path.stem, content


def _answer(name: str, titles: Mapping[str, str], answer: Mapping[str, Any]) -> str:
    difference = answer["differences"][answer["metric"]]
    values = difference["values"]
    here = points(difference["mean"])
    if difference["low"] is not None:
        here += f" [{points(difference['low'])}, {points(difference['high'])}]"
    paper = "" if answer["paper"] is None else points(answer["paper"])
    return _line(
        (
            f"[{name}]({name}.md)",
            f"{titles[answer['row']]} − {titles[answer['baseline']]}",
            answer["metric"].replace("_", " "),
            paper,
            here,
            str(len(values)),
            WORDS[answer["verdict"]],
        )
    )


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
