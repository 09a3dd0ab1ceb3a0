"""`minimask claims`: what textbooks say of Mask R-CNN, checked by computing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimask.tools.cli import WrongUse
from minimask.tools.cli.outputs import keep_existing

if TYPE_CHECKING:
    from minimask.tools.textbook.claims import Claim, Outcome

PICTURE_FILES = (".png", ".svg", ".pdf")

EPILOG = """
A claim is right, imprecise, wrong, or an opinion. Its check computes on this machine what shows
that; claims that cannot be checked here say what they wait for. The exit code is 1 when a check
fails: then a verdict, or minimask, is wrong.

Who says it: S0 a summary, S1 an overview, S2 a tutorial, S3 notes of a lecture, S4 slides; FR and
MR are the papers Faster R-CNN and Mask R-CNN.

[bold]Examples[/bold]

minimask claims

minimask claims 13 --picture anchors.png

minimask claims --only wrong --html claims.html
"""


def claims(
    numbers: Annotated[
        list[int] | None,
        typer.Argument(
            help="Claims to explain in full [dim](default: a table of all)[/dim].",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Verdict: right, imprecise, wrong or opinion.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Save the picture of a claim: .png, .svg or .pdf.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with everything into this file.")
    ] = None,
    as_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything into this JSON file.")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as Markdown.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Check what five textbooks and two papers say of Mask R-CNN, and show what was measured."""
    _check_files({"--picture": picture, "--html": html, "--json": as_file}, force)
    selected = _choose(numbers or [], only)
    if picture is not None:
        _save_picture(selected, picture)
    outcomes = _run(selected)
    if numbers and not as_markdown:
        _explain(outcomes)
    else:
        _print_table(outcomes, as_markdown)
    if as_file is not None:
        from minimask.system.files import write_whole
        from minimask.tools.textbook.claims import report

        write_whole(as_file, (json.dumps(report.as_json(outcomes), indent=1) + "\n").encode())
    if html is not None:
        from minimask.tools.textbook.claims.page import write_claims_page

        write_claims_page(html, outcomes)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)


def _check_files(files: dict[str, Path | None], force: bool) -> None:
    """Refuse outputs that cannot be, before anything is computed."""
    for option, path in files.items():
        if path is not None and path.is_dir():
            raise WrongUse(f"{option} {path} is a folder; name a file")
    given = [path for path in files.values() if path is not None]
    if len(set(given)) < len(given):
        raise WrongUse(f"two options name the file {given[0]}; name two files")
    picture = files["--picture"]
    if picture is not None and picture.suffix.lower() not in PICTURE_FILES:
        raise WrongUse(f"--picture: expected a name ending in .png, .svg or .pdf, got {picture}")
    keep_existing(given, force)


def _choose(numbers: list[int], only: str | None) -> list[Claim]:
    """The claims that the command line asks for.

    Raises:
        WrongUse: a number or verdict that does not exist, or none that has both.
    """
    from minimask.tools.textbook.claims import all_claims, find
    from minimask.tools.textbook.claims.ledger import VERDICTS

    if only is not None and only not in VERDICTS:
        raise WrongUse(f"--only: expected one of {', '.join(VERDICTS)}, got {only!r}")
    try:
        claims = [find(number) for number in dict.fromkeys(numbers)] or list(all_claims())
    except ValueError as error:
        raise WrongUse(str(error)) from None
    selected = [claim for claim in claims if only is None or claim.verdict == only]
    if not selected:
        raise WrongUse(f"--only {only}: none of the claims named has this verdict")
    return selected


def _save_picture(selected: list[Claim], path: Path) -> None:
    """Draw the picture of the one selected claim into a file.

    Raises:
        WrongUse: several claims, or one without a picture.
    """
    from minimask.system.files import write_whole
    from minimask.tools.textbook.claims.pictures import all_pictures, caption

    drawn = all_pictures()
    if len(selected) != 1:
        raise WrongUse("--picture: name one claim, for example: minimask claims 13 --picture a.png")
    number = selected[0].number
    if number not in drawn:
        having = ", ".join(map(str, sorted(drawn)))
        raise WrongUse(f"--picture: claim {number} has no picture; these have one: {having}")
    content = io.BytesIO()
    drawn[number]().savefig(content, format=path.suffix.lower()[1:])
    write_whole(path, content.getvalue())
    typer.echo(f"{path}: {caption(number)}", err=True)


def _run(selected: list[Claim]) -> list[Outcome]:
    """Check the claims, with a progress bar where somebody looks on."""
    from tqdm import tqdm

    from minimask.tools.textbook.claims import run_all

    with tqdm(total=len(selected), unit="claim", leave=False, disable=None) as progress:
        return run_all(selected, lambda outcome: progress.update())


def _explain(outcomes: list[Outcome]) -> None:
    from minimask.tools.textbook.claims import report

    typer.echo("\n\n".join(report.in_full(outcome) for outcome in outcomes))


def _print_table(outcomes: list[Outcome], as_markdown: bool) -> None:
    from minimask.tools.textbook.claims import report

    if as_markdown:
        typer.echo(report.markdown(outcomes), nl=False)
        return
    report.print_table(outcomes)
    for outcome in outcomes:
        if outcome.failed:
            typer.echo(report.in_full(outcome) + "\n")
    typer.echo(report.totals(outcomes))
