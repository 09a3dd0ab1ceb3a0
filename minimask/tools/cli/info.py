"""`minimask info`: what a network consists of and what it costs, before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from minimask.tools.cli import WrongUse
from minimask.tools.cli.conventions import ConventionOption, check_convention, under
from minimask.tools.cli.profile import parse_size
from minimask.tools.cli.sources import is_positive, open_model

OPTIMIZERS = ("adamw", "sgd")
EPILOG = """
Nothing is computed: the network runs with arrays that have a shape and no memory. Multiply-adds are
those of convolutions and matrix products; memory is that of the arrays, beside Python and its
packages; how that compares with measured runs is in benchmarks/results.

[bold]Examples[/bold]

minimask info maskrcnn_resnet50_fpn

minimask info maskrcnn_resnet50_fpn --size 800x800 --objects 0

minimask info runs/mine --train --batch 4

minimask info fasterrcnn_resnet50_fpn features=c4 num_classes=21 --no-layers
"""


def info(
    model: Annotated[
        str,
        typer.Argument(
            help="Name of a network, e.g. maskrcnn_resnet50_fpn; folder of a run or checkpoint; or "
            "file of weights."
        ),
    ],
    option: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]...",
            help="Options of a network that is named.",
            show_default=False,
        ),
    ] = None,
    convention: ConventionOption = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Height x width of the images, e.g. 800x1344, or one side of squares.",
            show_default="a photograph of 480x640, resized as the network resizes it",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Images at once.")] = 1,
    train: Annotated[bool, typer.Option("--train", help="Also a training step.")] = False,
    optimizer: Annotated[
        str | None,
        typer.Option(help="adamw or sgd, for --train.", show_default="the run's, else adamw"),
    ] = None,
    proposals: Annotated[
        int | None,
        typer.Option(help="Regions looked at in each image.", show_default="the most it keeps"),
    ] = None,
    objects: Annotated[
        int | None,
        typer.Option(help="Objects found in each image.", show_default="the most it keeps"),
    ] = None,
    positives: Annotated[
        int | None,
        typer.Option(
            help="Regions with an object that a training step learns from, per image.",
            show_default="the most it samples",
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers/--no-layers", help="List every layer.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON instead.")
    ] = False,
) -> None:
    """Show a network's layers, shapes, multiply-adds, receptive fields and memory."""
    height_width = _size(size)
    is_positive(batch, "--batch")
    is_positive(proposals, "--proposals")
    for name, value in (("--objects", objects), ("--positives", positives)):
        if value is not None and value < 0:
            raise WrongUse(f"{name}: expected at least 0, got {value}")
    if optimizer is not None and optimizer not in OPTIMIZERS:
        raise WrongUse(f"--optimizer: expected one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    network, settings = open_or_name(model, option or [], convention)
    from minimask.tools import info as inform

    optimizer = optimizer or (settings.train.optimizer if settings is not None else "adamw")
    if settings is not None and train:
        from minimask.train.stages import recompute

        recompute(network, settings.train.checkpoint_stages)
    regions = {"proposals": proposals, "objects": objects, "positives": positives}
    summary = inform.summarize(
        network, height_width, batch, train=train, optimizer=optimizer, **regions
    )
    if as_json:
        typer.echo(json.dumps(inform.as_json(summary), indent=1))
    else:
        typer.echo(inform.table(summary, layers))


def _size(text: str | None) -> tuple[int, int] | None:
    sides = parse_size(text)
    return (sides[0], sides[-1]) if sides else None


def open_or_name(model: str, options: list[str], convention: str | None = None) -> tuple[Any, Any]:
    """The network that is meant, and the settings of its run; None: it has none.

    Raises:
        WrongUse: neither a name nor a file, or options that it does not have.
        ValueError: not the weights of a model.
    """
    from minimask import models

    if model not in models.MODELS:
        if not Path(model).exists():
            import difflib

            close = difflib.get_close_matches(model, models.MODELS, n=1)
            hint = f"; did you mean {close[0]}?" if close else f": {', '.join(models.MODELS)}"
            raise WrongUse(f"{model}: no such file or folder, and no network of that name{hint}")
        if options:
            raise WrongUse(
                f"{options[0]}: options are for a network that is named; {model} has its own"
            )
        opened = open_model(Path(model), convention=convention)
        return opened.model, opened.settings
    given: dict[str, Any] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise WrongUse(f"expected NAME=VALUE after the network's name, got {text!r}")
        given[name.strip()] = _parsed(value)
    if not {"classes", "num_classes"} & given.keys() and model.endswith("_laptop"):
        given["num_classes"] = 2  # it has no usual number of classes
    check_convention(convention)
    try:
        return models.build(under({"model": model, **given}, convention)), None
    except (ValueError, TypeError) as error:
        raise WrongUse(str(error)) from error


def _parsed(text: str) -> Any:
    from minimask.train.setting_values import parsed

    return parsed(text)
