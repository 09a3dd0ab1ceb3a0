"""`minimask ablate`: the paper's ablations on small networks and generated images."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimask.system import runtime
from minimask.tools.cli import WrongUse
from minimask.tools.cli.outputs import is_folder
from minimask.tools.cli.sources import is_positive

if TYPE_CHECKING:
    from minimask.tools.textbook.ablate.runner import Outcome, Plan
    from minimask.tools.textbook.ablate.tables import Row, Table

EPILOG = """
Each row of a table is one choice, trained with several seeds. The report says mean and interval
over the seeds, the difference to the row it is compared with, seed by seed, the paper's numbers,
and whether the paper's direction is reproduced.

[bold]What is in --out[/bold]

TABLE.md, TABLE.png, TABLE.json: the report. With --steps or --data their names say so.

cells/: one file for each finished row and seed, named after its settings. They are never measured
again; other settings are other cells. Ctrl-C keeps them, and the same command goes on. Several
processes may work on one table at the same time, best with --threads 1 each.

[bold]Your own images[/bold]: --data FOLDER with train/instances.json (COCO), train/images,
val/instances.json and val/images. Such a cell takes longer: begin with few --seeds and --steps.

[bold]Examples[/bold]

minimask ablate --list

minimask ablate 2d --seeds 5 --threads 1

minimask ablate 2d --rows c5-pool,c5-align --seeds 2 --steps 100

minimask ablate 2d --report-only

minimask ablate --overview
"""


def ablate(
    table: Annotated[
        str | None, typer.Argument(help="Which table; see --list.", show_default=False)
    ] = None,
    seeds: Annotated[int, typer.Option(help="How often each row is trained.")] = 5,
    steps: Annotated[
        int | None, typer.Option(help="Training steps of a cell.", show_default="the table's")
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Measure only these rows, with commas.", show_default="all")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of your own images.", show_default="generated images"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for cells and reports.")] = Path("runs/ablate"),
    threads: Annotated[
        int | None, typer.Option(help="Processor cores to use.", show_default="all")
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Measure cells that another process has claimed, too."),
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Measure nothing; report what is finished.")
    ] = False,
    list_tables: Annotated[
        bool, typer.Option("--list", help="Show the tables with their rows and stop.")
    ] = False,
    overview: Annotated[
        bool,
        typer.Option("--overview", help="Write README.md: all reports in --out on one page."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not say what is being done.")] = False,
) -> None:
    """Change one choice at a time, train with several seeds, compare with the paper's table."""
    for value, option in ((seeds, "--seeds"), (steps, "--steps"), (threads, "--threads")):
        is_positive(value, option)
    is_folder(out, "--out")
    runtime.use_threads(threads)
    from minimask.tools.textbook.ablate.paper_tables import get_table

    if list_tables:
        typer.echo(listing(table))
        return
    if overview:
        typer.echo(_overview(out))
        return
    if table is None:
        raise WrongUse("which table? See minimask ablate --list")
    try:
        whole = get_table(table)
        named = _rows(whole, rows)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    if data is not None and not data.is_dir():
        raise FileNotFoundError(f"--data {data}: there is no such folder")
    from minimask.tools.textbook.ablate.runner import Plan

    plan = Plan(whole, whole.rows, seeds, out, steps, data)
    if not report_only:
        _measure(Plan(whole, named, seeds, out, steps, data), take_over, quiet)
    typer.echo(_write(plan))


def _overview(out: Path) -> str:
    """Write the page of all reports; what to print."""
    from minimask.system.files import write_whole
    from minimask.tools.textbook.ablate.overview import PAGE, overview

    page = overview(out)
    write_whole(out / PAGE, page.encode())
    return f"{page}\nwritten: {out / PAGE}"


def _rows(table: Table, names: str | None) -> list[Row]:
    """The rows that --rows names, in the table's order."""
    if names is None:
        return list(table.rows)
    keys = {name.strip() for name in names.split(",") if name.strip()}
    if not keys:
        raise WrongUse("--rows: expected names with commas, got none")
    named = [table.row(key) for key in sorted(keys)]
    return [row for row in table.rows if row in named]


def listing(key: str | None) -> str:
    """All tables, or one, with their rows."""
    from minimask.tools.textbook.ablate.paper_tables import TABLES, get_table

    try:
        tables = TABLES.values() if key is None else [get_table(key)]
    except ValueError as error:
        raise WrongUse(str(error)) from error
    lines = []
    for table in tables:
        lines.append(f"{table.key:10}{table.title}")
        lines += [f"{'':12}{row.key:18}{row.title}" for row in table.rows]
    return "\n".join(lines)


def _measure(plan: Plan, take_over: bool, quiet: bool) -> None:
    """Measure what is missing.

    Raises:
        KeyboardInterrupt: Ctrl-C; says how to go on.
    """
    import sys

    from minimask.tools.textbook.ablate.runner import fill, to_stderr

    try:
        outcome = fill(
            plan,
            take_over=take_over,
            progress=not quiet and sys.stderr.isatty(),
            say=(lambda line: None) if quiet else to_stderr,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; finished cells are kept, and the same command goes on from here"
        ) from None
    if not quiet and outcome.elsewhere:
        typer.echo(_elsewhere(outcome), err=True)


def _elsewhere(outcome: Outcome) -> str:
    """What other processes are measuring."""
    owners = "; ".join(sorted({str(claim) for claim in outcome.elsewhere.values()}))
    return (
        f"{len(outcome.elsewhere)} cells were left to others ({owners}). If those no longer run, "
        "say --take-over; else the last to finish writes the whole report."
    )


def _write(plan: Plan) -> str:
    """Write the report's three files; what to print.

    Raises:
        ValueError: no cell is finished.
    """
    from minimask.system.files import write_whole
    from minimask.tools.textbook.ablate.page import markdown
    from minimask.tools.textbook.ablate.picture import draw
    from minimask.tools.textbook.ablate.report import collect, to_json

    report = collect(plan)
    if not any(report.values.values()):
        raise ValueError(
            f"{plan.out}: no cell of table {plan.table.key} with these settings is finished yet"
        )
    name = _file_name(plan)
    page = markdown(report, _command(plan), f"{name}.png")
    write_whole(plan.out / f"{name}.md", page.encode())
    write_whole(plan.out / f"{name}.png", draw(report))
    content = json.dumps(to_json(report), indent=1) + "\n"
    write_whole(plan.out / f"{name}.json", content.encode())
    files = ", ".join(str(plan.out / f"{name}.{ending}") for ending in ("md", "png", "json"))
    return f"{page}\nwritten: {files}"


def _file_name(plan: Plan) -> str:
    """The table's key, and what is not as usual."""
    name = plan.table.key
    if plan.data is not None:
        name += f"-{plan.data.resolve().name}"
    return name if plan.steps is None else f"{name}-{plan.steps}-steps"


def _command(plan: Plan) -> str:
    """The command line that makes this report."""
    words = ["minimask", "ablate", plan.table.key, "--seeds", str(plan.seeds)]
    if plan.steps is not None:
        words += ["--steps", str(plan.steps)]
    if plan.data is not None:
        words += ["--data", str(plan.data)]
    return shlex.join(words)
