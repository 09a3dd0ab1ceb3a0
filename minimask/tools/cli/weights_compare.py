"""`minimask weights compare`: two files side by side, or one with its choices switched."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minimask.tools.cli import WrongUse
from minimask.tools.cli.outputs import files_of, keep_existing, refuse_overwriting
from minimask.tools.cli.sources import open_model

if TYPE_CHECKING:
    import numpy as np

    from minimask.data.sample import Target

PICTURES = (".png", ".svg", ".pdf")
IMAGE = "Photo to run them on."

EPILOG = """
With two files: layer by layer (shapes, largest difference, correlation) and, with an image, stage
by stage from the image to what is found. They may be of different systems.

With --flip: one file, and one choice of its convention switched to what another system does; the
same weights run again. What is found before and after is compared; of choices that only matter in
training, its targets and losses. [bold]all[/bold] tries every field. Without an image one is
generated; without --gt what the network finds is taken for the truth.

[bold]Examples[/bold]

minimask weights compare maskrcnn_resnet50_fpn.pth mask_rcnn_r50_fpn.pth --image photo.jpg

minimask weights compare runs/mine --flip roi_aligned --image photo.jpg --out roi.html

minimask weights compare runs/mine --flip all --out conventions.html
"""


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A file, a run or a checkpoint.", show_default=False)
    ],
    second: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="Another one.", show_default=False)
    ] = None,
    flip: Annotated[
        str | None,
        typer.Option(metavar="FIELD|all", help="Of one file: the choice to switch."),
    ] = None,
    image: Annotated[Path | None, typer.Option(help=IMAGE)] = None,
    gt: Annotated[
        Path | None, typer.Option("--gt", help="The image's objects: COCO JSON, or a mask folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a page: .html.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write the picture: .png, .svg or .pdf.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Detections from this score on count.", show_default="0.5"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Network, for files of which it cannot be recognised.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every array that differs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Compare two files of weights, or one file under other systems' choices."""
    if (second is None) == (flip is None):
        raise WrongUse("name a second file to compare with, or --flip FIELD for one file")
    if gt is not None and (image is None or flip is None):
        raise WrongUse("--gt belongs to --flip and an image: name its file with --image")
    _check_files(out, picture, [path for path in (first, second, image, gt) if path], force)
    asked = Asked(image, gt, out, picture, min_score, model, every)
    if flip is not None:
        _flip(first, flip, asked)
    else:
        assert second is not None
        _two((first, second), asked)


@dataclass(frozen=True)
class Asked:
    """What both kinds of comparison are asked for.

    Attributes:
        image: to run on; None: none, or a generated one.
        gt: file or folder with the image's objects.
        out: the page to be written.
        picture: the picture to be written.
        min_score: detections from this score on count; None: 0.5, or less.
        architecture: name of the network, for files of which it cannot be recognised.
        every: list every array that differs.
    """

    image: Path | None
    gt: Path | None
    out: Path | None
    picture: Path | None
    min_score: float | None
    architecture: str | None
    every: bool


def _check_files(out: Path | None, picture: Path | None, inputs: list[Path], force: bool) -> None:
    """Refuse outputs that cannot be, before anything is computed."""
    for option, path, kinds in (("--out", out, (".html",)), ("--picture", picture, PICTURES)):
        if path is not None and (path.is_dir() or path.suffix.lower() not in kinds):
            raise WrongUse(f"{option}: expected a file that ends in {', '.join(kinds)}, got {path}")
    read = [file for path in inputs for file in (path, *files_of(path))]
    refuse_overwriting((out, picture), read)
    keep_existing((out, picture), force)


def _two(paths: tuple[Path, Path], asked: Asked) -> None:
    from minimask.tools.textbook.compare import compare_networks, page, report

    networks = [open_model(path, asked.architecture).model for path in paths]
    names = _names(paths)
    pixels = _read(asked.image) if asked.image is not None else None
    if pixels is None and asked.picture is not None:
        raise WrongUse("--picture: what would it show? Name a photo with --image")
    found = compare_networks(networks[0], networks[1], pixels, asked.min_score)
    typer.echo("\n".join(f"{n}: {about(m)}" for n, m in zip(names, networks, strict=True)))
    typer.echo(f"\n{report.networks_text(found, every=asked.every)}")
    if asked.out is not None:
        page.write_networks_page(asked.out, found, names, (about(networks[0]), about(networks[1])))
    if asked.picture is not None:
        _save(page.picture_of_networks(found, names), asked.picture)
    _written(asked.out, asked.picture)


