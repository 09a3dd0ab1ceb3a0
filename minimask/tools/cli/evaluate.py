"""`minimask evaluate`: the COCO metric of a run, of weights, or of finished detections."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minimask.data import registry
from minimask.system import runtime
from minimask.tools.cli import WrongUse
from minimask.tools.cli.conventions import ConventionOption
from minimask.tools.cli.evaluate_results import finish, measure
from minimask.tools.cli.outputs import files_of, is_folder, keep_existing, refuse_overwriting
from minimask.tools.cli.regions import FILE_HELP, use_proposals
from minimask.tools.cli.sources import (
    Opened,
    PageOption,
    WhiteOption,
    check_data,
    is_positive,
    is_semantic,
    open_dataset,
    open_model,
    reading,
    refuse_options,
    remarks_said,
)

if TYPE_CHECKING:
    from minimask.data.sample import Dataset
    from minimask.evaluate import Results, SemanticResults

EPILOG = """
[bold]The numbers[/bold]: AP is the mean of the average precision at IoU 0.50, 0.55 ... 0.95 and
over the classes; AP50 and AP75 at one IoU; APs, APm, APl of objects below 32x32, below 96x96 and
above; AR the share of objects found. A dash: no such object. Why a number is 0 or missing is
said below the table. Of a semantic segmenter (FCN, U-Net): IoU of the pixels of each class.

[bold]Examples[/bold]

minimask evaluate runs/mine

minimask evaluate runs/mine --annotations test.json --images test/ --results results.json

minimask evaluate runs/mine --data folder --images stage1_test/

minimask evaluate runs/mine --data shapes --count 200

minimask evaluate --detections results.json --annotations test.json
"""

DATA, OUTPUT = "Data", "Output"


def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="Folder of a run, one of its checkpoints, or a file of weights."
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Annotations of any format [dim](default: the run's validation data)[/dim].",
            rich_help_panel=DATA,
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of its images.", rich_help_panel=DATA)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="coco, folder (one folder per image, one mask file per object), shapes or sticks "
            "(generated).",
            rich_help_panel=DATA,
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of classes, with commas.", rich_help_panel=DATA)
    ] = None,
    count: Annotated[int, typer.Option(help="Of generated images.", rich_help_panel=DATA)] = 100,
    size: Annotated[
        int, typer.Option(help="Side of generated images in pixels.", rich_help_panel=DATA)
    ] = 128,
    white: WhiteOption = None,
    page: PageOption = None,
    limit: Annotated[
        int | None,
        typer.Option(help="Only the first so many images.", rich_help_panel=DATA),
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(help="COCO results JSON to measure instead of a model.", rich_help_panel=DATA),
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
    proposals: Annotated[Path | None, typer.Option(help=FILE_HELP, show_default=False)] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(
            help="That count per image and class.",
            show_default="100, as COCO; more if the model keeps more",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Images at once.")] = 4,
    device: Annotated[str, typer.Option(help="cpu, cuda, or cuda:1 for the second GPU.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Processor cores to use.", show_default="all")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for metrics.json, pr.png and pictures. By default the folder "
            "`evaluation` of the run, which each evaluation replaces.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Write the detections as COCO results JSON.", rich_help_panel=OUTPUT),
    ] = None,
    pictures: Annotated[
        int, typer.Option(help="Images drawn beside their annotations.", rich_help_panel=OUTPUT)
    ] = 6,
    force: Annotated[
        bool, typer.Option("--force", help="Replace existing output.", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress bar.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Measure a model: the official COCO metric for boxes and masks; of label maps pixel IoU."""
    files = {"annotations": annotations, "images": images}
    _check(run, files, data, detections, classes, convention)
    for option, value in (
        ("--limit", limit),
        ("--count", count),
        ("--batch", batch),
        ("--max-detections", max_detections),
        ("--threads", threads),
    ):
        is_positive(value, option)
    runtime.use_threads(threads)
    from minimask.system.device import find

    is_folder(out, "--out")
    written = _outputs(out, results)
    refuse_overwriting(
        written, (annotations, detections, images, run, *(files_of(run) if run else ()))
    )
    keep_existing((out, results), force)
    if detections is not None:
        assert annotations is not None
        measured = measure(detections, annotations, images, max_detections)
        finish(measured, out, results)
        return
    assert run is not None
    find(device)
    opened = open_model(run, model, convention)
    if is_semantic(opened.model):
        refuse_options(opened, {"--results": results, "--max-detections": max_detections})
    opened.model.to(device)
    own = None if opened.settings is None else opened.settings.model.proposals
    regions = use_proposals(opened.model, proposals, own, device)
    offered = {"count": count, "size": size, **reading(white, page, opened.settings)}
    dataset = _dataset(opened, files, data, classes, offered)
    refuse_overwriting(written, _files_behind(opened, dataset, written))
    folder = out if out is not None else _default_folder(opened, run)
    with remarks_said():
        found = _evaluate(
            opened, dataset, folder, limit, batch, max_detections, pictures, not quiet, regions
        )
    finish(found, folder, results)


