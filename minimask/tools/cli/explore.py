"""`minimask explore`: RoIPool against RoIAlign, one box at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimask.tools.cli import WrongUse
from minimask.tools.cli.outputs import keep_existing

if TYPE_CHECKING:
    from minimask.tools.textbook.explore import Scene

PICTURES = (".png", ".svg", ".pdf")
KINDS = (*PICTURES, ".gif", ".html")

EPILOG = """
The image has 256 x 192 pixels; the box may leave it. RoIPool always takes the largest cell of a
bin, the others the mean of its samples.

[bold]Examples[/bold]

minimask explore --out explorer.html

minimask explore --box 60.4 41.7 171.3 139.9 --stride 16 --map ramp

minimask explore --stride 32 --size 7 --out roi.png

minimask explore --out moving.gif

minimask explore --measure --out misalignment.png

--measure says how far each operation's bins lie from where they should, and what that costs a mask
that is known perfectly. What it costs a trained network: minimask ablate 2d.
"""


def explore(
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(
            help="The box: x0 y0 x1 y1 in pixels [dim](default: 60.4 41.7 171.3 139.9)[/dim].",
            metavar="X0 Y0 X1 Y1",
            show_default=False,
        ),
    ] = None,
    stride: Annotated[int, typer.Option(help="Pixels a cell: 4, 8, 16 or 32.")] = 16,
    size: Annotated[int, typer.Option(help="Bins a side, 1 to 14.")] = 4,
    ratio: Annotated[
        int | None,
        typer.Option(
            help="Samples a side of a bin; 0: as many as cells "
            "[dim](default: 1, 2 and 0 side by side)[/dim].",
            show_default=False,
        ),
    ] = None,
    map: Annotated[
        str, typer.Option(help="Feature map: ramp, ramp-y, checkerboard, noise or blob.")
    ] = "noise",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a figure (.png, .svg, .pdf), an animation (.gif) or a page to explore in "
            "(.html) [dim](default: print the values)[/dim].",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure misalignment and its cost to masks.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out.")] = False,
) -> None:
    """Show what RoIPool, RoIWarp and RoIAlign make of one box: bins, samples, values, gradients."""
    _check_out(out, measure, force)
    from minimask.tools.textbook.explore import Scene

    try:
        own_box = {} if box is None else {"box": box}
        scene = Scene(
            stride=stride, size=size, ratio=2 if ratio is None else ratio, map=map, **own_box
        )
    except ValueError as error:
        raise WrongUse(f"--{error}") from None
    if measure:
        _measure(scene, out)
    elif out is None:
        _print(scene, ratio)
    else:
        _write(out, scene, ratio)
    if out is not None:
        typer.echo(f"written: {out}")


def _check_out(out: Path | None, measure: bool, force: bool) -> None:
    """Raise unless the file can be what its name says, before anything slow.

    Raises:
        WrongUse: a folder, or a suffix of no use.
        ValueError: it exists.
    """
    if out is None:
        return
    if out.is_dir():
        raise WrongUse(f"--out {out} is a folder; name a file that ends in {', '.join(KINDS)}")
    kinds = tuple(kind for kind in KINDS if not (measure and kind == ".gif"))
    if out.suffix.lower() not in kinds:
        what = " with --measure" if measure else ""
        raise WrongUse(f"--out{what}: expected a name that ends in {', '.join(kinds)}, got {out}")
    keep_existing((out,), force)


def _print(scene: Scene, ratio: int | None) -> None:
    from minimask.tools.textbook.explore.figure import all_lines
    from minimask.tools.textbook.explore.values import table

    typer.echo(table(scene, all_lines(ratio)))
    typer.echo(
        "\nAs a page to explore in: --out explorer.html; as a figure: --out roi.png; "
        "moving: --out roi.gif"
    )


def _write(out: Path, scene: Scene, ratio: int | None) -> None:
    """The figure, animation or page that the name's suffix asks for."""
    kind = out.suffix.lower()
    if kind == ".html":
        from minimask.tools.textbook.explore.page import write_explorer

        write_explorer(out, scene)
    elif kind == ".gif":
        from minimask.tools.textbook.explore import animation

        animation.write(out, scene)
    else:
        from minimask.tools.textbook.explore import figure

        figure.write(out, figure.draw(scene, figure.all_lines(ratio)))


def _measure(scene: Scene, out: Path | None) -> None:
    """Print both tables; into a page or a figure too."""
    from minimask.tools.textbook.explore import mask_bound, misalignment

    measured = misalignment.measure()
    typer.echo(misalignment.table(measured))
    typer.echo("")
    bound = mask_bound.measure()
    typer.echo(mask_bound.table(bound))
    typer.echo("\nWhat it costs a trained network: minimask ablate 2d")
    if out is None:
        return
    if out.suffix.lower() == ".html":
        from minimask.tools.textbook.explore.page import write_explorer

        write_explorer(out, scene, measured, bound)
    else:
        from minimask.tools.textbook.explore import consequences, figure

        figure.write(out, consequences.draw(measured, bound))
