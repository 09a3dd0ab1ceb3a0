"""`minimask trace`: a prediction and a training step opened like a book."""

from __future__ import annotations

import dataclasses
import pprint
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minimask.system import runtime
from minimask.tools.cli import WrongUse
from minimask.tools.cli.outputs import is_folder, keep_existing
from minimask.tools.cli.profile import choose_settings, image_size, open_or_build, parse_size
from minimask.tools.cli.sources import is_positive

if TYPE_CHECKING:
    import numpy as np

    from minimask.data.sample import Target

PAGE, NOTEBOOK = "index.html", "trace.ipynb"

EPILOG = """
Without an image one is generated, whose objects are known. The training half of the book, recall
and the comparison of the result need the ground-truth objects; without them the page says what is
missing.

Without a model it is the small network of the recipe demo, with random weights. These find
nothing: the score threshold is then lowered so far that they do.

[bold]What is in --out[/bold]

index.html: the book, one file that needs no network and no server.

trace.ipynb with --notebook: the same steps as objects, for Jupyter.

[bold]Examples[/bold]

minimask trace --weights runs/demo --out found/trace

minimask trace photo.jpg --weights runs/mine --gt val.json --out found/trace --notebook

minimask trace photo.jpg --model maskrcnn_resnet50_fpn --weights weights.pth --out found/trace

--gt takes COCO JSON that lists the image, or, where the model has but one class, a folder with one
mask file for each object. Random weights know no classes: they take them as --gt counts them.
"""


@dataclasses.dataclass(frozen=True)
class Subject:
    """The image to be traced, and how a notebook gets it again."""

    image: np.ndarray
    target: Target | None
    name: str
    lines: list[str]


