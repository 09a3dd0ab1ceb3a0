"""`minimask predict`: images in; pictures, JSON and cut-outs out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minimask.system import runtime
from minimask.tools.cli import WrongUse
from minimask.tools.cli.conventions import ConventionOption
from minimask.tools.cli.image_list import Ids, ImageList, find_images
from minimask.tools.cli.outputs import files_of, is_folder, keep_existing, refuse_pictures
from minimask.tools.cli.predict_labels import LabelWriter
from minimask.tools.cli.predict_loop import Predict, predict_all
from minimask.tools.cli.predict_writer import KEYPOINT_SCORE, Writer
from minimask.tools.cli.regions import FILE_HELP, use_proposals
from minimask.tools.cli.sources import (
    PageOption,
    WhiteOption,
    is_positive,
    is_semantic,
    open_model,
    reading,
    refuse_options,
    remarks_said,
)

if TYPE_CHECKING:
    import numpy as np

SCORE = 0.5  # of the weakest detection, unless --score says another

EPILOG = """
[bold]What is in --out[/bold]

NAME.png for each image: the objects drawn over it.

predictions.json: for each image its file, size and objects: class, score, box (x0 y0 x1 y1 in
pixels), area in pixels, mask (run-length code as in COCO files), keypoints (x, y, score by name).

cutouts/NAME-00-CLASS.png with --cutouts: each object by itself, transparent around it.

Of a semantic segmenter (FCN, U-Net) NAME.png shows the class of every pixel, NAME-labels.png holds
it as a number (0 background, 1 the first class), and predictions.json counts pixels.

[bold]Examples[/bold]

minimask predict photo.jpg --weights runs/mine --out found

minimask predict photos/ --weights runs/mine --out found --score 0.7 --cutouts

minimask predict plates/ --weights runs/mine --out found --recursive --white 4095

Images that cannot be read are named and left out; the exit code is then 1.
"""


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="Image files, and folders of them.", show_default=False)
    ],
    weights: Annotated[
        Path, typer.Option(help="Folder of a run, one of its checkpoints, or a file of weights.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for everything found.")],
    score: Annotated[
        float | None,
        typer.Option(help="Weaker detections are left out.", show_default=str(SCORE)),
    ] = None,
    keypoint_score: Annotated[
        float | None,
        typer.Option(help="Keypoints of no higher score are not drawn.", show_default="0.05"),
    ] = None,
    cutouts: Annotated[
        bool, typer.Option("--cutouts", help="Also save each object by itself.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(help="Write all detections, weak ones too, as COCO results JSON."),
    ] = None,
    proposals: Annotated[Path | None, typer.Option(help=FILE_HELP, show_default=False)] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Annotations whose image and category ids --results takes, and by which a file of "
            "--proposals names images; a list of images and "
            "categories will do "
            "[dim](default: numbered from 1)[/dim]."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Network of a file of weights, e.g. maskrcnn_resnet50_fpn "
            "[dim](default: recognised)[/dim].",
            show_default=False,
        ),
    ] = None,
    convention: ConventionOption = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw the objects over the images.")
    ] = True,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", help="Also the images in folders in folders; --out is alike."),
    ] = False,
    white: WhiteOption = None,
    page: PageOption = None,
    batch: Annotated[int, typer.Option(help="Images at once.")] = 4,
    device: Annotated[str, typer.Option(help="cpu, cuda, or cuda:1 for the second GPU.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Processor cores to use.", show_default="all")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into --out although it is not empty.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Find the objects in images."""
    if score is not None and not 0 <= score <= 1:
        raise WrongUse(f"--score: expected 0 to 1, got {score}")
    if annotations is not None and results is None and proposals is None:
        raise WrongUse("--annotations gives --results its ids: add --results FILE")
    is_positive(batch, "--batch")
    is_positive(threads, "--threads")
    runtime.use_threads(threads)
    from minimask.system.device import find

    reading(white, page)  # before anything slow
    is_folder(out, "--out")
    found = find_images(images, recursive, without=out)
    files = list(found.names)
    names = output_names(found.names)
    _refuse(out, names, results, (annotations, proposals, *files_of(weights), *files))
    keep_existing((out, results), force)
    find(device)
    opened = open_model(weights, model, convention)
    if is_semantic(opened.model):
        given = {"--score": score, "--cutouts": cutouts, "--results": results}
        given["--keypoint-score"] = keypoint_score
        refuse_options(opened, given)
    opened.model.to(device)
    own = None if opened.settings is None else opened.settings.model.proposals
    regions = use_proposals(opened.model, proposals, own, device)
    ids = _ids(opened.model, files, annotations)
    _say(found, ids)
    writer: Writer | LabelWriter
    if is_semantic(opened.model):
        writer = LabelWriter(out, pictures, ids, names)
    else:
        least = SCORE if score is None else score
        writer = Writer(out, least, pictures, cutouts, ids, names, results is not None)
        writer.keypoint_score = _keypoint_score(opened.model, keypoint_score)
    read = reading(white, page, opened.settings)
    try:
        with remarks_said():
            predict_of = _predictor(opened.model, regions, ids)
            failed = predict_all(predict_of, files, writer, batch, read, not quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {len(writer.entries)} of {len(files)} images; what was drawn of them "
            f"is in {out}, JSON files were not written"
        ) from None
    writer.finish(results)
    if failed:
        typer.echo(f"minimask: {len(failed)} of {len(files)} images failed, see above", err=True)
        raise typer.Exit(1)


