"""`minimask data convert`: annotations of any format in, one of four out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimask.data import formats, writers
from minimask.tools.cli import WrongUse
from minimask.tools.cli.outputs import refuse_overwriting

if TYPE_CHECKING:
    from minimask.data.annotations import Annotations
    from minimask.data.findings import Finding
    from minimask.data.writers.target import Written

MOST = 5  # findings that are printed

EPILOG = """
[bold]coco[/bold]: one JSON file; the images stay where they are.

[bold]labelme[/bold]: a JSON file beside each image; polygons stay, pixels become masks
of labelme 5.

[bold]yolo[/bold]: images/, labels/ and data.yaml; one polygon per object that covers the
same pixels.

[bold]masks[/bold]: ID/images/ and ID/masks/CLASS/, one PNG per object.

Masks stay what they are, pixel by pixel. Regions of many objects (crowds) have no form in labelme
and yolo and are left out. Images are linked into the folders, or copied with --copy.

[bold]Examples[/bold]

minimask data convert voc/ --out train.json

minimask data convert labels/ --images photos/ --to yolo --out yolo/ --classes cell

minimask data convert train.json --images photos/ --to masks --out masks/ --copy
"""


def convert(
    source: Annotated[Path, typer.Argument(help="Annotations of any format.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="The file (coco) or folder to write.", show_default=False)
    ],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images.", show_default="as the files say")
    ] = None,
    to: Annotated[str, typer.Option(help=f"{', '.join(writers.WRITERS)}.")] = "coco",
    data: Annotated[
        str | None, typer.Option(help="Format of SOURCE.", show_default="recognised")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names to keep, or to give where the files have none; with commas."),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy images, do not link them.")] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out what is broken, instead of stopping.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file, or a folder made by this command.")
    ] = False,
) -> None:
    """Turn annotations of one format into another, with the same masks."""
    if to not in writers.WRITERS:
        raise WrongUse(f"--to: expected one of {', '.join(writers.WRITERS)}, got {to!r}")
    if data is not None and data not in formats.names():
        raise WrongUse(f"--data: expected one of {', '.join(formats.names())}, got {data!r}")
    names = _names(classes)
    refuse_overwriting([out], [source, images])
    from minimask.data.annotated import AnnotatedImages
    from minimask.data.images import missing_file

    if images is not None and not images.is_dir():
        raise FileNotFoundError(missing_file(images, "folder"))
    found = formats.read_annotations(source, images, data)
    boxes_only = to == "coco"  # the only one of the four that has a form for them
    broken: list[Finding] = []
    if skip:
        found, broken = _without_errors(found, boxes_only)
    dataset = AnnotatedImages(found, names, boxes_only=boxes_only)
    written = writers.convert(dataset, out, to, copy=copy, force=force)
    _say([*broken, *dataset.notes])
    typer.echo(_line(written, found, to, out))


def _names(classes: str | None) -> list[str] | None:
    if classes is None:
        return None
    names = [name.strip() for name in classes.split(",")]
    if not all(names):
        raise WrongUse(f"--classes: expected names with commas between them, got {classes!r}")
    return names


def _without_errors(found: Annotations, boxes_only: bool) -> tuple[Annotations, list[Finding]]:
    """What is sound, and the findings on the rest, as warnings."""
    from minimask.data.soundness import examine

    sound = examine(found, boxes_only=boxes_only)
    notes = [finding for finding in found.notes if finding.severity != "error"]
    broken = [
        dataclasses.replace(error, severity="warning", message=f"{error.message}; left out")
        for error in sound.errors
    ]
    return dataclasses.replace(sound.annotations, notes=notes), [*broken, *sound.left_out]


def _say(findings: list[Finding]) -> None:
    """What was read otherwise than it is written, on stderr."""
    for finding in findings[:MOST]:
        typer.echo(str(finding), err=True)
    if len(findings) > MOST:
        more = f"... and {len(findings) - MOST} more: `minimask data check` lists all findings"
        typer.echo(more, err=True)


def _line(written: Written, found: Annotations, to: str, out: Path) -> str:
    """What was written where, and what was left out."""
    counts = ", ".join(f"{name} {count}" for name, count in written.objects.most_common(8))
    classes = len(written.objects)
    parts = [
        f"{found.format} to {to}: {written.images} image{'' if written.images == 1 else 's'}, "
        f"{written.objects.total()} objects of {classes} class{'' if classes == 1 else 'es'}"
        + (f" ({counts})" if counts else ""),
        *(f"left out: {count} {what}, no form in {to}" for what, count in written.left_out.items()),
        *written.remarks,
    ]
    return f"{out}: {'; '.join(parts)}"