def trace(
    image: Annotated[
        Path | None,
        typer.Argument(help="Image file [dim](default: generated)[/dim].", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of a run, one of its checkpoints, or a file of weights."),
    ] = None,
    gt: Annotated[
        Path | None,
        typer.Option("--gt", help="The ground-truth objects: COCO JSON, or a folder of masks."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the book.", show_default=False)
    ] = None,
    notebook: Annotated[
        bool, typer.Option("--notebook", help="Also write the steps as a Jupyter notebook.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="Network, e.g. maskrcnn_resnet50_fpn; with random weights or --weights."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE: any option of the model; may be repeated."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Shorter side of the resized image, e.g. 800, or its size, e.g. 480x640 "
            "[dim](default: the model's)[/dim]."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Which image is generated, and which anchors are drawn.")
    ] = 0,
    threads: Annotated[
        int | None, typer.Option(help="Processor cores to use.", show_default="all")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into --out although it is not empty.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not say what is being done.")] = False,
) -> None:
    """Open a run of the model like a book: every step with its numbers, code and pictures."""
    if out is None:
        raise WrongUse("where to? Name a folder for the book: --out FOLDER")
    if gt is not None and image is None:
        raise WrongUse("--gt belongs to an image: name its file")
    if seed < 0:
        raise WrongUse(f"--seed: expected at least 0, got {seed}")
    is_positive(threads, "--threads")
    height_width = parse_size(size)
    settings = choose_settings(weights, model, None, option)
    is_folder(out, "--out")
    keep_existing((out,), force)
    runtime.use_threads(threads)
    from minimask.tools.textbook.trace import trace as make_trace

    network, settings, source = open_or_build(weights, model, settings)
    subject = _subject(network, settings, image, gt, height_width, seed, weights is None)
    lines = [*_model_lines(network, source), *subject.lines]
    if len(height_width) == 1:
        network.min_size, network.max_size = height_width[0], None
        lines.append(f"model.min_size, model.max_size = {height_width[0]}, None")
    about = f"{network.config.get('model', 'model')}, {source}"
    if weights is None:
        threshold = _find_something(network, subject.image)
        lines += _threshold_lines(threshold)
        about += f", score threshold lowered to {threshold:.2g}"
    out.mkdir(parents=True, exist_ok=True)  # before what takes long, in case it cannot be
    if not quiet:
        typer.echo(f"{about}: tracing {subject.name}", err=True)
    traced = make_trace(
        network, subject.image, subject.target, seed=seed, title=subject.name, about=about
    )
    _write(traced, out, lines if notebook else None, seed)


def _subject(
    network: Any,
    settings: Any,
    path: Path | None,
    gt: Path | None,
    size: tuple[int, ...],
    seed: int,
    untrained: bool,
) -> Subject:
    """The image with its objects, as far as they are known; random weights know no classes."""
    if path is None:
        return _generated(network, settings, size, seed)
    from minimask.data import read_image

    image, target, where = read_image(path), None, str(path.resolve())
    lines = [
        "from minimask.data import read_image",
        f"image, target = read_image({where!r}), None",
    ]
    if gt is not None:
        from minimask.tools.textbook.trace.truth import gt_objects

        target, strange = gt_objects(gt, path, None if untrained else network.classes)
        if strange:
            typer.echo(
                f"minimask: the model has no class {', '.join(strange)}: these objects are left "
                "out",
                err=True,
            )
        lines += [
            "from minimask.tools.textbook.trace.truth import gt_objects",
            f"target, _ = gt_objects({str(gt.resolve())!r}, {where!r}, "
            + ("None)" if untrained else "model.classes)"),
        ]
        if untrained:
            target.labels %= len(network.classes)
            lines.append("target.labels %= len(model.classes)")
    if len(size) == 2:
        from minimask.tools.textbook.trace.truth import resize_both

        image, target = resize_both(image, target, size[0], size[1])
        network.min_size = network.max_size = None
        lines += [
            "from minimask.tools.textbook.trace.truth import resize_both",
            f"image, target = resize_both(image, target, {size[0]}, {size[1]})",
            "model.min_size = model.max_size = None",
        ]
    return Subject(image, target, path.name, lines)


def _generated(network: Any, settings: Any, size: tuple[int, ...], seed: int) -> Subject:
    """Generated image number `seed` of those that no run learns from."""
    from minimask.data.keypoints import spread_keypoints
    from minimask.data.registry import VALIDATION_SEED
    from minimask.data.sample import Target
    from minimask.data.shapes import Shapes

    pixels = image_size(network, settings, size)
    sample = Shapes(None, pixels, VALIDATION_SEED)[seed]
    count = len(network.classes)
    target = Target(sample.boxes, sample.labels % count, sample.masks)
    lines = [
        "from minimask.data.shapes import Shapes",
        "from minimask.models import Target",
        f"sample = Shapes(None, {pixels}, {VALIDATION_SEED})[{seed}]",
        "image = sample.image",
        f"target = Target(sample.boxes, sample.labels % {count}, sample.masks)",
    ]
    if network.skeleton is not None:
        target.keypoints = spread_keypoints(target.boxes, len(network.skeleton))
        lines += [
            "from minimask.data.keypoints import spread_keypoints",
            "target.keypoints = spread_keypoints(target.boxes, len(model.skeleton))",
        ]
    if len(size) == 2:
        network.min_size = network.max_size = None
        lines.append("model.min_size = model.max_size = None")
    return Subject(sample.image, target, f"generated image {seed}", lines)


def _find_something(network: Any, image: np.ndarray) -> float:
    from minimask.tools.profile.work import find_something

    return find_something(network, image)


def _model_lines(network: Any, source: str) -> list[str]:
    """Python that makes the model again."""
    config = pprint.pformat(network.config, width=90, compact=True, sort_dicts=False)
    lines = ["import minimask as mm", f"model = mm.models.build({config})"]
    if source != "random weights":
        file = str(Path(source.removeprefix("weights of ")).resolve())
        lines.append(f"mm.load_weights(model, {file!r})")
    return [*lines, "model.eval()"]


def _threshold_lines(threshold: float) -> list[str]:
    return [
        "# random weights are sure of nothing",
        f"model.roi_heads.score_thresh = {threshold!r}",
    ]


def _imports_first(lines: list[str]) -> list[str]:
    """The lines of a cell as people write them."""
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    return [*sorted(set(imports)), "", *(line for line in lines if line not in imports)]


def _write(traced: Any, out: Path, lines: list[str] | None, seed: int) -> None:
    """The files of --out, and a sentence about each."""
    page = out / PAGE
    traced.write(page)
    size = page.stat().st_size / 1e6
    typer.echo(f"{len(traced.steps)} steps, {size:.1f} MB: {page}")
    if traced.context.target is None:
        typer.echo("the ground-truth objects are not known (--gt): the training half is left out")
    if lines is not None:
        from minimask.tools.textbook.trace.notebook import write_notebook

        write_notebook(out / NOTEBOOK, traced, _imports_first(lines), seed)
        typer.echo(f"the same as objects: {out / NOTEBOOK}")
