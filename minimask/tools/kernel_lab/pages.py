"""The tables on every operation's page: its ladder, what was tested, what was measured.

The ladder is the code's, the tests are those of `kernels/record.json`, the times those of
`benchmarks/results/`; the rest of a page is written by hand.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from minimask.kernels import OPERATIONS
from minimask.kernels.dispatch import ARRAY_KINDS
from minimask.system.files import write_whole
from minimask.tools.kernel_lab import measured, record, values
from minimask.tools.kernel_lab.measured import NEVER
from minimask.tools.kernel_lab.tiers import tiers_of

LADDER, MARK, MEASURED = "<!-- ladder -->", "<!-- tiers -->", "<!-- measured -->"
COLUMNS = ("values", "address", "thread", "simulator", "compiled")
LAST = "**What would you add next?**"  # how the last line of a page begins


def page(op: str) -> pathlib.Path:
    """The README of an operation."""
    return values.folder(op) / "README.md"


def ladder(op: str) -> str:
    """The rungs, slowest to fastest, with the time of each that was measured."""
    lines = ["| variant | arrays | idea | measured |", "|---|---|---|---:|"]
    lines += [
        f"| {name} | {ARRAY_KINDS[v.device]} | {v.idea} | {measured.cell(op, name)} |"
        for name, v in values.variants(op).items()
    ]
    return "\n".join(lines)


def table(op: str, entries: record.Entries) -> str:
    """The tests of one operation: a row for each rung but the reference."""
    lines = [f"| rung | {' | '.join(COLUMNS)} | GPU |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, variant in values.variants(op).items():
        if name == "reference":
            continue
        has, done = tiers_of(variant), record.passed(entries, op, name)
        cells = ["" if tier not in has else "yes" if tier in done else "no" for tier in COLUMNS]
        cells.append(gpu(done) if "gpu" in has else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def gpu(done: Mapping[str, Mapping[str, str]]) -> str:
    """Where and when a rung last passed on a GPU."""
    entry = done.get("gpu")
    return f"{entry['date']}, {entry['device']}" if entry else NEVER


def render(op: str, entries: record.Entries) -> str:
    """The page as it should be: every table between its two marks, the rest as it is.

    Raises:
        ValueError: a mark is not there twice.
    """
    text = page(op).read_text(encoding="utf-8")
    tables = {LADDER: ladder(op), MARK: table(op, entries), MEASURED: measured.section(op)}
    for mark, content in tables.items():
        if text.count(mark) != 2:
            raise ValueError(f"{page(op)}: expected {mark} twice, around a table that is made")
        before, _, after = text.split(mark)
        text = f"{before}{mark}\n{content}\n{mark}{after}"
    return text


def outdated(entries: record.Entries | None = None) -> list[str]:
    """The operations whose page is not what the code, the record and the results say."""
    known = record.read() if entries is None else entries
    return [op for op in OPERATIONS if render(op, known) != page(op).read_text(encoding="utf-8")]


def write() -> list[str]:
    """Bring every page up to date; returns the operations whose page changed."""
    entries = record.read()
    changed = outdated(entries)
    for op in changed:
        write_whole(page(op), render(op, entries).encode())
    return changed