def _check(
    run: Path | None,
    files: dict[str, Path | None],
    data: str | None,
    detections: Path | None,
    classes: str | None,
    convention: str | None,
) -> None:
    """Raise unless the options make sense together."""
    if detections is not None:
        if run is not None:
            raise WrongUse("give a run or --detections, not both")
        if convention is not None:
            raise WrongUse("--convention is of a model; --detections are finished: leave one out")
        if files["annotations"] is None:
            raise WrongUse("--detections needs --annotations, the JSON to compare with")
        return
    if run is None:
        raise WrongUse("what is to be evaluated? Name the folder of a run, or --detections FILE")
    if data is not None:
        check_data(data, files, classes)
    elif not any(files.values()) and classes is not None:
        raise WrongUse("--classes is for images that are named: add --annotations or --data")


def _outputs(out: Path | None, results: Path | None) -> list[Path]:
    """Everything that will be written where the options say."""
    written = [] if results is None else [results]
    if out is not None:
        written += [out, *(out / name for name in ("metrics.json", "pr.png", "pictures"))]
    return written


def _files_behind(opened: Opened, dataset: Dataset, written: list[Path]) -> Iterator[Path]:
    """Annotations and images that the run's settings and the data set name."""
    for option in ("annotations", "images", "val_annotations", "val_images"):
        value = getattr(opened.settings, option, None)
        if value:
            yield Path(value)
    if any(path.is_file() for path in written) and hasattr(dataset, "folder"):
        yield from (Path(dataset.describe(i)) for i in range(len(dataset)))


def _dataset(
    opened: Opened,
    files: dict[str, Path | None],
    data: str | None,
    classes: str | None,
    offered: dict[str, Any],
) -> Dataset:
    """The data that the options name, else the run's own validation data."""
    if data is not None or any(files.values()):
        name = data or "files"
        boxes_only = "masks" not in opened.model.needs
        offered = {**offered, "seed": registry.VALIDATION_SEED, "boxes_only": boxes_only}
        offered["unnamed"] = opened.model.classes
        if not registry.find(name).names_classes:
            offered["classes"] = opened.model.classes
        return open_dataset(name, files, classes, offered)
    if opened.settings is None:
        raise WrongUse(
            f"{opened.source} does not say on which images: give --annotations FILE "
            "and --images FOLDER, or --data shapes"
        )
    from minimask.train import open_data

    read = {name: value for name, value in offered.items() if name in ("white", "page")}
    own = dataclasses.replace(opened.settings.data, **read) if read else opened.settings.data
    _, validation = open_data(dataclasses.replace(opened.settings, data=own))
    if validation is None:
        raise WrongUse(
            f"{opened.run} was trained without validation data: give --annotations FILE and "
            "--images FOLDER"
        )
    return validation


def _default_folder(opened: Opened, run: Path) -> Path | None:
    if opened.run is None:
        return None
    whole = run.resolve() in (opened.run.resolve(), opened.run.resolve() / "model.safetensors")
    return opened.run / ("evaluation" if whole else f"evaluation-step-{opened.step:06d}")


def _evaluate(
    opened: Opened,
    dataset: Dataset,
    folder: Path | None,
    limit: int | None,
    batch: int,
    max_detections: int | None,
    pictures: int,
    progress: bool,
    proposals: Mapping[int | str, Any] | None = None,
) -> Results | SemanticResults:
    """Run the model over the data; draw the first images on the way."""
    from minimask import draw, evaluate

    drawn = 0

    def show(sample: Any, found: Any) -> None:
        nonlocal drawn
        if folder is None or drawn >= pictures:
            return
        name = f"{drawn:02d}-{Path(sample.file_name or f'image-{sample.image_id}').stem}.png"
        sheet = draw.compare(sample.image, sample, found, classes=dataset.classes)
        draw.save_image(folder / "pictures" / name, sheet)
        drawn += 1

    found: Results | SemanticResults = evaluate.evaluate(
        opened.model,
        dataset,
        batch_size=batch,
        limit=limit,
        progress=progress,
        max_detections=max_detections,
        on_image=show,
        proposals=proposals,
    )
    return found
