"""`minimask profile`: where the time and the memory of one step go."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from minimask.system import runtime
from minimask.tools.cli import WrongUse
from minimask.tools.cli.outputs import keep_existing
from minimask.tools.cli.sources import is_positive, open_model
from minimask.train.recipes import RECIPES
from minimask.train.settings import RunSettings

SMALLEST = 32  # pixels a side: one cell of C5
PHOTO = (480, 640)  # height and width of most COCO photographs

EPILOG = """
Without a model it is the small network of the recipe demo, with random weights. Random weights
find no objects: for --infer the score threshold is then lowered so far that they do.

[bold]Examples[/bold]

minimask profile

minimask profile photo.jpg --weights runs/mine --infer

minimask profile --model maskrcnn_resnet50_fpn --infer --size 800 --json profile.json

The first run may take a minute longer: kernels are compiled once per machine. Other programs that
run at the same time make all times wrong.
"""


def profile(
    image: Annotated[
        Path | None,
        typer.Argument(help="Image file [dim](default: generated)[/dim].", show_default=False),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train/--infer", help="A training step, or a prediction.")
    ] = True,
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of a run, one of its checkpoints, or a file of weights."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Network, e.g. maskrcnn_resnet50_fpn; with random weights or --weights."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Network and batch of a recipe: demo or nuclei.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE: any option of the model; may be repeated."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Shorter side of the resized images, e.g. 800, or their size, e.g. 480x640 "
            "[dim](default: the model's)[/dim]."
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images at once.", show_default="the recipe's or run's; or 1")
    ] = None,
    repeat: Annotated[int, typer.Option(help="Steps measured, after one to warm up.")] = 5,
    top: Annotated[int, typer.Option(help="Slowest layers listed.")] = 10,
    threads: Annotated[
        int | None, typer.Option(help="Processor cores to use.", show_default="all")
    ] = None,
    as_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything into this JSON file.")
    ] = None,
    chrome_trace: Annotated[
        Path | None, typer.Option(help="Write one step as a Chrome trace into this file.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(hidden=True)] = None,  # the older name
    force: Annotated[
        bool, typer.Option("--force", help="Replace the files of --json and --chrome-trace.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not say what is being done.")] = False,
) -> None:
    """Show where the time and memory of one step go, by stage and operation, beside the floor."""
    height_width = _check(size, batch, repeat, top, threads)
    settings = choose_settings(weights, model, recipe, option)
    chrome_trace = chrome_trace or trace
    _check_files(as_file, chrome_trace, force)
    runtime.use_threads(threads)
    from minimask.tools import profile as profiling

    network, settings, source = open_or_build(weights, model, settings)
    count = batch or (settings.train.batch if train and settings is not None else 1)
    step, about = _prepare(network, settings, image, height_width, count, train, source)
    if not quiet:
        typer.echo(f"{about}: warming up, then {2 * repeat} steps", err=True)
    rate = profiling.matrix_rate()
    measured = profiling.measure(step, network, repeat)
    found = profiling.summarize(measured.observer, profiling.measure_machine(rate))
    closing = profiling.closing(found, measured)
    typer.echo(f"{about}\n\n{profiling.table(found, top)}\n\n{closing}")
    if as_file is not None:
        mode = "train" if train else "infer"
        _write_json(as_file, {"mode": mode, "about": about, **profiling.as_json(found, measured)})
    if chrome_trace is not None:
        _write_json(chrome_trace, profiling.as_trace(measured.observer))


def _check(
    size: str | None, batch: int | None, repeat: int, top: int, threads: int | None
) -> tuple[int, ...]:
    """The numbers of --size: none, the shorter side, or height and width.

    Raises:
        WrongUse: an option that cannot be.
    """
    is_positive(batch, "--batch")
    is_positive(repeat, "--repeat")
    is_positive(threads, "--threads")
    if top < 0:
        raise WrongUse(f"--top: expected at least 0, got {top}")
    return parse_size(size)


def parse_size(size: str | None) -> tuple[int, ...]:
    """The numbers of --size: none, the shorter side, or height and width.

    Raises:
        WrongUse: something else.
    """
    if size is None:
        return ()
    if not re.fullmatch(r"\d{1,5}(x\d{1,5})?", size):
        raise WrongUse(
            "--size: expected pixels, such as 800, or height x width, such as 480x640, "
            f"got {size!r}"
        )
    sides = tuple(map(int, size.split("x")))
    if min(sides) < SMALLEST:
        raise WrongUse(f"--size: expected at least {SMALLEST} pixels, got {size}")
    return sides


def _check_files(as_file: Path | None, chrome_trace: Path | None, force: bool) -> None:
    """Raise unless the files can be written, before anything slow."""
    for option, path in (("--json", as_file), ("--chrome-trace", chrome_trace)):
        if path is not None and path.is_dir():
            raise WrongUse(f"{option} {path} is a folder; name a file")
    if as_file is not None and as_file == chrome_trace:
        raise WrongUse(f"--json and --chrome-trace are both {chrome_trace}; name two files")
    keep_existing((as_file, chrome_trace), force)


def choose_settings(
    weights: Path | None, model: str | None, recipe: str | None, option: list[str] | None
) -> RunSettings | None:
    """The settings of a model to be built; None: the weights bring their own.

    Raises:
        WrongUse: unknown names, or options that exclude each other.
    """
    given = {"--recipe": recipe, "--model": model, "--weights": weights}
    both = [name for name, value in given.items() if value is not None]
    if recipe is not None and len(both) > 1:
        raise WrongUse(f"{' and '.join(both)}: a recipe has its own model; choose one")
    if weights is not None:
        if option:
            raise WrongUse("--option is for random weights; those of --weights have their options")
        return None
    if recipe is not None and recipe not in RECIPES:
        raise WrongUse(f"--recipe: expected one of {', '.join(RECIPES)}, got {recipe!r}")
    values: dict[str, Any] = {"model": model, "batch": 1}
    if model is None:
        values = dict(RECIPES[recipe or "demo"])
    values |= {"data": "shapes", "options": (*values.get("options", ()), *(option or ()))}
    try:
        return RunSettings.of(values)
    except ValueError as error:
        raise WrongUse(str(error)) from error


def open_or_build(
    weights: Path | None, name: str | None, settings: RunSettings | None
) -> tuple[Any, RunSettings | None, str]:
    """The model, its settings if it has any, and where it comes from, in words.

    Args:
        weights: folder or file; None: random ones.
        name: of the network, for weights that do not say it, or random ones.
        settings: from `choose_settings`.

    Raises:
        WrongUse: no network of that name, or options it does not have.
        ValueError: not the weights of a model.
    """
    if weights is not None:
        opened = open_model(weights, name)
        return opened.model, opened.settings, f"weights of {opened.source}"
    from minimask import models
    from minimask.data.shapes import DEFAULT_CLASSES

    assert settings is not None
    config = settings.model.config(DEFAULT_CLASSES, 0)
    if config["model"] not in models.MODELS:
        known = ", ".join(models.MODELS)
        raise WrongUse(f"--model: expected one of {known}, got {config['model']!r}")
    if name is not None:  # as many classes as COCO has, and as published networks therefore have
        config = {"num_classes": 91, **{k: v for k, v in config.items() if k != "classes"}}
    try:
        return models.build(config), settings, "random weights"
    except ValueError as error:
        raise WrongUse(str(error)) from error


def _prepare(
    network: Any,
    settings: RunSettings | None,
    path: Path | None,
    size: tuple[int, ...],
    count: int,
    train: bool,
    source: str,
) -> tuple[Any, str]:
    """The step to be measured, and what it is in words."""
    from minimask.tools.profile import inference, training_step, work
    from minimask.train.settings import TrainSettings

    labels = len(network.classes)
    if path is None:
        samples = work.generated(image_size(network, settings, size), count, labels)
    else:
        from minimask.data import read_image

        samples = [work.with_objects(_resized(read_image(path), size))] * count
    samples = work.fit_keypoints(samples, network)
    if len(size) == 2:
        network.min_size = network.max_size = None
    elif size:
        network.min_size, network.max_size = size[0], None
    elif isinstance(network.min_size, tuple | list):  # training draws one for each batch
        network.min_size = network.min_size[-1]
    images = [sample.image for sample in samples]
    height, width = network.prepare(images).shape
    words = f"{network.config.get('model', 'model')}, {source}, {count} x {height} x {width} pixels"
    if train:
        training = settings.train if settings is not None else TrainSettings()
        return training_step(network, training, samples), f"training step of {words}"
    if source == "random weights":
        threshold = work.find_something(network, images[0])
        words += f", score threshold {threshold:.2g}"
    return inference(network, images), f"prediction of {words}"


def image_size(
    network: Any, settings: RunSettings | None, size: tuple[int, ...]
) -> tuple[int, int]:
    """Height and width of generated images, before the network resizes them."""
    if len(size) == 2:
        return size[0], size[1]
    sizes = settings.model.min_size if settings is not None else None
    if network.min_size is not None and not sizes:
        return PHOTO
    side = max(sizes) if sizes else settings.data.shapes_size if settings is not None else 128
    side = size[0] if size else side
    return side, side


def _resized(image: Any, size: tuple[int, ...]) -> Any:
    """An image of height x width where --size says both; else as it is."""
    if len(size) < 2:
        return image
    import numpy as np
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    from minimask.system.files import write_whole

    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())
