"""The table of tiers on every operation's page, made from the record."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from minimask.kernels import OPERATIONS
from minimask.system.files import write_whole
from minimask.tools.kernel_lab import record, values
from minimask.tools.kernel_lab.tiers import tiers_of

MARK, LADDER = "<!-- tiers -->", "<!-- ladder -->"
COLUMNS = ("values", "address", "thread", "simulator", "compiled")
NEVER = "not yet run on a GPU"


def page(op: str) -> pathlib.Path:
    """The README of an operation."""
    return values.folder(op) / "README.md"


def table(op: str, entries: record.Entries) -> str:
    """The table of one operation: a row for each rung but the reference."""
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
    """The page as it should be: the table between its marks, after the ladder if it is new."""
    text = page(op).read_text(encoding="utf-8")
    block = f"{MARK}\n{table(op, entries)}\n{MARK}"
    if text.count(MARK) == 2:
        before, _, after = text.split(MARK)
        return before + block + after
    if text.count(MARK) or text.count(LADDER) != 2:
        raise ValueError(f"{page(op)}: expected {LADDER} twice, and {MARK} twice or not at all")
    before, ladder, after = text.split(LADDER)
    note = "Which of its tests each rung has passed in its present form:"
    return f"{before}{LADDER}{ladder}{LADDER}\n\n{note}\n\n{block}{after}"


def outdated(entries: record.Entries | None = None) -> list[str]:
    """The operations whose page is not what the record says."""
    known = record.read() if entries is None else entries
    return [op for op in OPERATIONS if render(op, known) != page(op).read_text(encoding="utf-8")]


def write() -> list[str]:
    """Bring every page up to date; returns the operations whose page changed."""
    entries = record.read()
    changed = outdated(entries)
    for op in changed:
        write_whole(page(op), render(op, entries).encode())
    return changed