def _ids(model: Any, files: list[Path], annotations: Path | None) -> Ids:
    """What images and classes are called in results; of proposals the class is an object."""
    if not getattr(model, "class_agnostic", False):
        return Ids(files, model.found_classes, annotations)
    ids = Ids(files, (), annotations)
    ids.categories = [1]
    return ids


def _predictor(model: Any, regions: Any, ids: Ids) -> Predict:
    """What finds the objects of files and their images, in the regions of a file if there are."""
    if regions is None:
        return lambda some: model.predict([image for _, image in some])
    from minimask.models.given_proposals import regions_of

    def in_regions(some: list[tuple[Path, np.ndarray]]) -> Any:
        named = [(ids.images[path], str(path)) for path, _ in some]
        return model.predict([image for _, image in some], regions_of(regions, named))

    return in_regions


def _keypoint_score(model: Any, score: float | None) -> float:
    """The score above which keypoints are drawn."""
    if score is None:
        return KEYPOINT_SCORE
    if getattr(model, "skeleton", None) is None:
        raise WrongUse("--keypoint-score: this model finds no keypoints")
    return score


def output_names(files: dict[Path, Path]) -> dict[Path, str]:
    """For each image the name of its picture without suffix, numbered where another has it."""
    taken: set[str] = set()
    names = {}
    for path, below in files.items():
        stem = below.with_suffix("").as_posix()
        name, number = stem, 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        names[path] = name
    return names


def _refuse(
    out: Path, names: dict[Path, str], results: Path | None, inputs: tuple[Path | None, ...]
) -> None:
    """Raise if something would be written onto what is read, with --force too."""
    written = [out / f"{name}.png" for name in names.values()]
    written += [out / f"{name}-labels.png" for name in names.values()]
    written += [out / "predictions.json"] + ([] if results is None else [results])
    refuse_pictures(written, [path for path in inputs if path is not None])
    if out.is_dir():  # names of cut-outs are not known yet
        pieces = (out / "cutouts").resolve()
        for path in names:
            if pieces in path.resolve().parents:
                raise ValueError(f"{path} lies where cut-outs are written: choose another --out")


def _say(found: ImageList, ids: Ids) -> None:
    """What was passed over, and what was taken for the same with a doubt."""
    if passed := found.passed_over():
        typer.echo(f"minimask: {passed}", err=True)
    if ids.by_name_alone:
        others = len(ids.by_name_alone) - 1
        more = f" and {others} other{'s' if others > 1 else ''}" if others else ""
        typer.echo(
            f"minimask: {ids.by_name_alone[0]}{more}: known in {ids.source} by the file's name "
            "alone, the folders there are others",
            err=True,
        )
