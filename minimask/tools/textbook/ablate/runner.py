"""Go through a table's cells: what is finished stays, what another process measures is left to it.

S seeds
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minimask.tools.textbook.ablate.cells import Cell, Claim, Store
from minimask.tools.textbook.ablate.measure import make_cell, measure
from minimask.tools.textbook.ablate.tables import Row, Table


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        table: the experiment.
        rows: those of its rows that are wanted.
        seeds: how many, from 0.
        out: folder of the cells and reports of all tables.
        steps: instead of the table's.
        data: folder of one's own images; None: generated ones.
    """

    table: Table
    rows: Sequence[Row]
    seeds: int
    out: Path
    steps: int | None = None
    data: Path | None = None

    def cells(self) -> list[Cell]:
        """Every row with every seed; all rows of a seed first, so that they can be compared."""
        return [
            make_cell(self.table, row, seed, self.steps, self.data)
            for seed in range(self.seeds)
            for row in self.rows
        ]


@dataclass
class Outcome:
    """What this process did, and what it left to others."""

    measured: int = 0
    elsewhere: dict[str, Claim] = field(default_factory=dict)  # cell -> who measures it


def fill(
    plan: Plan,
    *,
    take_over: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Measure every cell that is neither finished nor claimed by another process.

    Args:
        plan: which cells.
        take_over: measure also those that another process has claimed.
        progress: show the progress line of each training.
        say: called with a line for the user before and after each cell.

    Raises:
        Interrupted: Ctrl-C; the finished cells stay, the training of the present one was saved.
    """
    store, cells, outcome = Store(plan.out), plan.cells(), Outcome()
    clock = Clock(store, cells)
    for number, cell in enumerate(cells, 1):
        if store.finished(cell):
            continue
        owner = store.claimed_by(cell)
        if owner is not None and owner.ended:
            say(f"{label(cell)} was left behind by process {owner.process}, which has ended")
        with store.claim(cell, take_over) as taken:
            if not taken:
                owner = store.claimed_by(cell)
                if owner is not None:
                    outcome.elsewhere[cell.name] = owner
                    say(f"cell {number} of {len(cells)}: {label(cell)}: left to {owner}")
                continue
            if store.finished(cell):  # by another process, between the look and the claim
                continue
            say(f"cell {number} of {len(cells)}: {label(cell)}{clock.left()}")
            began = time.monotonic()
            results = measure(cell, store.run_folder(cell), plan.data, progress=progress)
            seconds = time.monotonic() - began
            store.write(cell, results, seconds)
            shutil.rmtree(store.run_folder(cell), ignore_errors=True)
            clock.add(seconds)
            outcome.measured += 1
            say(f"  {short(results['evaluations'][cell.evaluation])}, {seconds:.0f} s")
    return outcome


def label(cell: Cell) -> str:
    """Such as "2d pool, seed 3"."""
    return f"{cell.table} {cell.row}, seed {cell.seed}"


def short(metrics: dict[str, float]) -> str:
    """AP and AP50 in a few words."""
    kinds = [kind for kind in ("mask", "box") if f"{kind}_AP" in metrics]
    return ", ".join(
        f"{kind} AP {metrics[f'{kind}_AP']:.1f}, AP50 {metrics[f'{kind}_AP50']:.1f}"
        for kind in kinds
    )


class Clock:
    """How long the rest will take, from the cells this process has measured."""

    def __init__(self, store: Store, cells: Sequence[Cell]) -> None:
        self.store, self.cells = store, cells
        self.seconds: list[float] = []

    def add(self, seconds: float) -> None:
        """One more cell is finished."""
        self.seconds.append(seconds)

    def left(self) -> str:
        """Such as ", about 12 min left"; nothing before the first cell is finished."""
        if not self.seconds:
            return ""
        names = {cell.name: cell for cell in self.cells if not self.store.finished(cell)}
        claims = [self.store.claimed_by(cell) for cell in names.values()]
        busy = len({(c.host, c.process) for c in claims if c is not None and not c.ended})
        minutes = len(names) * sum(self.seconds) / len(self.seconds) / 60 / max(1, busy)
        return f", about {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"


def to_stderr(line: str) -> None:
    """Print a line beside the results."""
    print(line, file=sys.stderr, flush=True)