def _flip(path: Path, which: str, asked: Asked) -> None:
    from tqdm import tqdm

    from minimask.tools.textbook.compare import fields, flip_fields, page, report
    from minimask.tools.textbook.compare.flip import open_base

    network = open_model(path, asked.architecture).model
    try:
        chosen = fields.switches(network, which)
    except ValueError as error:
        raise WrongUse(str(error)) from None
    pixels, target, shown = _subject(network, asked.image, asked.gt)
    base = open_base(network, pixels, target, asked.min_score)
    with tqdm(total=len(chosen), unit="choice", leave=False, disable=None) as bar:
        results = []
        for result in flip_fields(base, which, bar.set_description):
            results.append(result)
            bar.update()
    typer.echo(f"{path.name}: {about(network)}; image: {shown}\n")
    typer.echo(report.flip_table(base, results))
    if which == "all":
        typer.echo("\n" + "\n".join(fields.not_switched()))
    if asked.out is not None:
        title = f"{path.name}: {'every choice switched' if which == 'all' else which}"
        page.write_flip_page(asked.out, base, results, title, f"{about(network)}; image: {shown}")
    if asked.picture is not None:
        _save_all(results, asked.picture)
    _written(asked.out, asked.picture)


def about(model: Any) -> str:
    """A network in a few words."""
    name = model.config.get("model", type(model).__name__)
    return f"{name}, {len(model.classes)} classes, convention {model.convention.name}"


def _names(paths: tuple[Path, Path]) -> tuple[str, str]:
    """Short names that tell the two apart."""
    if paths[0].name != paths[1].name:
        return paths[0].name, paths[1].name
    return str(paths[0]), str(paths[1])


def _read(path: Path) -> np.ndarray:
    from minimask.data import read_image

    return read_image(path)


def _subject(
    network: Any, image: Path | None, gt: Path | None
) -> tuple[np.ndarray, Target | None, str]:
    """The image, its objects where they are known, and what it is called."""
    if image is None:
        return _generated(network)
    target = None
    if gt is not None:
        from minimask.tools.textbook.trace.truth import gt_objects

        target, strange = gt_objects(gt, image, network.classes)
        if strange:
            names = ", ".join(strange)
            typer.echo(f"minimask: the model has no class {names}: left out", err=True)
    return _read(image), target, image.name


def _generated(network: Any) -> tuple[np.ndarray, Target | None, str]:
    """A generated image of a size that has to be resized and padded, with its objects."""
    from minimask.tools.textbook.compare import scenes

    image, target = scenes.friendly(network)
    return image, target, f"generated, {image.shape[0]} x {image.shape[1]} pixels"


def _save(figure: Any, path: Path) -> None:
    from minimask.system.files import write_whole

    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lower()[1:])
    write_whole(path, content.getvalue())


def _save_all(results: list[Any], path: Path) -> None:
    """The one picture; of several switches a sheet of them."""
    from minimask.tools.textbook.compare import page

    drawn = [(result, page.picture_of_flip(result)) for result in results]
    kept = [(result, figure) for result, figure in drawn if figure is not None]
    if not kept:
        raise ValueError(f"{path}: nothing changes, so there is nothing to draw")
    if len(kept) == 1:
        _save(kept[0][1], path)
        return
    if path.suffix.lower() != ".png":
        raise WrongUse(f"--picture: the sheet of {len(kept)} pictures is a .png")
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from minimask import draw

    pictures, titles = [], []
    for result, figure in kept:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())
        titles.append(f"{result.switch.field}: {result.switch.who()}")
    draw.save_image(path, draw.contact_sheet(pictures, titles, columns=2))


def _written(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            typer.echo(f"written: {path}")
